#include "actors/worker/worker_thread.hpp"

#include "runtime/base/log.hpp"
#include "runtime/protocol/step_codec.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace vdist::actors {

namespace {

/// Longest wait for a plan or for room in the result ring before commands are looked at again. A
/// fence ends it at once.
constexpr std::chrono::milliseconds look_up_interval{2000};

/// Between two looks at ring and device.
void let_others_run() {
  for (int i = 0; i < frame::wait_policy::pauses_per_yield; ++i) {
    frame::wait_policy::pause();
  }
  std::this_thread::yield();
}

std::optional<exec::disturbance> disturbance_of(failpoint_outcome wanted) {
  switch (wanted) {
  case failpoint_outcome::illegal_address:
    return exec::disturbance::illegal_address;
  case failpoint_outcome::stuck_kernel:
    return exec::disturbance::stuck_kernel;
  case failpoint_outcome::stuck_device:
    return exec::disturbance::stuck_device;
  case failpoint_outcome::stuck_copy:
    return exec::disturbance::stuck_copy;
  case failpoint_outcome::skip_collective:
    return exec::disturbance::skip_collective;
  case failpoint_outcome::flip_bit:
    return exec::disturbance::flip_bit;
  default:
    return std::nullopt;
  }
}

/// Until the process ends.
[[noreturn]] void hang() {
  for (;;) {
    ::pause();
  }
}

} // namespace

worker_thread::worker_thread(worker_thread_config config, worker_thread_links links)
    : config_(std::move(config)),
      links_(std::move(links)),
      watch_(links_.watch != nullptr ? *links_.watch : silent_) {}

void worker_thread::load() {
  post({.what = command::kind::load, .now = {}, .worker = {}});
}

void worker_thread::prepare(epoch now) {
  post({.what = command::kind::prepare, .now = now, .worker = {}});
}

void worker_thread::begin(epoch now) {
  post({.what = command::kind::begin, .now = now, .worker = {}});
}

void worker_thread::stop() {
  post({.what = command::kind::stop, .now = {}, .worker = {}});
}

void worker_thread::get_ready() {
  post({.what = command::kind::get_ready, .now = {}, .worker = {}});
}

void worker_thread::become(incarnation worker) {
  post({.what = command::kind::become, .now = {}, .worker = worker});
}

void worker_thread::post(command next) {
  {
    const std::lock_guard lock(mutex_);
    commands_.push_back(std::move(next));
  }
  has_commands_.notify_one();
}

worker_thread::command worker_thread::take() {
  std::unique_lock lock(mutex_);
  has_commands_.wait(lock, [this] { return !commands_.empty(); });
  auto next = std::move(commands_.front());
  commands_.pop_front();
  return next;
}

bool worker_thread::has_command() {
  const std::lock_guard lock(mutex_);
  return !commands_.empty();
}

void worker_thread::report(worker_event::kind what, epoch now) {
  config_.wanted.report(
      {.what = what, .slot = config_.wanted.slot, .worker = config_.wanted.worker, .now = now});
}

void worker_thread::report_failure(worker_event::kind what, epoch now, const error& cause) {
  config_.wanted.report({.what = what,
                         .slot = config_.wanted.slot,
                         .worker = config_.wanted.worker,
                         .now = now,
                         .status = cause.code,
                         .text = cause.context});
}

void worker_thread::run() {
  watch_.arrive(); // from the start: whoever looks shall not think that it has loaded
  for (auto next = take(); next.what != command::kind::stop; next = take()) {
    try {
      obey(next);
    } catch (const std::exception& cause) {
      report_failure(worker_event::kind::failed, next.now, fail(errc::internal, cause.what()));
    }
    watch_.rest();
  }
  runner_.reset();
  report(worker_event::kind::gone);
}

void worker_thread::obey(const command& next) {
  switch (next.what) {
  case command::kind::get_ready:
    prepare_runner();
    break;
  case command::kind::become:
    config_.wanted.worker = next.worker;
    break;
  case command::kind::load:
    if (load_runner()) {
      report(worker_event::kind::loaded);
    }
    break;
  case command::kind::prepare:
    if (load_runner()) {
      leave_epoch(next.now);
    }
    break;
  case command::kind::begin:
    step_through(next.now);
    break;
  case command::kind::stop:
    break;
  }
}

/// L-8. False: it cannot, and has said why.
bool worker_thread::load_runner() {
  if ((!runner_ || is_ahead_) && !broken_) {
    watch_.load();
    if (auto loaded = try_to_load(); !loaded) {
      runner_.reset();
      broken_ = loaded.error();
    }
  }
  if (broken_) {
    report_failure(worker_event::kind::failed, {}, *broken_);
  }
  return !broken_;
}

result<void> worker_thread::try_to_load() {
  try {
    VDIST_TRY(reach("worker.load", {}));
    if (std::exchange(is_ahead_, false)) {
      return {};
    }
    VDIST_ASSIGN(runner_, links_.make_runner());
    return runner_->load(links_.progress);
  } catch (const std::exception& cause) {
    return fail(errc::internal, cause.what());
  }
}

/// L-16.
void worker_thread::leave_epoch(epoch next) {
  if (const auto settled = settle(); settled) {
    report(worker_event::kind::quiesced, next);
  } else {
    report_end(next, settled.error());
  }
}

/// Waits for steps that are over for this thread, but perhaps not for the device (D-4 of step_watch.hpp).
result<void> worker_thread::settle() {
  if (launching_.step >= 0) {
    under_way_.push_back(std::exchange(launching_, {}));
  }
  if (under_way_.empty()) {
    return {};
  }
  step_size largest;
  for (const auto& left : under_way_) {
    largest = larger_of(largest, left.on_device.size());
  }
  watch_.settle(largest, std::ssize(under_way_));
  auto settled = runner_->settle();
  under_way_.clear();
  watch_.rest();
  return settled;
}

/// L-14.
void worker_thread::prepare_runner() {
  watch_.load();
  const auto prepared = try_to_prepare();
  is_ahead_ = prepared.has_value();
  if (is_ahead_) {
    watch_.rest(); // by that others see that it is ready
  } else {
    runner_.reset();
  }
  if (links_.on_prepared) {
    links_.on_prepared(prepared);
  }
}

result<void> worker_thread::try_to_prepare() {
  try {
    VDIST_TRY(reach("worker.prepare", {}));
    VDIST_ASSIGN(runner_, links_.make_runner());
    VDIST_TRY(runner_->load(links_.progress));
    return runner_->rehearse();
  } catch (const std::exception& cause) {
    return fail(errc::internal, cause.what());
  }
}

/// Answers plans until the epoch ends for this lane: by the fence, a command, or a failure.
void worker_thread::step_through(epoch now) {
  if (!runner_) { // L-8: nobody begins before it was prepared or has loaded
    report_failure(
        worker_event::kind::failed, now, fail(errc::internal, "step: nothing is loaded"));
    return;
  }
  auto opened =
      open_worker_wiring(config_.wiring, now, config_.wanted.slot, links_.wiring, *links_.waits);
  if (!opened && opened.error().code == errc::stale) {
    return; // a newer epoch is on its way
  }
  if (!opened) {
    report_failure(worker_event::kind::failed, now, opened.error());
    return;
  }
  auto worked = runner_->start_epoch(now);
  if (worked) {
    under_way_.clear();
    runner_->observe_waits(this);
    watch_.begin_epoch();
    worked = answer_plans(now, *opened);
  }
  if (!worked) {
    report_end(now, worked.error());
  }
}

/// Why this lane does not go on in the epoch; no failure where the epoch was ended by others.
void worker_thread::report_end(epoch now, const error& cause) {
  const bool ends_process = cause.code == errc::device_failed && links_.end_process; // L-15
  if (ends_process) { // said first: whoever hears of the failure may kill the process
    log::error("worker: its device has failed, and it ends (rank={})", rank());
  }
  if (cause.code == errc::timed_out) {
    report_failure(worker_event::kind::peer_late, now, cause);
  } else if (cause.code != errc::aborted && cause.code != errc::closed) {
    report_failure(worker_event::kind::failed, now, cause);
  }
  if (ends_process) {
    links_.end_process();
  }
}

/// Launches plans as they come, as many as the runner takes, and answers them in the same order. Waits in the ring while
/// nothing is under way; polls ring and device while something is: a step of a device is short. Returns for a command.
result<void> worker_thread::answer_plans(epoch now, worker_wiring& wiring) {
  const auto flights_max = static_cast<std::size_t>(runner_->flights_max());
  while (!has_command()) {
    const bool is_idle = under_way_.empty();
    const bool is_answer_known = !is_idle && under_way_.front().is_waited && runner_->is_ready();
    if (is_idle
        || (!is_answer_known && under_way_.size() < flights_max && wiring.plans->has_frame())) {
      if (is_idle) {
        watch_.rest();
      }
      auto frame = wiring.plans->read(links_.time->now() + look_up_interval);
      if (!frame && frame.error().code == errc::timed_out) {
        continue;
      }
      if (!frame) {
        return frame.error();
      }
      VDIST_TRY(launch(frame->body));
    } else if (runner_->is_ready()) {
      VDIST_TRY(answer_oldest(wiring));
    } else if (links_.wiring.stop->is_raised_above(now)) {
      return fail(errc::aborted, "step: the epoch is over");
    } else {
      const auto found = look_at_device(under_way_.front());
      // It goes by the clock, and this thread may have had no CPU since it asked the device.
      if (!found && !runner_->is_ready()) {
        return found;
      }
      let_others_run();
    }
  }
  return {};
}

result<void> worker_thread::launch(std::span<const std::byte> body) {
  const auto received = links_.time->now();
  VDIST_TRY(protocol::decode(body, plan_));
  VDIST_TRY(protocol::validate(plan_, config_.limits));
  const auto computed = size_of(plan_);
  const device_step on_device{.tokens = computed.tokens,
                              .attention = computed.attention,
                              .loaded = std::ssize(plan_.loads) * config_.limits.block_size};
  watch_.compute(on_device.size());
  const auto step = static_cast<std::int64_t>(plan_.step);
  const auto wanted = strike("worker.step_begin", {.step = step, .requests = plan_.request_ids});
  VDIST_TRY(failure_of(wanted, "worker.step_begin"));
  VDIST_TRY(disturb(wanted));
  launching_ = {.since = received, .step = step, .on_device = on_device};
  VDIST_TRY(runner_->launch(plan_));
  if (is_asynchronous()) {
    watch_.launched(launching_.on_device);
  }
  const bool is_oldest = under_way_.empty(); // else its time begins when the one before has ended
  if (is_oldest && !launching_.is_waited) {
    watch_.begin_on_device(launching_.on_device);
  }
  under_way_.push_back(std::exchange(launching_, {}));
  return {};
}

/// Launched, or being launched.
worker_thread::flight& worker_thread::waited_for(std::uint64_t step) {
  const auto known = std::find_if(under_way_.begin(), under_way_.end(), [step](const flight& one) {
    return one.step == static_cast<std::int64_t>(step);
  });
  return known != under_way_.end() ? *known : launching_;
}

/// E-7 of step_runner.hpp: the same as between two steps.
result<void> worker_thread::look(std::uint64_t step) {
  if (!watch_.is_leaving() && links_.wiring.stop->is_raised_above(epoch(plan_.epoch))) {
    return fail(errc::aborted, "step: the epoch is over");
  }
  return look_at_device(waited_for(step));
}

void worker_thread::go_on(std::uint64_t step) {
  auto& known = waited_for(step);
  known.is_waited = true;
  watch_.take_over(known.on_device);
}

/// D-1, D-2 of step_watch.hpp.
result<void> worker_thread::look_at_device(flight& oldest) {
  using kind = device_verdict::kind;
  const auto found = watch_.look_at_device(oldest.on_device, runner_->waits());
  switch (found.what) {
  case kind::goes_on:
    break;
  case kind::overdue:
    return fail(errc::device_failed,
                fmt::format("step {} is overdue: the device has been silent for {} ms and waits "
                            "for no other rank (rank={} budget_ms={})",
                            oldest.step,
                            found.silent.count(),
                            rank(),
                            found.budget.count()));
  case kind::peer_is_late:
    return fail(errc::timed_out,
                fmt::format("{}: rank {} is late, the device of rank {} waits for it (step={} "
                            "waited_ms={} usual_ms={})",
                            found.operation,
                            found.peer,
                            rank(),
                            oldest.step,
                            found.silent.count(),
                            found.budget.count()));
  }
  return {};
}

/// A worker without such a device does the nearest: it fails, or hangs.
result<void> worker_thread::disturb(failpoint_outcome wanted) {
  const auto on_device = disturbance_of(wanted);
  if (!on_device) {
    return {};
  }
  auto done = runner_->disturb(*on_device);
  if (done || done.error().code != errc::unsupported) {
    return done;
  }
  switch (*on_device) {
  case exec::disturbance::illegal_address:
    return fail(errc::device_failed, "failpoint worker.step_begin: an illegal address");
  case exec::disturbance::stuck_kernel:
  case exec::disturbance::stuck_device:
  case exec::disturbance::stuck_copy:
    hang();
  case exec::disturbance::skip_collective:
  case exec::disturbance::flip_bit:
    break;
  }
  return done;
}

result<void> worker_thread::answer_oldest(worker_wiring& wiring) {
  auto& oldest = under_way_.front();
  watch_.compute(oldest.on_device.size());
  VDIST_TRY(runner_->finish(result_));
  VDIST_TRY(reach("worker.step_end",
                  {.step = static_cast<std::int64_t>(result_.step),
                   .busy = links_.time->now() - oldest.since}));
  if (is_asynchronous() || oldest.is_waited) {
    watch_.finish_on_device(oldest.on_device);
  } else {
    watch_.finish(oldest.on_device.size());
  }
  watch_.wait(); // for room, at most
  result_.rank = rank();
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::microseconds>(links_.time->now() - oldest.since);
  under_way_.erase(under_way_.begin());
  if (!under_way_.empty() && !under_way_.front().is_waited) {
    watch_.begin_on_device(under_way_.front().on_device);
  }
  result_.compute_us = static_cast<std::uint32_t>(elapsed.count());
  protocol::encode(result_, encoded_);
  const frame::envelope header{.protocol = protocol::step_protocol,
                               .version = protocol::step_version,
                               .kind = protocol::step_result_kind,
                               .sender = rank(),
                               .cluster = config_.wiring.cluster,
                               .incarnation = config_.wanted.worker.value,
                               .group = config_.wiring.replica,
                               .epoch = result_.epoch};
  return wiring.results->write(header, encoded_, links_.time->now() + look_up_interval);
}

std::int32_t worker_thread::rank() const {
  return config_.wiring.first_rank + config_.wanted.slot;
}

/// L-5. The place is that of this worker. An error: what the failpoint lets fail.
result<void> worker_thread::reach(std::string_view point, failpoint_context at) {
  return failure_of(strike(point, at), point);
}

failpoint_outcome worker_thread::strike(std::string_view point, failpoint_context at) {
  if (!links_.points->is_armed()) {
    return failpoint_outcome::go_on;
  }
  at.replica = config_.wiring.replica;
  at.stage = config_.wiring.stage_of_slot.at(static_cast<std::size_t>(config_.wanted.slot));
  at.rank = config_.wanted.slot;
  return links_.points->reach(point, at, config_.wanted.kill_actor);
}

} // namespace vdist::actors
