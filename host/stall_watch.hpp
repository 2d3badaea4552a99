// host/stall_watch.hpp — decides whether a process that says it computes has come to a standstill. Suspicion is cheap,
// a kill is not: so a silent process is first watched more closely, and only time in which it could have run counts.
//
//   fine ──no change for a bound of it──▶ probing ──still none for `probe` of its own time, or of standstill──▶ stuck
//     ▲──────────any change───────────────────┘
//
// V-1 A process that is idle, waits, or has no bounds is never suspected (G-1).
// V-2 Time in which a thread of the process was ready and got no CPU does not count while probing. So a machine that is
//     overloaded, by whatever factor, makes detection slower and never wrong.
// V-3 What has a standstill bound (G-3) and stands still for that long and then for all of a probe is stuck, however large
//     its budget is: the first step of a size may take seconds, but not asleep. Waiting for a disk is no standstill.
// V-4 A look that comes late counts for half a probe at most: who was stopped together with its watcher, as on a
//     machine that was suspended, has the time of two looks to get on.
// V-5 Whoever was found stuck may only have been slow: its successor has `patience` times the bounds, until it has got on.
// Not thread-safe; one object per process. Cost: two loads per look; while probing some reads below /proc.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/progress_word.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
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

  [[nodiscard]] int patience() const { return patience_; }

  /// Changes that looks have seen, of a process that had loaded.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

  /// Call regularly; `use` as cpu_meter::use, asked while probing only. Silence begins when a look first sees it, so
  /// looks that come late accuse nobody.
  [[nodiscard]] verdict look(const progress_cell& cell, time_point now, const use_source& use);

  /// For the message: since when nothing has changed.
  [[nodiscard]] duration silence(time_point now) const { return now - since_; }

private:
  duration probe_;
  int patience_ = 1;
  std::uint64_t changes_ = 0;
  std::uint64_t word_ = 0;
  time_point since_{};
  time_point looked_{};
  bool is_probing_ = false;
  duration counted_{0}; // own time behind the budget
  duration stood_{0};   // standstill behind its bound, without a break
};

} // namespace vdist::host
