#include "runtime/ledger/ledger.hpp"

#include <algorithm>

namespace vdist::ledger {

std::uint64_t room_of(const protocol::request& request) {
  return request.prompt.size() + request.eos_ids.size() + request.stop_token_ids.size()
         + 2 * request.logit_bias.size()
         + static_cast<std::uint64_t>(std::max(request.max_tokens, 0));
}

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
