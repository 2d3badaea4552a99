// actors/worker/step_watch.hpp — what a worker's thread says of itself on the board: that it loads, rests, waits for a peer
// or computes, and how long it may compute in silence.
//
// Why here and not in the runner: only who knows the size of a step knows how long its silence may last (step_pace.hpp), and
// only who sees the peers knows whose fault a silence is. A stretch is what a step computes between two waits: a rank that
// waits for a stuck one is not late, and the waits do not make its own budget longer.
// On a device meetings are part of what it runs. There the thread looks at it again and again while a step is under way, and
// at what it says of its waits (device_evidence.hpp):
// D-1 A step that takes longer than its budget while the device waits for nobody is overdue: the device or a kernel of ours
//     is stuck, and this rank is to blame. The pace counts from the moment on at which the step was the oldest one, or the
//     last wait ended, and not while the host works on the step (device_step). Learned is all of that but the waits, also
//     what came before one: a rank that has always waited near the end may compute all the way the next time. Only who looks
//     can say that a step is overdue: a thread that got no CPU finds it done when it has one again, so it asks the device
//     once more before it believes the clock (host_wait.hpp; worker_thread.cpp between two steps). How large a step is:
//     step_size.hpp.
//     A worker that has not seen enough steps of a size goes by those of its predecessor, with patience (inherit()): what one
//     device hangs in, the next may hang in at once.
// D-2 A rank that waits is innocent. When it waits longer than its steps and their meetings usually take, the peer is late
//     although it may say that it has nothing to do; the step then runs again. In the first steps of an epoch, in which a peer
//     may be new, and of a size, the deadline of meetings alone decides.
// D-3 A thread that hangs in a call of the device's driver looks no more, says `computing`, and is ended by the host.
//     Launching, it has the long bound until steps of that size are known by themselves: first ones load and record. Then it
//     has host_floor at least: now and then the host chooses the tokens itself, which takes longer than handing a step over.
//     Where it waits for the device to do so it looks at it like anywhere else (E-7 of step_runner.hpp). What it computes
//     itself, and copies while it launches, is no part of the device's pace: the host has one of its own.
// D-4 Behind a fence the thread waits for what the epoch has left on the device, and looks at it step by step as before: what is
//     overdue there was so before the fence. Only, a step has some time more, as much as patience adds to the shortest budget,
//     because whoever was killed may still leave the device; and no peer is late: everybody leaves. A wait at which nobody can
//     look has that patience for all that is left, and the host ends it.
// A worker that computes with threads of its own may not stand still in a stretch either, known pace or not (G-3): that is
// how one is found that hangs in the first step of its life, or of a size.
// Not thread-safe: one thread, that of the lane. Without a board nothing is said and no clock is read.
#pragma once

#include "actors/worker/device_evidence.hpp"
#include "actors/worker/step_size.hpp"

#include "model/exec/step_runner.hpp"

#include "transport/tensor/communicator.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/progress_word.hpp"
#include "runtime/base/step_pace.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace vdist::actors {

struct step_watch_settings {
  std::chrono::milliseconds detect{300};          // silence that the host does not forgive
  std::chrono::milliseconds step_deadline{30000}; // before the pace is known
  std::chrono::milliseconds load_stall{60000};    // between two bytes of weights
  /// True: threads of this process compute, so that none of them runs is a sign. False: a device does.
  bool computes_here = true;
  bool is_gpu = false; // its first steps load and record
};

/// A step on its device, in stretches: from when it is launched and the oldest one, or waited for in its launch, until it is
/// done or the host goes on with it. A stretch is the device's, waits for others are not.
struct device_step {
  std::int64_t tokens = 0;    // that it computes
  std::int64_t attention = 0; // of those (step_size.hpp)
  std::int64_t loaded = 0;    // tokens beside, of KV that comes back; the host works on it, too
  time_point begun{};         // of the stretch; none: the host has the step
  duration longest{0};        // of its stretches, without its waits
  duration longest_with{0};   // the same with them
  duration host{0};           // longest stretch of the launching thread in its launch

  /// A block that is loaded takes no longer than one that is computed.
  [[nodiscard]] step_size size() const { return {tokens + loaded, attention}; }

  /// What it teaches a pace of the device.
  [[nodiscard]] step_size computed() const { return {tokens, attention}; }
};

/// What a look at the device has found.
struct device_verdict {
  enum class kind : std::uint8_t { goes_on, overdue, peer_is_late };
  kind what = kind::goes_on;
  std::chrono::milliseconds silent{
      0}; // of overdue: without a result or a wait; of peer_is_late: waited
  std::chrono::milliseconds budget{0}; // for that
  std::int32_t peer = -1;              // global rank; of peer_is_late
  std::string_view operation;          // that waits; of peer_is_late
};

class step_watch {
public:
  step_watch() = default; // says nothing to anybody

  /// `time` outlives this.
  step_watch(progress_word word, const clock& time, const step_watch_settings& settings)
      : word_(word),
        time_(&time),
        is_gpu_(settings.is_gpu),
        floor_(floor_of(settings)),
        standstill_(settings.computes_here ? floor_ : std::chrono::milliseconds(0)),
        load_stall_(settings.load_stall),
        first_(std::max(settings.step_deadline, floor_)),
        pace_(floor_,
              first_,
              settings.is_gpu ? of_device : step_pace::memory(),
              attention_to_learn(settings)),
        host_pace_(floor_, first_, of_device),
        meeting_pace_(settings.detect,
                      std::max(settings.step_deadline, settings.detect),
                      of_meeting,
                      attention_to_learn(settings)) {}

  /// What predecessors knew of the device's pace, and what successors will. `words` outlives this. Before the first step.
  void inherit(pace_words& words) { left_ = &words; }

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

  /// Works on a step of that size from now on.
  void compute(const step_size& size) {
    size_ = size;
    go_on();
  }

  /// With the same step, behind a wait.
  void go_on() {
    if (time_ == nullptr) {
      return;
    }
    end_stretch();
    since_ = time_->now();
    is_of_device_ = false;
    phase_ = work_phase::computing;
    word_.enter(phase_, {.budget = budget_here(), .standstill = standstill_});
  }

  /// The step has its result; where the host has waited for all of it.
  void finish(const step_size& size) {
    end_stretch();
    if (time_ != nullptr) {
      pace_.finished(size, longest_);
      host_pace_.finished(size.tokens, std::exchange(longest_, duration(0)));
    }
  }

  /// An epoch begins: others may be new in it.
  void begin_epoch() {
    is_leaving_ = false;
    steps_of_epoch_ = 0;
    longest_ = duration(0);
  }

  /// The launch of `step` has returned: what the thread did in it is part of that step.
  void launched(device_step& step) {
    end_stretch();
    step.host = std::exchange(longest_, duration(0));
  }

  /// Waits for so many steps that an epoch has left on the device, of that size at most. Until begin_epoch().
  void settle(const step_size& largest, std::int64_t steps) {
    is_leaving_ = true;
    if (time_ == nullptr) {
      return;
    }
    compute_on_device(patience_at_first * steps * budget_on_device(largest));
  }

  /// D-4: looks are for what an epoch has left on the device.
  [[nodiscard]] bool is_leaving() const { return is_leaving_; }

  /// `step` is on the device, the oldest one there, from now on.
  void begin_on_device(device_step& step) {
    step.begun = time_ != nullptr ? time_->now() : time_point();
    evidence_.take_records();
  }

  /// The device has done its part of `step`, and the host goes on with it.
  void take_over(device_step& step) {
    end_on_device(step);
    go_on();
  }

  /// The device has not finished `oldest`, or its part of it; `said`: of exec::step_runner::waits(). Call again and again.
  [[nodiscard]] device_verdict look_at_device(device_step& oldest, const exec::device_waits& said);

  /// It has. Instead of finish().
  void finish_on_device(device_step& oldest);

private:
  /// A device's first steps load and record; two processes may take turns on it, which makes each up to three times slower.
  static constexpr step_pace::memory of_device{.margin = 4, .remembered = 64, .ignored = 4};
  /// Whoever waits is more patient than who computes: the peer that is stuck is found by itself first.
  static constexpr step_pace::memory of_meeting{.margin = 6, .remembered = 64};

  /// With the pace of a predecessor: first steps touch everything, beside whoever still leaves the device.
  static constexpr int patience_at_first = 3;

  static constexpr std::chrono::milliseconds host_floor{2000};

  /// Z-3 of step_size.hpp.
  static std::uint32_t attention_to_learn(const step_watch_settings& settings) {
    return settings.is_gpu ? 1 : step_pace::steps_to_learn;
  }

  /// For what this thread does itself (D-3).
  [[nodiscard]] std::chrono::milliseconds budget_here() const {
    if (!is_gpu_) {
      return pace_.budget(size_);
    }
    return host_pace_.knows(size_.tokens)
               ? std::max(host_pace_.budget(size_.tokens), std::min(host_floor, first_))
               : first_;
  }

  /// Of a step that is looked at (D-4).
  [[nodiscard]] std::chrono::milliseconds judged_budget(const step_size& size) const {
    const auto budget = budget_on_device(size);
    return is_leaving_ ? budget + (patience_at_first - 1) * floor_ : budget;
  }

  [[nodiscard]] std::chrono::milliseconds budget_on_device(const step_size& size) const {
    return left_ != nullptr ? pace_.budget(size, *left_, patience_at_first) : pace_.budget(size);
  }

  static std::chrono::milliseconds floor_of(const step_watch_settings& settings) {
    return settings.detect * 2 / 3; // the rest is for the host to make sure
  }

  void enter(work_phase phase) {
    if (phase != phase_) {
      phase_ = phase;
      word_.enter(phase);
    }
  }

  void compute_on_device(std::chrono::milliseconds budget) {
    end_stretch();
    is_of_device_ = true;
    phase_ = work_phase::computing;
    word_.enter(phase_, {.budget = budget});
  }

  void end_on_device(device_step& step) {
    if (step.begun == time_point()) {
      return;
    }
    const duration whole = time_->now() - step.begun;
    const duration waits = evidence_.take_records() * device_evidence::beat;
    step.longest = std::max(step.longest, whole - waits);
    step.longest_with = std::max(step.longest_with, whole);
    step.begun = time_point();
  }

  void end_stretch() {
    if (phase_ == work_phase::computing && !is_of_device_ && time_ != nullptr) {
      const auto now = time_->now();
      longest_ = std::max(longest_, now - std::exchange(since_, now));
    }
  }

  progress_word word_;
  const clock* time_ = nullptr; // null: says nothing
  bool is_gpu_ = false;
  std::chrono::milliseconds floor_{1}; // no budget is below
  std::chrono::milliseconds standstill_{0};
  std::chrono::milliseconds load_stall_{0};
  std::chrono::milliseconds first_{1}; // before a pace is known
  size_pace pace_{std::chrono::milliseconds(1), std::chrono::milliseconds(1), {}, 1};
  step_pace host_pace_{std::chrono::milliseconds(1), std::chrono::milliseconds(1)}; // D-3
  size_pace meeting_pace_{
      std::chrono::milliseconds(1), std::chrono::milliseconds(1), {}, 1}; // with waits
  pace_words* left_ = nullptr;       // of the device's pace_; null: nobody leaves it
  std::uint32_t steps_of_epoch_ = 0; // finished by the device
  bool is_leaving_ = false;          // D-4
  device_evidence evidence_;
  time_point waited_until_{}; // the device was last seen waiting
  bool is_of_device_ = false; // what the word says of computing
  work_phase phase_ = work_phase::none;
  step_size size_;
  time_point since_{};  // of the stretch
  duration longest_{0}; // of the step, by this thread
};

/// The same communicator, or pipe, for a thread that says when it waits in it. `watch` (borrowed) outlives it.
[[nodiscard]] std::unique_ptr<tensor::communicator>
watch_communicator(std::unique_ptr<tensor::communicator> inner, step_watch& watch);
[[nodiscard]] std::unique_ptr<tensor::pipe> watch_pipe(std::unique_ptr<tensor::pipe> inner,
                                                       step_watch& watch);

} // namespace vdist::actors
