#include "model/exec/token_feed.hpp"

namespace vdist::exec {

token_feed::token_feed(tensor::communicator* group, std::int32_t max_sequences) : group_(group) {
  tokens_.reserve(static_cast<std::size_t>(max_sequences));
}

result<void> token_feed::share(const protocol::step_plan& plan,
                               std::span<const token_id> sampled,
                               slot_table& into) {
  const auto places = into.sampled(); // in the plan
  const auto feeds = [&plan, places](std::size_t i) {
    return (plan.flags[static_cast<std::size_t>(places[i])] & protocol::flag_feeds) != 0;
  };
  tokens_.clear();
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (feeds(i)) {
      tokens_.push_back(sampled.empty() ? protocol::fed_token : sampled[i]);
    }
  }
  if (tokens_.empty()) {
    return {};
  }
  if (group_ != nullptr) {
    VDIST_TRY(group_->broadcast(std::as_writable_bytes(std::span(tokens_)), sampling_rank));
  }
  auto next = tokens_.begin();
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (feeds(i)) {
      into.feed(plan.slots[static_cast<std::size_t>(places[i])], *next++);
    }
  }
  return {};
}

} // namespace vdist::exec
