// host/stall_watch.hpp — decides whether a process that says it computes has come to a standstill. Suspicion is cheap,
// a kill is not: so a silent process is first watched more closely, and only time in which it could have run counts.
//
//   fine ──no change for a bound of it──▶ probing ──still none for a probe of its own time, or of standstill──▶ stuck
//     ▲──────────any change───────────────────┘
//
// V-1 A process that is idle, waits, or has no bounds is never suspected (G-1).
// V-2 Time in which a thread of the process was ready and got no CPU does not count while probing. So a machine that is
//     overloaded, by whatever factor, makes detection slower and never wrong.
// V-3 What has a standstill bound (G-3), is silent for that long and a probe, and stood still in all looks for a probe at
//     least, is stuck, however large its budget is: the first step of a size may take seconds, but not asleep. Waiting
//     for a disk is no standstill. The looks may be those before the bound: so looks that come late cost little.
// V-4 A look that comes late counts for half a probe at most, and for the first standstill if it comes as late as all of V-3
//     takes: who was stopped together with its watcher, as on a machine that was suspended, has the time of two looks to
//     get on.
// V-5 Whoever was found stuck may only have been slow: its successor has `patience` times the budget, until it has got on.
//     The standstill bound stays: that nothing ran is no guess, so who hangs in its first step is found as soon as others.
// Not thread-safe; one object per process. Cost: two loads per look; of one that is silent for half its standstill bound, or
// for its budget, some reads below /proc.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/progress_word.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <sys/types.h>

namespace vdist::host {

/// What the threads of a process did with some time.
struct cpu_use {
  duration waited{0};         // a thread wanted a CPU and had none
  bool is_standstill = false; // none ran to speak of, wanted to, or waited for a device
};

/// Reads /proc/<pid>/task/*/{schedstat,stat}.
class cpu_meter {
public:
  /// Since the last call. `elapsed` is the time since then: a thread that was ready all along and did not run has waited
  /// all of it, although the kernel adds it up only when it runs. Never more than `elapsed`. The first call says that
  /// all of it was waited: nothing is known about the time before it.
  [[nodiscard]] cpu_use use(pid_t pid, duration elapsed);

  void forget() { threads_.clear(); }

private:
  struct thread_times {
    std::uint64_t run_ns = 0;
    std::uint64_t delay_ns = 0;
  };

  std::map<pid_t, thread_times> threads_;
};

class stall_watch {
public:
  enum class verdict : std::uint8_t { fine, probing, stuck };
  using use_source = std::function<cpu_use(duration elapsed)>;

  /// `probe`: how much of its own time a silent process gets once its budget is over.
  explicit stall_watch(duration probe) : probe_(probe) {}

  /// V-5; 1 at first.
  void set_patience(int patience) { patience_ = patience; }

  /// Call regularly; `use` as cpu_meter::use, asked of the silent only. Silence begins when a look first sees it, so
  /// looks that come late accuse nobody.
  [[nodiscard]] verdict look(const progress_cell& cell, time_point now, const use_source& use);

  /// When it will be stuck if it stands still as it may: a look then finds it without loss of time (V-3). nullopt: never, or
  /// it is to be looked at as usual.
  [[nodiscard]] std::optional<time_point> due() const { return due_; }

  /// For the message: since when nothing has changed.
  [[nodiscard]] duration silence(time_point now) const { return now - since_; }

private:
  struct bounds {
    duration budget;
    duration standstill;
  };

  [[nodiscard]] bool is_over(duration bound, time_point now) const;
  void measure(const bounds& within, time_point now, const use_source& use);

  duration probe_;
  int patience_ = 1;
  std::uint64_t word_ = 0;
  time_point since_{};
  time_point looked_{};
  bool is_metered_ = false;
  duration counted_{0}; // own time behind the budget
  duration stood_{0};   // standstill without a break
  std::optional<time_point> due_;
};

} // namespace vdist::host
