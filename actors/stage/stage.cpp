#include "actors/stage/stage.hpp"

#include "actors/actor_point.hpp"
#include "actors/worker/worker.hpp"

#include <caf/send.hpp>

#include <utility>

namespace vdist::actors {

namespace {

void on_spawn(stage_pointer self, const spawn_worker& message) {
  auto& state = self->state;
  worker_config config{.slot = message.slot,
                       .worker = message.worker,
                       .is_living = message.is_living,
                       .stage = stage_actor(self),
                       .supervisor = state.config.supervisor,
                       .make_lane = state.config.make_lane};
  auto worker = self->spawn<caf::monitored>(make_worker, std::move(config));
  if (state.config.on_spawn) {
    state.config.on_spawn(caf::actor_cast<caf::strong_actor_ptr>(worker));
  }
  if (!message.is_living) {
    self->send(worker, load_weights{});
  }
  auto& place = state.workers[message.slot];
  if (place.actor) { // one that was retired, or whose lane has halted
    self->send_exit(place.actor, caf::exit_reason::kill);
  }
  place = {worker, message.worker};
}

void on_kill(stage_pointer self, const kill_worker& message) {
  const auto found = self->state.workers.find(message.slot);
  if (found != self->state.workers.end() && found->second.worker == message.worker) {
    self->send_exit(found->second.actor, caf::exit_reason::kill);
  }
}

void on_retire(stage_pointer self, const retire_worker& message) {
  const auto found = self->state.workers.find(message.slot);
  if (found != self->state.workers.end() && found->second.worker == message.worker) {
    self->send(found->second.actor, message);
  }
}

void on_prepare(stage_pointer self, const prepare_epoch& message) {
  const auto found = self->state.workers.find(message.slot);
  if (found != self->state.workers.end() && found->second.worker == message.worker) {
    self->send(found->second.actor, message);
  }
}

void on_enter(stage_pointer self, const enter_epoch& message) {
  for (auto& [slot, child] : self->state.workers) {
    self->send(child.actor, message);
  }
}

void on_down(stage_pointer self, const caf::down_msg& message) {
  for (auto& [slot, child] : self->state.workers) {
    if (child.actor.address() == message.source) {
      self->send(
          self->state.config.supervisor,
          worker_event{.what = worker_event::kind::died, .slot = slot, .worker = child.worker});
      return;
    }
  }
}

void on_event(stage_pointer self, worker_event& event) {
  const auto& config = self->state.config;
  reach_point(self,
              config.points,
              "stage.event",
              {.replica = config.replica, .stage = config.stage, .rank = event.slot});
  self->send(config.supervisor, std::move(event));
}

} // namespace

stage_state::~stage_state() {
  for (const auto& [slot, child] : workers) {
    caf::anon_send_exit(child.actor, caf::exit_reason::kill);
  }
}

stage_actor::behavior_type make_stage(stage_pointer self, stage_config config) {
  end_on_exceptions(self);
  self->state.config = std::move(config);
  self->set_down_handler([self](caf::down_msg& message) { on_down(self, message); });
  return {
      [self](const spawn_worker& message) { on_spawn(self, message); },
      [self](const kill_worker& message) { on_kill(self, message); },
      [self](const retire_worker& message) { on_retire(self, message); },
      [self](const prepare_epoch& message) { on_prepare(self, message); },
      [self](const enter_epoch& message) { on_enter(self, message); },
      [self](worker_event& event) { on_event(self, event); },
  };
}

} // namespace vdist::actors
