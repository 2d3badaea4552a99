#include "runtime/ledger/ledger.hpp"

namespace vdist::ledger {

void commit_batch::clear() {
  tokens.clear();
  finished.clear();
}

void commit_batch::append(const protocol::token_event& event) {
  if (event.token >= 0) {
    tokens.push_back({event.id, event.position, event.token});
  }
  if (event.reason != protocol::finish_reason::none) {
    finished.push_back({event.id, event.reason});
  }
}

} // namespace vdist::ledger
