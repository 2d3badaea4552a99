// The scheduler's view of itself, compared from several sides; no part of the step path.
#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::sched {

namespace {

error broken(std::string_view rule, std::uint64_t request) {
  return fail(errc::internal, fmt::format("scheduler: {} (request={})", rule, request));
}

bool is_in_order(const std::vector<sequence*>& running) {
  return std::adjacent_find(running.begin(),
                            running.end(),
                            [](const sequence* a, const sequence* b) { return a->key >= b->key; })
         == running.end();
}

} // namespace

result<void> scheduler::check_sequences() const {
  std::vector<std::int32_t> holders(static_cast<std::size_t>(config_.blocks), 0);
  std::vector<std::uint8_t> slots(static_cast<std::size_t>(config_.max_sequences), 0);
  for (const auto slot : free_slots_) {
    ++slots[slot];
  }
  for (const auto* member : running_) {
    const auto id = member->id.value;
    if (member->state == sequence_state::waiting || member->slot >= slots.size()) {
      return broken("a running sequence has no slot", id);
    }
    ++slots[member->slot];
    if (member->computed < 0 || member->remaining() < 1) {
      return broken("computed tokens are out of range", id);
    }
    if (static_cast<std::int64_t>(member->blocks.size()) * config_.block_size < member->computed) {
      return broken("computed tokens have no blocks", id);
    }
    if (config_.prefix_cache && member->blocks_published != member->computed / config_.block_size) {
      return broken("full blocks are not published", id);
    }
    for (const auto block : member->blocks) {
      ++holders[static_cast<std::size_t>(block.value)];
    }
  }
  for (std::int32_t b = 0; b < config_.blocks; ++b) {
    if (holders[static_cast<std::size_t>(b)] != pool_.refs(block_id(b))) {
      return fail(errc::internal,
                  fmt::format("scheduler: K-2: holders and references differ (block={})", b));
    }
  }
  if (std::any_of(slots.begin(), slots.end(), [](std::uint8_t uses) { return uses != 1; })) {
    return broken("a slot is lost or used twice", 0);
  }
  return {};
}

result<void> scheduler::check_integrity() const {
  VDIST_TRY(pool_.check_integrity());
  VDIST_TRY(check_sequences());
  if (running_.size() + waiting_.size() != sequences_.size()) {
    return broken("S-3: a sequence is lost", 0);
  }
  if (!is_in_order(running_) || running_.size() > static_cast<std::size_t>(running_max_)) {
    return broken("running sequences are out of order or too many", 0);
  }
  std::size_t in_flight = 0;
  for (std::size_t age = 0; age < window_.size(); ++age) {
    for (const auto& entry : window_.at(age).entries) {
      ++in_flight;
      if (entry.owner->state != sequence_state::in_flight) {
        return broken("S-1: a step computes a sequence that is not in flight",
                      entry.owner->id.value);
      }
    }
  }
  const auto marked = std::count_if(running_.begin(), running_.end(), [](const sequence* member) {
    return member->state == sequence_state::in_flight;
  });
  if (static_cast<std::size_t>(marked) != in_flight) {
    return broken("S-1: a sequence is in two steps or in none", 0);
  }
  return {};
}

} // namespace vdist::sched
