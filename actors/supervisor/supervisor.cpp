#include "actors/supervisor/supervisor.hpp"

#include "actors/actor_point.hpp"
#include "actors/stage/stage.hpp"

#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace vdist::actors {

namespace {

using supervisor::action;
using supervisor::recovery_state;

void publish(supervisor_pointer self, replica_state state, std::string reason) {
  auto& mine = self->state;
  mine.published = state;
  if (mine.environment.on_state) {
    mine.environment.on_state(state, reason);
  }
  mine.router.send(replica_changed{mine.environment.replica, state, std::move(reason)});
}

std::vector<std::uint32_t> incarnations_of(supervisor_pointer self) {
  const auto& mine = self->state;
  std::vector<std::uint32_t> incarnations;
  for (std::int32_t slot = 0; slot < mine.environment.recovery.slots; ++slot) {
    incarnations.push_back(mine.machine->worker(slot).value);
  }
  return incarnations;
}

stage_actor& stage_of(supervisor_pointer self, std::int32_t slot) {
  auto& mine = self->state;
  const auto index = mine.environment.stage_of_slot.at(static_cast<std::size_t>(slot));
  auto& stage = mine.stages.at(static_cast<std::size_t>(index));
  if (!stage) {
    stage_config config{.stage = index,
                        .supervisor = supervisor_actor(self),
                        .make_lane = mine.environment.make_lane,
                        .points = mine.environment.points,
                        .replica = mine.environment.replica,
                        .on_spawn = mine.environment.on_spawn};
    stage = self->spawn<caf::monitored>(make_stage, std::move(config));
    if (mine.environment.on_spawn) {
      mine.environment.on_spawn(caf::actor_cast<caf::strong_actor_ptr>(stage));
    }
  }
  return stage;
}

void ensure_executor(supervisor_pointer self) {
  auto& mine = self->state;
  if (!mine.executor) {
    mine.executor = mine.environment.spawn_executor(supervisor_actor(self));
    self->monitor(mine.executor);
  }
}

void fence(supervisor_pointer self, epoch now) {
  auto& mine = self->state;
  mine.fault_at = mine.environment.time->now();
  mine.environment.raise_fence(now);
  if (mine.executor) {
    self->send(mine.executor, fence_epoch{now});
  }
  publish(self, replica_state::recovering, "a worker is being replaced");
}

void carry_out_all(supervisor_pointer self);

void abandon(supervisor_pointer self, std::string reason) {
  auto& mine = self->state;
  mine.machine->abandon(std::move(reason), mine.environment.time->now());
  carry_out_all(self);
}

/// The first one stays (V-10); slot -1: no worker's.
void note_cause(supervisor_pointer self, std::int32_t slot, std::string_view cause) {
  auto& causes = self->state.causes;
  auto& known = slot < 0 ? causes.back() : causes.at(static_cast<std::size_t>(slot));
  if (known.empty()) {
    known = cause;
  }
}

std::optional<step_death> take_death(supervisor_pointer self, const action& todo) {
  auto& causes = self->state.causes;
  std::optional<step_death> death;
  if (todo.struck_by) {
    const auto slot = *todo.struck_by;
    death = {slot, slot < 0 ? causes.back() : causes.at(static_cast<std::size_t>(slot))};
  }
  causes.assign(causes.size(), {});
  return death;
}

/// Everybody is idle: connect them.
void begin(supervisor_pointer self, const action& todo) {
  const auto now = todo.now;
  auto& mine = self->state;
  auto wiring = mine.environment.make_wiring(now, incarnations_of(self));
  if (!wiring) { // no memory for channels: another try would find none either
    abandon(self, wiring.error().context);
    return;
  }
  ensure_executor(self);
  const bool is_first = mine.published == replica_state::loading;
  const begin_epoch message{now, std::move(*wiring), take_death(self, todo), todo.has_late_writers};
  for (auto& stage : mine.stages) {
    self->send(stage, enter_epoch{now});
  }
  self->send(mine.executor, message);
  publish(self, replica_state::running, "");
  if (!is_first) {
    const std::chrono::duration<double, std::milli> stall =
        mine.environment.time->now() - mine.fault_at;
    log::info("replica {}: running again (epoch={} stall_ms={:.1f})",
              mine.environment.replica,
              now.value,
              stall.count());
  }
}

std::size_t stage_index_of(supervisor_pointer self, std::int32_t slot) {
  return static_cast<std::size_t>(
      self->state.environment.stage_of_slot.at(static_cast<std::size_t>(slot)));
}

/// To a stage that lives: the workers of one that has ended have ended with it.
void kill(supervisor_pointer self, std::int32_t slot, incarnation worker) {
  if (const auto& stage = self->state.stages[stage_index_of(self, slot)]) {
    self->send(stage, kill_worker{slot, worker});
  }
}

/// As kill(): of a stage that has ended nothing is left to end.
void retire(supervisor_pointer self, const action& todo) {
  if (const auto& on_retire = self->state.environment.on_retire) {
    on_retire(todo.slot);
  }
  if (const auto& stage = self->state.stages[stage_index_of(self, todo.slot)]) {
    self->send(stage, retire_worker{todo.slot, todo.worker});
  }
}

void on_stage_down(supervisor_pointer self, std::size_t index);
void spawn(supervisor_pointer self, const spawn_worker& wanted);

/// The stage ended before it could spawn the worker: there is no thread that could say `gone`. Its
/// `down` may come later.
void on_spawn_lost(supervisor_pointer self, const stage_actor& stage, const spawn_worker& lost) {
  auto& mine = self->state;
  const auto index = stage_index_of(self, lost.slot);
  if (mine.stages[index] == stage) {
    on_stage_down(self, index);
  }
  const auto now = mine.environment.time->now();
  if (!lost.is_living) {
    mine.machine->gone(lost.slot, lost.worker, now);
  } else if (mine.machine->worker(lost.slot) == lost.worker) { // V-5
    mine.machine->died(lost.slot, lost.worker, now);
    spawn(self, lost);
    kill(self, lost.slot, lost.worker);
  }
  carry_out_all(self);
}

/// Without a timeout: CAF answers at once for an actor that has ended, and a stage never blocks.
void spawn(supervisor_pointer self, const spawn_worker& wanted) {
  const auto stage = stage_of(self, wanted.slot);
  self->request(stage, caf::infinite, wanted)
      .then([] {},
            [self, stage, wanted](const caf::error&) { on_spawn_lost(self, stage, wanted); });
}

/// An executor that has died meanwhile hears nothing, and needs not: the next one begins another epoch.
void lift(supervisor_pointer self, epoch now) {
  if (const auto& executor = self->state.executor) {
    self->send(executor, writers_gone{now});
  }
}

/// V-8. The down of this executor is nobody's fault: it is not ours any more when it comes.
void give_up(supervisor_pointer self, const action& todo) {
  auto& mine = self->state;
  log::error("replica {}: given up: {}", mine.environment.replica, todo.reason);
  publish(self,
          replica_state::failed,
          mine.environment.on_given_up ? mine.environment.on_given_up(todo.slot, todo.reason)
                                       : todo.reason);
  mine.environment.raise_fence(todo.now.next());
  if (const auto executor = std::exchange(mine.executor, nullptr)) {
    self->send_exit(executor, caf::exit_reason::kill);
  }
  if (mine.environment.end_lane) {
    mine.environment.end_lane(todo.reason);
  }
}

void carry_out(supervisor_pointer self, const action& todo) {
  switch (todo.what) {
  case action::kind::spawn:
    spawn(self, {.slot = todo.slot, .worker = todo.worker});
    break;
  case action::kind::adopt:
    spawn(self, {.slot = todo.slot, .worker = todo.worker, .is_living = true});
    break;
  case action::kind::kill:
    kill(self, todo.slot, todo.worker);
    break;
  case action::kind::raise_fence:
    fence(self, todo.now);
    break;
  case action::kind::prepare:
    self->send(stage_of(self, todo.slot), prepare_epoch{todo.slot, todo.worker, todo.now});
    break;
  case action::kind::retire:
    retire(self, todo);
    break;
  case action::kind::begin:
    begin(self, todo);
    break;
  case action::kind::writers_gone:
    lift(self, todo.now);
    break;
  case action::kind::give_up:
    give_up(self, todo);
    break;
  }
}

/// V-3.
void set_timer(supervisor_pointer self) {
  auto& mine = self->state;
  const auto now = mine.environment.time->now();
  duration wait = deadline_check_interval;
  if (const auto due = mine.machine->next_deadline()) {
    wait = std::clamp<duration>(*due - now, deadline_check_pause, deadline_check_interval);
  }
  if (!mine.next_look || now + wait < *mine.next_look) {
    mine.next_look = now + wait;
    self->delayed_send(self, wait, check_deadlines{++mine.timer});
  }
}

void carry_out_all(supervisor_pointer self) {
  auto& mine = self->state;
  for (const auto& todo : mine.machine->take_actions()) {
    carry_out(self, todo);
    mine.machine->done(todo, mine.environment.time->now());
  }
  set_timer(self);
}

void on_start(supervisor_pointer self) {
  auto& mine = self->state;
  const auto found = mine.environment.group ? mine.environment.group() : supervisor::group_state{};
  mine.machine->start(mine.environment.time->now(), found);
  carry_out_all(self);
}

/// Timers that were overtaken by an earlier one still come, look, and set nothing.
void on_check_deadlines(supervisor_pointer self, const check_deadlines& message) {
  auto& mine = self->state;
  if (message.timer == mine.timer) {
    mine.next_look.reset();
  }
  mine.machine->tick(mine.environment.time->now());
  carry_out_all(self);
}

/// A load that failed for such a reason would fail again.
bool is_permanent(errc status) {
  return status != errc::internal && status != errc::aborted && status != errc::timed_out
         && status != errc::closed && status != errc::device_failed;
}

void on_death(supervisor_pointer self, const worker_event& event) {
  auto& mine = self->state;
  if (mine.machine->is_alive(event.slot, event.worker)) {
    log::warn("replica {}: worker died (slot={} incarnation={})",
              mine.environment.replica,
              event.slot,
              event.worker.value);
    note_cause(self, event.slot, event.text.empty() ? "its actor died" : event.text);
  }
  mine.machine->died(event.slot, event.worker, mine.environment.time->now());
}

void on_failure(supervisor_pointer self, const worker_event& event) {
  auto& mine = self->state;
  if (event.status == errc::device_lost // V-11
      || (mine.machine->state() == recovery_state::starting && is_permanent(event.status))) {
    mine.machine->abandon(event.text, mine.environment.time->now(), event.slot);
  } else {
    on_death(self, event); // V-4
  }
}

/// `halted` and `gone` may have overtaken the failure, and say it, too. True: it was heard here.
bool on_overtaken_failure(supervisor_pointer self, const worker_event& event) {
  const bool is_news =
      event.status == errc::device_lost // V-11
      || (event.status != errc::ok && self->state.machine->is_alive(event.slot, event.worker));
  if (is_news) {
    on_failure(self, event);
  }
  return is_news;
}

void on_halted(supervisor_pointer self, const worker_event& event) {
  auto& mine = self->state;
  if (!on_overtaken_failure(self, event)) {
    on_death(self, event);
  }
  mine.machine->halted(event.slot, event.worker, mine.environment.time->now());
}

void on_gone(supervisor_pointer self, const worker_event& event) {
  auto& mine = self->state;
  if (!on_overtaken_failure(self, event) && mine.machine->is_alive(event.slot, event.worker)) {
    note_cause(self, event.slot, "its thread ended");
  }
  mine.machine->gone(event.slot, event.worker, mine.environment.time->now());
}

void on_worker_event(supervisor_pointer self, const worker_event& event) {
  auto& mine = self->state;
  reach_point(self,
              mine.environment.points,
              "supervisor.event",
              {.replica = mine.environment.replica, .rank = event.slot});
  const auto now = mine.environment.time->now();
  switch (event.what) {
  case worker_event::kind::loaded:
    mine.machine->loaded(event.slot, event.worker, now);
    break;
  case worker_event::kind::quiesced:
    mine.machine->quiesced(event.slot, event.worker, event.now, now);
    break;
  case worker_event::kind::failed:
    on_failure(self, event);
    break;
  case worker_event::kind::peer_late:
    if (event.now == mine.machine->current_epoch()) { // the first who says so
      log::warn("replica {}: a peer is late, the step runs again (slot={} epoch={}): {}",
                mine.environment.replica,
                event.slot,
                event.now.value,
                event.text);
    }
    mine.machine->peer_late(event.now, now);
    break;
  case worker_event::kind::died:
    on_death(self, event);
    break;
  case worker_event::kind::halted:
    on_halted(self, event);
    break;
  case worker_event::kind::gone:
    on_gone(self, event);
    break;
  case worker_event::kind::kill_actor:
    break; // between a worker process and its lane
  }
  carry_out_all(self);
}

/// V-2. A worker of a dead stage is dead too: its `died` can no longer come from the stage.
void on_stage_down(supervisor_pointer self, std::size_t index) {
  auto& mine = self->state;
  log::warn("replica {}: stage {} died", mine.environment.replica, index);
  mine.stages[index] = nullptr;
  for (std::size_t slot = 0; slot < mine.environment.stage_of_slot.size(); ++slot) {
    if (mine.environment.stage_of_slot[slot] == static_cast<std::int32_t>(index)) {
      const auto at = static_cast<std::int32_t>(slot);
      note_cause(self, at, "its stage died");
      mine.machine->died(at, mine.machine->worker(at), mine.environment.time->now());
    }
  }
  carry_out_all(self);
}

void on_down(supervisor_pointer self, const caf::down_msg& message) {
  auto& mine = self->state;
  if (mine.executor && mine.executor.address() == message.source) {
    log::warn("replica {}: executor died", mine.environment.replica);
    mine.executor = nullptr;
    note_cause(self, -1, "the executor died");
    mine.machine->executor_died(mine.environment.time->now());
    carry_out_all(self);
    return;
  }
  for (std::size_t index = 0; index < mine.stages.size(); ++index) {
    if (mine.stages[index] && mine.stages[index].address() == message.source) {
      on_stage_down(self, index);
      return;
    }
  }
}

/// V-11. The step is run again whatever happens here: step_failed follows.
void on_ranks_disagree(supervisor_pointer self, const ranks_disagree& message) {
  using verdict = supervisor::accusations::verdict;
  auto& mine = self->state;
  const auto now = mine.environment.time->now();
  for (const auto slot : message.slots) {
    const auto found = mine.accused.accuse(static_cast<std::size_t>(slot), message.is_certain, now);
    log::warn("replica {}: {} (slot={} certain={})",
              mine.environment.replica,
              message.text,
              slot,
              message.is_certain);
    if (found == verdict::retire) {
      mine.machine->abandon(
          message.text + ", once too often: its device is not used any more", now, slot);
    } else if (found == verdict::replace) {
      note_cause(self, slot, message.text);
      kill(self, slot, mine.machine->worker(slot));
    }
  }
  carry_out_all(self);
}

void on_culprit(supervisor_pointer self, const culprit_found& message) {
  auto& mine = self->state;
  log::warn("replica {}: a request was failed, steps died of it (strikes={})",
            mine.environment.replica,
            message.strikes);
  mine.machine->culprit_found(
      message.strikes, message.has_progressed, mine.environment.time->now());
  carry_out_all(self);
}

/// To the stage, as the machine's own kills: `died` follows.
void on_end_worker(supervisor_pointer self, const end_worker& message) {
  const auto worker = self->state.machine->worker(message.slot);
  self->state.machine->expect_end(message.slot, worker);
  kill(self, message.slot, worker);
}

///
void on_replace_workers(supervisor_pointer self, const replace_workers& message) {
  auto& mine = self->state;
  std::vector<incarnation> wanted;
  for (const auto number : message.incarnations) {
    wanted.emplace_back(number);
  }
  if (mine.machine->replace(wanted, mine.environment.time->now())) {
    log::info("replica {}: workers are replaced as planned", mine.environment.replica);
    carry_out_all(self);
  }
}

replica_status status_of(supervisor_pointer self) {
  const auto& mine = self->state;
  std::vector<std::string> states;
  for (std::int32_t slot = 0; slot < mine.environment.recovery.slots; ++slot) {
    states.emplace_back(supervisor::to_string(mine.machine->slot(slot)));
  }
  return {.replica = mine.environment.replica,
          .state = mine.published,
          .now = mine.machine->current_epoch(),
          .restarts = mine.machine->restarts(),
          .incarnations = incarnations_of(self),
          .worker_states = std::move(states)};
}

} // namespace

supervisor_state::~supervisor_state() {
  if (environment.on_end) {
    environment.on_end();
  }
  for (const auto& stage : stages) {
    if (stage) {
      caf::anon_send_exit(stage, caf::exit_reason::kill);
    }
  }
  if (executor) {
    caf::anon_send_exit(executor, caf::exit_reason::kill);
  }
}

supervisor_actor::behavior_type make_supervisor(supervisor_pointer self,
                                                replica_environment environment,
                                                route<router_actor> router) {
  auto& mine = self->state;
  end_on_exceptions(self);
  mine.environment = std::move(environment);
  mine.router = std::move(router);
  mine.machine.emplace(mine.environment.recovery, mine.environment.on_recovery);
  const std::set<std::int32_t> stages(mine.environment.stage_of_slot.begin(),
                                      mine.environment.stage_of_slot.end());
  mine.stages.resize(stages.size());
  mine.causes.resize(mine.environment.stage_of_slot.size() + 1);
  mine.accused = supervisor::accusations(mine.environment.stage_of_slot.size());
  self->set_down_handler([self](caf::down_msg& message) { on_down(self, message); });
  return {
      [self](const start_replica&) { on_start(self); },
      [self](const worker_event& event) { on_worker_event(self, event); },
      [self](const step_failed& message) {
        log::warn("replica {}: step failed: {}", self->state.environment.replica, message.text);
        self->state.machine->step_failed(message.now, self->state.environment.time->now());
        carry_out_all(self);
      },
      [self](const ranks_disagree& message) { on_ranks_disagree(self, message); },
      [self](const culprit_found& message) { on_culprit(self, message); },
      [self](const suspicion_over& message) {
        self->state.machine->suspicion_over(message.now, message.are_innocent);
      },
      [self](const check_deadlines& message) { on_check_deadlines(self, message); },
      [self](const get_replica_status&) { return status_of(self); },
      [self](const end_worker& message) { on_end_worker(self, message); },
      [self](const replace_workers& message) { on_replace_workers(self, message); },
  };
}

} // namespace vdist::actors
