// runtime/base/progress_word.hpp — where a thread says that it gets on, for a parent that looks at it from another
// process. The cell lies in shared memory (host/board.hpp); zero-filled memory is its beginning.
//
// Why one word: phase and count change together, so whoever looks never sees the count of one phase with the name of
// another, and a look that finds the word unchanged knows that nothing happened in between.
// G-1 Only `computing` and `loading` can be overdue, and only with a bound: who is idle or waits for a peer is never
//     suspected, because the peer is.
// G-2 One thread at a time writes a cell; anybody reads it.
// G-3 A budget bounds the time between two changes. A standstill bound is for those whose work is done by threads of their
//     own process: it bounds the part of that time in which none of these threads runs or wants to. A sleeper is known
//     for one by that without anybody knowing how long its work takes.
// G-4 The count at which a process had loaded stays in its cell. So what it has done since can be told by who looks rarely,
//     or for the first time.
// Cost: one relaxed store per bump(), three stores per enter(), one more when it has loaded; no clock is read.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace vdist {

enum class work_phase : std::uint8_t {
  none = 0,  // says nothing
  loading,   // reads or maps weights
  idle,      // nothing to do
  waiting,   // for a peer, a device or room in a channel
  computing, // works, and bumps the word as it gets on
};

struct progress_cell {
  std::atomic<std::uint64_t> word{0};          // phase in the top byte, count of changes below
  std::atomic<std::uint32_t> budget_ms{0};     // longest time between two changes; 0: none
  std::atomic<std::uint32_t> standstill_ms{0}; // G-3; 0: none
  std::atomic<std::uint64_t> loaded{0};        // G-4: the count then; 0: it has not loaded
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

inline constexpr unsigned progress_phase_shift = 56;
inline constexpr std::uint64_t progress_count_mask = (std::uint64_t{1} << progress_phase_shift) - 1;

[[nodiscard]] constexpr work_phase phase_of(std::uint64_t word) noexcept {
  return static_cast<work_phase>(word >> progress_phase_shift);
}

/// G-4; 0 as long as it has not loaded. Any thread and process.
[[nodiscard]] inline std::uint64_t changes_since_loaded(const progress_cell& cell) noexcept {
  const auto word = cell.word.load(std::memory_order_acquire);
  const auto loaded = cell.loaded.load(std::memory_order_relaxed);
  return phase_of(word) > work_phase::loading ? ((word & progress_count_mask) - loaded) : 0;
}

/// How long a phase may go on without a change (G-3); zero: as long as it likes.
struct progress_bounds {
  std::chrono::milliseconds budget{0};
  std::chrono::milliseconds standstill{0};
};

/// The writer's end. Copyable, but one copy is used at a time (G-2).
class progress_word {
public:
  progress_word() = default; // says nothing to anybody

  /// `cell` outlives this. Goes on counting where a predecessor left off.
  explicit progress_word(progress_cell& cell) noexcept
      : cell_(&cell), word_(cell.word.load(std::memory_order_relaxed)) {}

  /// What the thread does from now on, and how long it may take until the next call of this object.
  void enter(work_phase phase, const progress_bounds& bounds = {}) noexcept {
    if (cell_ == nullptr) {
      return;
    }
    const auto count = (word_ + 1) & progress_count_mask;
    if (phase > work_phase::loading && phase_of(word_) <= work_phase::loading) {
      cell_->loaded.store(count, std::memory_order_relaxed); // before the word that says so
    }
    word_ =
        count
        | (static_cast<std::uint64_t>(static_cast<std::uint8_t>(phase)) << progress_phase_shift);
    cell_->budget_ms.store(static_cast<std::uint32_t>(bounds.budget.count()),
                           std::memory_order_relaxed);
    cell_->standstill_ms.store(static_cast<std::uint32_t>(bounds.standstill.count()),
                               std::memory_order_relaxed);
    cell_->word.store(word_, std::memory_order_release); // with its bounds, not with the last ones
  }

  /// It gets on: a layer, a block of weights, a round is done.
  void bump() noexcept {
    if (cell_ != nullptr) {
      cell_->word.store(++word_, std::memory_order_relaxed);
    }
  }

private:
  progress_cell* cell_ = nullptr;
  std::uint64_t word_ = 0;
};

} // namespace vdist
