// transport/frame/bell.hpp — what sleepers sleep on: two words that may live in shared memory.
// The waker first makes its condition true, then rings; a ring costs a system call only when
// somebody sleeps. Several writers may ring one bell, several threads may wait for it: a thread
// that serves W channels waits for the bell that all W writers ring, then polls the channels.
// B-1 No ring is lost: a sleeper notes in `asleep_at` which ring it has seen and checks its condition again before it
//     sleeps, the ringer changes `rings` before it looks at asleep_at (both sequentially consistent), and the kernel
//     refuses to sleep when `rings` has changed. A ringer takes back older notes only: one that was made after its own
//     ring belongs to a sleeper that waits for the next.
// B-2 A sleeper that was killed leaves at most two needless wake-ups behind: a note, not a counter.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace vdist::frame {

class alignas(64) bell {
public:
  /// Wakes everybody who sleeps on this bell. Any thread or process.
  void ring() noexcept {
    const auto mine = rings_.fetch_add(1, std::memory_order_seq_cst) + 1;
    if (const auto noted = asleep_at_.load(std::memory_order_seq_cst); noted != nobody) {
      wake(mine, noted);
    }
  }

private:
  friend class wait_policy;
  static constexpr std::uint32_t nobody = 0;

  /// What a sleeper that has seen `rings` rings writes down; never nobody.
  static constexpr std::uint32_t note_of(std::uint32_t rings) noexcept {
    return rings + 1 == nobody ? 1 : rings + 1;
  }

  /// Of two notes, neither nobody. Numbers wrap; notes that live together are near each other.
  static constexpr bool is_older(std::uint32_t a, std::uint32_t b) noexcept {
    return static_cast<std::int32_t>(a - b) < 0;
  }

  void wake(std::uint32_t mine, std::uint32_t noted) noexcept;

  /// A sleeper's note; a newer one stays, whose writer's ring has made sure that this sleeper does not sleep.
  void note_sleeper(std::uint32_t rings) noexcept;

  std::atomic<std::uint32_t> rings_{0};
  std::atomic<std::uint32_t> asleep_at_{nobody}; // the latest note
};

static_assert(std::is_standard_layout_v<bell> && sizeof(bell) == 64, "lives in shared memory");

} // namespace vdist::frame
