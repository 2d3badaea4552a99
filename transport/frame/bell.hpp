// transport/frame/bell.hpp — what sleepers sleep on: two words that may live in shared memory.
// The waker first makes its condition true, then rings; a ring costs a system call only when
// somebody sleeps. Several writers may ring one bell, several threads may wait for it: a thread
// that serves W channels waits for the bell that all W writers ring, then polls the channels. B-1
// No ring is lost: a sleeper raises has_sleepers and checks its condition again before it
//     sleeps, the ringer changes `rings` before it looks at has_sleepers (both sequentially
//     consistent), and the kernel refuses to sleep when `rings` has changed.
// B-2 A sleeper that was killed leaves at most one needless wake-up behind: a flag, not a counter.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace vdist::frame {

class alignas(64) bell {
public:
  /// Wakes everybody who sleeps on this bell. Any thread or process.
  void ring() noexcept {
    rings_.fetch_add(1, std::memory_order_seq_cst);
    if (has_sleepers_.load(std::memory_order_seq_cst) != 0) {
      wake();
    }
  }

private:
  friend class wait_policy;
  void wake() noexcept;

  std::atomic<std::uint32_t> rings_{0};
  std::atomic<std::uint32_t> has_sleepers_{0};
};

static_assert(std::is_standard_layout_v<bell> && sizeof(bell) == 64, "lives in shared memory");

} // namespace vdist::frame
