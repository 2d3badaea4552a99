#include "transport/frame/bell.hpp"

#include "transport/frame/fence.hpp"
#include "transport/frame/futex.hpp"

namespace vdist::frame {

void bell::wake(std::uint32_t mine, std::uint32_t noted) noexcept {
  // Taken back before the wake; if somebody has written another note meanwhile, that one stays.
  if (is_older(noted, note_of(mine))) {
    asleep_at_.compare_exchange_strong(noted, nobody, std::memory_order_seq_cst);
  }
  futex::wake_all(rings_);
}

void bell::note_sleeper(std::uint32_t rings) noexcept {
  const auto mine = note_of(rings);
  auto noted = asleep_at_.load(std::memory_order_seq_cst);
  while ((noted == nobody || is_older(noted, mine))
         && !asleep_at_.compare_exchange_weak(noted, mine, std::memory_order_seq_cst)) {
  }
}

void fence::raise(epoch to) noexcept {
  auto present = word_.load(std::memory_order_relaxed);
  while (present < to.value
         && !word_.compare_exchange_weak(present, to.value, std::memory_order_seq_cst)) {
  }
  futex::wake_all(word_);
}

} // namespace vdist::frame
