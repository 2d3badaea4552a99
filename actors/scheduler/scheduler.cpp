#include "actors/scheduler/scheduler.hpp"

#include <utility>

namespace vdist::actors {

scheduler_actor::behavior_type make_scheduler(scheduler_pointer self,
                                              scheduler_actor_config config) {
  self->state.config = std::move(config);
  return {
      [self](const add_request& message) {
        const auto& config = self->state.config;
        if (auto added = config.inbox->add(message.request); !added) {
          config.refuse(message.request->id, added.error());
        }
      },
      [self](const cancel& message) { self->state.config.inbox->cancel(message.id); },
  };
}

} // namespace vdist::actors
