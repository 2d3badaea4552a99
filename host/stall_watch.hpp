// host/stall_watch.hpp — decides whether a process that says it computes has come to a standstill. Suspicion is cheap,
// a kill is not: so a silent process is first watched more closely, and only time in which it could have run counts.
//
//   fine ──no change for its budget──▶ probing ──still none for `probe` of its own time──▶ stuck
//     ▲──────────any change───────────────┘
//
// V-1 A process that is idle, waits, or has no budget is never suspected (G-1).
// V-2 Time in which a thread of the process was ready and got no CPU does not count while probing. So a machine that is
//     overloaded, by whatever factor, makes detection slower and never wrong.
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

/// How long threads of a process wanted a CPU and had none, from /proc/<pid>/task/*/{schedstat,stat}.
class cpu_wait_meter {
public:
  /// Since the last call. `elapsed` is the time since then: a thread that was ready all along and did not run has waited
  /// all of it, although the kernel adds it up only when it runs. Never more than `elapsed`. The first call says
  /// `elapsed`: nothing is known about the time before it.
  [[nodiscard]] duration waited(pid_t pid, duration elapsed);

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
  using wait_source = std::function<duration(duration elapsed)>;

  /// `probe`: how much of its own time a silent process gets once its budget is over.
  explicit stall_watch(duration probe) : probe_(probe) {}

  /// Call regularly; `waited` as cpu_wait_meter::waited, asked while probing only. Silence begins when a look first sees
  /// it, so looks that come late accuse nobody.
  [[nodiscard]] verdict look(const progress_cell& cell, time_point now, const wait_source& waited);

  /// For the message: since when nothing has changed.
  [[nodiscard]] duration silence(time_point now) const { return now - since_; }

private:
  duration probe_;
  std::uint64_t word_ = 0;
  time_point since_{};
  time_point looked_{};
  bool is_probing_ = false;
  duration counted_{0}; // own time since the probe began
};

} // namespace vdist::host
