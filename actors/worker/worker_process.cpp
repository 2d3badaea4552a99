#include "actors/worker/worker_process.hpp"

#include "actors/worker/worker_order.hpp"

#include "runtime/base/log.hpp"

#include <fmt/format.h>
#include <utility>

namespace vdist::actors {

using protocol::worker_command;

worker_process::worker_process(lane_request wanted,
                               protocol::worker_order order,
                               worker_process_links links)
    : wanted_(std::move(wanted)),
      order_(std::move(order)),
      links_(std::move(links)),
      reminder_(std::chrono::milliseconds(order_.detect_ms)) {
  order_.slot = wanted_.slot;
  order_.incarnation = wanted_.worker.value;
}

protocol::process_key worker_process::key() const {
  return {.role = protocol::process_role::worker,
          .rank = order_.rank(),
          .incarnation = wanted_.worker.value};
}

void worker_process::load() {
  if (auto started = start(); !started) {
    report_failure(started.error());
    return;
  }
  command(worker_command::kind::load, {});
}

worker_identity worker_process::identity() const {
  auto who = identity_of(order_);
  who.points = links_.points;
  return who;
}

/// This is shared with the host link until the process has ended.
host::worker_callbacks worker_process::callbacks() {
  auto mine = shared_from_this();
  return {.on_ended = [mine](const auto& how) { mine->on_ended(how); },
          .on_dying =
              [mine] {
                mine->on_dying();
              }};
}

/// This is shared with the pump, too.
void worker_process::listen(std::unique_ptr<frame::frame_reader> events) {
  source_ = links_.events->add(
      std::move(events),
      [mine = shared_from_this()](const frame::frame_view& frame) { mine->on_frame(frame); },
      [mine = shared_from_this()] { mine->remind(); });
}

/// load() and stop() come from the actor, one after the other; the process's end may come at once.
result<void> worker_process::start() {
  VDIST_TRY(reach("host.spawn"));
  VDIST_ASSIGN(end_, make_worker_link(identity(), *links_.memory, *links_.bell, *links_.waits));
  std::vector<std::byte> order;
  protocol::encode(order_, order);
  listen(std::move(end_.events));
  set_state(state::started);
  auto asked = links_.host->spawn({.key = key(),
                                   .order = std::move(order),
                                   .order_hash = hash_of(order_),
                                   .spare_hash = spare_hash_of(order_)},
                                  callbacks());
  if (!asked) {
    set_state(state::ended);
    links_.events->remove(source_);
  }
  return asked;
}

/// L-10. Its end may have come already, and is told by the host link's adopt().
void worker_process::adopt() {
  auto reopened = reopen_worker_link(identity(), *links_.memory, *links_.bell, *links_.waits);
  if (reopened) {
    end_ = std::move(*reopened);
    listen(std::move(end_.events));
  }
  set_state(state::started);
  if (auto adopted = links_.host->adopt(key(), callbacks()); !adopted) {
    set_state(state::ended);
    links_.events->remove(source_);
    report_failure(adopted.error());
  } else if (!reopened) {
    report_failure(fail(errc::aborted, reopened.error().context));
  }
}

void worker_process::set_state(state next) {
  const std::lock_guard lock(mutex_);
  state_ = next;
}

void worker_process::prepare(epoch now) {
  command(worker_command::kind::prepare, now);
}

void worker_process::begin(epoch now) {
  command(worker_command::kind::begin, now);
}

/// A worker that does not read its commands is as good as dead.
void worker_process::command(protocol::worker_command::kind what, epoch now) {
  result<void> written;
  {
    const std::lock_guard lock(mutex_);
    if (state_ != state::started || is_stopped_ || !end_.commands) {
      return;
    }
    const auto at = links_.waits->now();
    written = write({what, now.value}, at);
    reminder_.said({what, now.value}, at);
  }
  if (!written) {
    report_failure(written.error());
  }
}

/// `mutex_` is held.
result<void> worker_process::write(const protocol::worker_command& what, time_point deadline) {
  protocol::encode(what, encoded_);
  return end_.commands->write(
      link_header(identity_of(order_), protocol::worker_command_kind), encoded_, deadline);
}

/// L-17.
void worker_process::remind() {
  const std::lock_guard lock(mutex_);
  const auto now = links_.waits->now();
  if (state_ != state::started || is_stopped_ || !end_.commands) {
    return;
  }
  if (const auto again = reminder_.take(now)) {
    (void)write(*again, now); // no room: it has enough to read
  }
}

void worker_process::stop() {
  bool has_ended = false;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_stopped_, true)) {
      return;
    }
    has_ended = state_ != state::started;
  }
  if (has_ended) {
    report_gone();
  } else {
    links_.host->kill(key());
  }
}

/// An error: what the failpoint lets fail.
result<void> worker_process::reach(std::string_view point) {
  if (links_.points == nullptr || !links_.points->is_armed()) {
    return {};
  }
  const failpoint_context at{.replica = order_.replica, .rank = wanted_.slot};
  return failure_of(links_.points->reach(point, at, wanted_.kill_actor), point);
}

/// Its end may come before this returns.
void worker_process::retire() {
  {
    const std::lock_guard lock(mutex_);
    is_retired_ = state_ == state::started;
  }
  command(worker_command::kind::end, {});
}

void worker_process::on_frame(const frame::frame_view& frame) {
  (void)reach("gateway.event"); // it ends or holds this process, or nothing
  if (frame.header.kind == protocol::load_progress_kind) {
    protocol::load_progress progress;
    if (protocol::decode(frame.body, progress) && links_.progress) {
      links_.progress(progress.done, progress.total);
    }
    return;
  }
  protocol::worker_event event;
  if (auto decoded = protocol::decode(frame.body, event); !decoded) {
    log::warn("worker process: {} (rank={})", decoded.error().context, order_.rank());
    return;
  }
  on_event(std::move(event));
}

void worker_process::on_event(protocol::worker_event event) {
  {
    const std::lock_guard lock(mutex_);
    reminder_.heard(event);
  }
  if (event.what == worker_event::kind::kill_actor) {
    wanted_.kill_actor();
    return;
  }
  event.slot = wanted_.slot;
  event.worker = wanted_.worker;
  if (event.what == worker_event::kind::failed) {
    const std::lock_guard lock(mutex_);
    has_failed_ = true;
    failure_ = event;
  }
  wanted_.report(std::move(event));
}

/// L-13. Its last words go first, and why it ended goes along, because `halted` may overtake them.
void worker_process::on_dying() {
  links_.events->remove(source_);
  bool is_failure = false;
  {
    const std::lock_guard lock(mutex_);
    has_halted_ = true;
    is_failure = !is_stopped_ && !is_retired_ && !std::exchange(has_failed_, true);
  }
  if (is_failure) {
    report_failure(fail(errc::closed, "worker process: it has come to its end"));
  }
  worker_event halted;
  {
    const std::lock_guard lock(mutex_);
    halted = failure_;
  }
  halted.what = worker_event::kind::halted;
  halted.slot = wanted_.slot;
  halted.worker = wanted_.worker;
  wanted_.report(std::move(halted));
}

/// L-6.
void worker_process::on_ended(const protocol::process_ended& how) {
  links_.events->remove(source_); // hands over its last words
  bool was_stopped = false;
  bool has_failed = false;
  {
    const std::lock_guard lock(mutex_);
    state_ = state::ended;
    is_stopped_ = is_stopped_ || is_retired_ || has_halted_; // L-1, L-13: `gone` is told here
    was_stopped = is_stopped_;
    has_failed = has_failed_;
  }
  if (was_stopped) {
    report_gone();
  } else if (!has_failed) {
    report_failure(
        fail(errc::closed, fmt::format("worker process: {} (pid={})", how.text, how.pid)));
  }
}

void worker_process::report_failure(const error& cause) {
  const worker_event failed{.what = worker_event::kind::failed,
                            .slot = wanted_.slot,
                            .worker = wanted_.worker,
                            .status = cause.code,
                            .text = cause.context};
  {
    const std::lock_guard lock(mutex_);
    failure_ = failed;
  }
  wanted_.report(failed);
}

/// Once, whoever comes first.
void worker_process::report_gone() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(has_gone_, true)) {
      return;
    }
  }
  const auto who = identity_of(order_);
  if (auto freed = links_.memory->release(worker_link_key(who.rank, who.worker)); !freed) {
    log::debug("worker process: {}", freed.error().context); // it was never started
  }
  wanted_.report(
      {.what = worker_event::kind::gone, .slot = wanted_.slot, .worker = wanted_.worker});
}

} // namespace vdist::actors
