#include "actors/worker/worker.hpp"

#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <exception>
#include <utility>

namespace vdist::actors {

namespace {

/// Lane events go to the actor while it lives; the last ones go past it (W-2).
lane_report make_report(const caf::weak_actor_ptr& weak, const supervisor_actor& supervisor) {
  return [weak, supervisor](worker_event event) {
    if (event.what == worker_event::kind::halted || event.what == worker_event::kind::gone) {
      caf::anon_send(supervisor, std::move(event));
    } else if (auto strong = weak.lock()) {
      caf::anon_send(caf::actor_cast<worker_actor>(strong), std::move(event));
    }
  };
}

void on_lane_event(worker_pointer self, worker_event& event) {
  auto& state = self->state;
  const bool is_fatal = event.what == worker_event::kind::failed;
  const auto text = event.text;
  self->send(state.config.stage, std::move(event));
  if (is_fatal) {
    log::warn("worker: it failed (slot={} incarnation={}): {}",
              state.config.slot,
              state.config.worker.value,
              text);
    self->quit(caf::exit_reason::unhandled_exception);
  }
}

} // namespace

worker_state::~worker_state() {
  if (lane) {
    lane->stop();
  } else if (config.supervisor && !config.is_living) {
    // Its lane could not be made: there is no thread that could say so.
    caf::anon_send(config.supervisor,
                   worker_event{.what = worker_event::kind::gone,
                                .slot = config.slot,
                                .worker = config.worker});
  }
}

worker_actor::behavior_type make_worker(worker_pointer self, worker_config config) {
  auto& state = self->state;
  self->set_exception_handler([slot = config.slot](std::exception_ptr& cause) -> caf::error {
    try {
      std::rethrow_exception(cause);
    } catch (const std::exception& known) {
      log::error("worker: it failed outside of its lane (slot={}): {}", slot, known.what());
    }
    return caf::exit_reason::unhandled_exception;
  });
  state.config = std::move(config);
  const auto weak = caf::actor_cast<caf::weak_actor_ptr>(worker_actor(self));
  state.lane = state.config.make_lane(
      {.slot = state.config.slot,
       .worker = state.config.worker,
       .is_living = state.config.is_living,
       .report = make_report(weak, state.config.supervisor),
       .kill_actor = [weak] {
         if (auto strong = weak.lock()) {
           caf::anon_send_exit(caf::actor_cast<worker_actor>(strong), caf::exit_reason::kill);
         }
       }});
  return {
      [self](const load_weights&) { self->state.lane->load(); },
      [self](const retire_worker&) { self->state.lane->retire(); },
      [self](const prepare_epoch& message) { self->state.lane->prepare(message.now); },
      [self](const enter_epoch& message) { self->state.lane->begin(message.now); },
      [self](worker_event& event) { on_lane_event(self, event); },
  };
}

} // namespace vdist::actors
