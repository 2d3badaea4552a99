// actors/worker/step_watch.hpp — what a worker's thread says of itself on the board: that it loads, rests, waits for a peer
// or computes, and how long it may compute in silence.
//
// Why here and not in the runner: only who knows the size of a step knows how long its silence may last (step_pace.hpp), and
// only who sees the peers knows whose fault a silence is. A stretch is what a step computes between two waits: a rank that
// waits for a stuck one is not late, and the waits do not make its own budget longer.
// A worker that computes with threads of its own may not stand still in a stretch either, known pace or not (G-3): that is
// how one is found that hangs in the first step of its life, or of a size.
// Not thread-safe: one thread, that of the lane. Without a board nothing is said and no clock is read.
#pragma once

#include "transport/tensor/communicator.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/progress_word.hpp"
#include "runtime/base/step_pace.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

namespace vdist::actors {

struct step_watch_settings {
  std::chrono::milliseconds detect{300};          // silence that the host does not forgive
  std::chrono::milliseconds step_deadline{30000}; // before the pace is known
  std::chrono::milliseconds load_stall{60000};    // between two bytes of weights
  /// False: what computes may be waiting for a peer where this thread cannot see it, on a device. Then it is never late.
  bool sees_peers = true;
  /// True: threads of this process compute, so that none of them runs is a sign. False: a device does.
  bool computes_here = true;
};

class step_watch {
public:
  step_watch() = default; // says nothing to anybody

  /// `time` outlives this.
  step_watch(progress_word word, const clock& time, const step_watch_settings& settings)
      : word_(word),
        time_(&time),
        sees_peers_(settings.sees_peers),
        standstill_(settings.computes_here ? floor_of(settings) : std::chrono::milliseconds(0)),
        load_stall_(settings.load_stall),
        pace_(floor_of(settings), std::max(settings.step_deadline, floor_of(settings))) {}

  /// Waits to be told to load, or to leave an epoch: whoever has not loaded says no phase behind it.
  void arrive() {
    phase_ = work_phase::loading;
    word_.enter(phase_);
  }

  /// A disk may be slow, but bytes have to come.
  void load() {
    phase_ = work_phase::loading;
    word_.enter(phase_, {.budget = load_stall_});
  }

  /// Some have come. From any thread that loads, one at a time.
  void load_more() { word_.bump(); }

  void rest() { enter(work_phase::idle); }

  void wait() {
    end_stretch();
    enter(work_phase::waiting);
  }

  /// Works on a step of so many tokens from now on.
  void compute(std::int64_t tokens) {
    tokens_ = tokens;
    go_on();
  }

  /// With the same step, behind a wait.
  void go_on() {
    if (time_ == nullptr) {
      return;
    }
    end_stretch();
    since_ = time_->now();
    phase_ = sees_peers_ ? work_phase::computing : work_phase::waiting;
    word_.enter(phase_, {.budget = pace_.budget(tokens_), .standstill = standstill_});
  }

  /// The step has its result.
  void finish(std::int64_t tokens) {
    end_stretch();
    if (time_ != nullptr) {
      pace_.finished(tokens, std::exchange(longest_, duration(0)));
    }
  }

private:
  static std::chrono::milliseconds floor_of(const step_watch_settings& settings) {
    return settings.detect * 2 / 3; // the rest is for the host to make sure
  }

  void enter(work_phase phase) {
    if (phase != phase_) {
      phase_ = phase;
      word_.enter(phase);
    }
  }

  void end_stretch() {
    if (phase_ == work_phase::computing && time_ != nullptr) {
      const auto now = time_->now();
      longest_ = std::max(longest_, now - std::exchange(since_, now));
    }
  }

  progress_word word_;
  const clock* time_ = nullptr; // null: says nothing
  bool sees_peers_ = true;
  std::chrono::milliseconds standstill_{0};
  std::chrono::milliseconds load_stall_{0};
  step_pace pace_{std::chrono::milliseconds(1), std::chrono::milliseconds(1)};
  work_phase phase_ = work_phase::none;
  std::int64_t tokens_ = 0;
  time_point since_{};  // of the stretch
  duration longest_{0}; // of the step
};

/// The same communicator, or pipe, for a thread that says when it waits in it. `watch` (borrowed) outlives it.
[[nodiscard]] std::unique_ptr<tensor::communicator>
watch_communicator(std::unique_ptr<tensor::communicator> inner, step_watch& watch);
[[nodiscard]] std::unique_ptr<tensor::pipe> watch_pipe(std::unique_ptr<tensor::pipe> inner,
                                                       step_watch& watch);

} // namespace vdist::actors
