#include "transport/frame/frame_gate.hpp"

#include <numeric>

namespace vdist::frame {

std::uint64_t drop_counters::total() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& count : counts_) {
    sum += count.load(std::memory_order_relaxed);
  }
  return sum;
}

bool frame_gate::is_foreign(const envelope& header) const noexcept {
  return header.cluster != expected_.cluster || header.protocol != expected_.protocol
         || header.version < expected_.version_min || header.version > expected_.version_max
         || header.group != expected_.group
         || (expected_.sender && header.sender != *expected_.sender);
}

verdict frame_gate::admit(const envelope& header) noexcept {
  if (is_foreign(header)) {
    // Its sequence says nothing about ours.
    drops_.count(drop_reason::foreign);
    return verdict::drop;
  }
  if (header.epoch > expected_.epoch) {
    return verdict::hold;
  }
  if (next_sequence_ != 0 && header.sequence < next_sequence_) {
    drops_.count(drop_reason::duplicate);
    return verdict::drop;
  }
  const bool has_gap = next_sequence_ != 0 && header.sequence > next_sequence_;
  next_sequence_ = header.sequence + 1;
  if (header.epoch < expected_.epoch) {
    // Losses of a past epoch no longer matter: its frames would be dropped as well.
    drops_.count(drop_reason::stale_epoch);
    return verdict::drop;
  }
  if (expected_.incarnation && header.incarnation != *expected_.incarnation) {
    drops_.count(drop_reason::stale_incarnation);
    return verdict::drop;
  }
  if (has_gap) {
    next_sequence_ = header.sequence;
    drops_.count(drop_reason::gap);
    return verdict::lost;
  }
  return verdict::pass;
}

} // namespace vdist::frame
