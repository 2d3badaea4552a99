#include "runtime/ledger/ledger.hpp"

#include <algorithm>

namespace vdist::ledger {

ledger_limits limits_for(std::uint32_t accepted_max) {
  ledger_limits limits;
  limits.requests_max = std::max(limits.requests_max, accepted_max);
  limits.finished_max = std::max(limits.finished_max, accepted_max);
  return limits;
}

std::uint64_t extra_words_of(const protocol::request& request) {
  const auto alternatives = std::min(request.sampling.logprobs, alternatives_max);
  return alternatives < 0 ? 0 : 2 + 2 * static_cast<std::uint64_t>(alternatives);
}

std::uint64_t room_of(const protocol::request& request) {
  return request.prompt.size() + request.eos_ids.size() + request.stop_token_ids.size()
         + 2 * request.logit_bias.size()
         + static_cast<std::uint64_t>(std::max(request.max_tokens, 0))
               * (1 + extra_words_of(request));
}

void commit_batch::clear() {
  tokens.clear();
  finished.clear();
}

void commit_batch::append(const protocol::token_event& event) {
  const bool has_token = event.token >= 0;
  if (has_token) {
    tokens.push_back({event.id, event.position, event.token, event.logprob, event.top});
  }
  if (event.reason != protocol::finish_reason::none) {
    finished.push_back({event.id, event.reason, has_token, event.message});
  }
}

std::uint8_t ledger::strikes(request_id id) const {
  const auto known = state(id);
  return known ? known->strikes : std::uint8_t{0};
}

} // namespace vdist::ledger
