// kernels/cpu/thread_team.hpp — the caller and threads-1 helpers share the units of one operation.
//
// Why not a pool of tasks: an operation lasts 5 µs to a few ms and there are hundreds per step, so
// handing one over must cost about a microsecond and never allocate. Units are taken one by one
// rather than cut in advance: which thread runs a unit never changes its bits.
//
// T-1 A unit runs exactly once; run() returns after all units have ended and sees their writes.
//
// T-2 Only units that a helper has taken are waited for: a helper that is late (asleep, preempted)
// delays nothing.
//
// T-3 An idle helper spins for spin_us, yielding the core all the while, then sleeps in the kernel
// at no cost.
//
// One thread at a time may call run(); units must not call it.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace vdist::kernels {

class thread_team {
public:
  static constexpr std::int32_t units_max = (1 << 20) - 1;
  static constexpr std::int32_t spin_us = 100;

  /// threads >= 1, the caller of run() included.
  explicit thread_team(std::int32_t threads);
  ~thread_team();
  thread_team(const thread_team&) = delete;
  thread_team& operator=(const thread_team&) = delete;

  [[nodiscard]] std::int32_t threads() const noexcept {
    return static_cast<std::int32_t>(helpers_.size()) + 1;
  }

  /// Calls f(unit, thread) for unit 0 … units-1, thread 0 … threads-1; thread 0 is the caller.
  /// units <= units_max.
  template <class F>
  void run(std::int32_t units, const F& f) noexcept {
    if (units <= 1 || helpers_.empty()) {
      for (std::int32_t unit = 0; unit < units; ++unit) {
        f(unit, 0);
      }
      return;
    }
    share(units, &f, [](const void* context, std::int32_t unit, std::int32_t thread) {
      (*static_cast<const F*>(context))(unit, thread);
    });
  }

private:
  using unit_function = void (*)(const void* context, std::int32_t unit, std::int32_t thread);

  void share(std::int32_t units, const void* context, unit_function function) noexcept;
  bool take_and_run(std::int32_t thread) noexcept;
  void help(std::int32_t thread) noexcept;
  [[nodiscard]] bool spin_for_work() const noexcept;
  void sleep_for_work() noexcept;
  [[nodiscard]] bool has_work() const noexcept;

  // ticket_: job number << 40 | next unit << 20 | units. Written with release by share(); a unit is
  // taken by raising `next`. What the job is (below) may be read only after a unit was taken: only
  // then does share() wait for us.
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  const void* context_ = nullptr;
  unit_function function_ = nullptr;
  alignas(64) std::atomic<std::int32_t> finished_{0}; // units of the current job that have ended
  alignas(64) std::atomic<std::uint32_t> signal_{
      0}; // futex word: rises when sleepers must look again
  std::atomic<std::int32_t> sleepers_{0};
  std::atomic<bool> is_stopping_{false};
  std::vector<std::thread> helpers_;
};

} // namespace vdist::kernels
