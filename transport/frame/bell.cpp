#include "transport/frame/bell.hpp"

#include "transport/frame/fence.hpp"
#include "transport/frame/futex.hpp"

namespace vdist::frame {

void bell::wake() noexcept {
  // Lowered before the wake: whoever raises it in between is woken once too often, never too
  // seldom.
  has_sleepers_.store(0, std::memory_order_seq_cst);
  futex::wake_all(rings_);
}

void fence::raise(epoch to) noexcept {
  auto present = word_.load(std::memory_order_relaxed);
  while (present < to.value
         && !word_.compare_exchange_weak(present, to.value, std::memory_order_seq_cst)) {
  }
  futex::wake_all(word_);
}

} // namespace vdist::frame
