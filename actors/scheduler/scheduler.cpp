#include "actors/scheduler/scheduler.hpp"

#include "actors/actor_point.hpp"

#include <utility>

namespace vdist::actors {

namespace {

void on_add(scheduler_pointer self, const add_request& message) {
  const auto& config = self->state.config;
  reach_point(self, config.points, "scheduler.add", {.replica = config.replica});
  if (auto added = config.inbox->add(message.request); !added) {
    config.refuse(message.request->id, added.error());
  }
}

} // namespace

scheduler_actor::behavior_type make_scheduler(scheduler_pointer self,
                                              scheduler_actor_config config) {
  end_on_exceptions(self);
  self->state.config = std::move(config);
  return {
      [self](const add_request& message) { on_add(self, message); },
      [self](const cancel& message) { self->state.config.inbox->cancel(message.id); },
  };
}

} // namespace vdist::actors
