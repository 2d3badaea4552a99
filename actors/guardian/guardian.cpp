#include "actors/guardian/guardian.hpp"

#include "runtime/base/log.hpp"

#include <exception>
#include <fmt/format.h>
#include <utility>

namespace vdist::actors {

namespace {

void on_end(guardian_pointer self, std::size_t child);

/// False: it could not be spawned.
bool spawn(guardian_pointer self, std::size_t child) {
  const auto& wanted = self->state.config.children[child];
  auto& record = self->state.children[child];
  try {
    record.actor = wanted.spawn();
  } catch (const std::exception& cause) {
    log::error("guardian: {} cannot be spawned: {}", wanted.name, cause.what());
    return false;
  }
  if (record.actor) {
    self->monitor(record.actor);
  }
  return true;
}

void restart(guardian_pointer self, std::size_t child) {
  const auto& wanted = self->state.config.children[child];
  auto& record = self->state.children[child];
  ++record.restarts;
  if (!spawn(self, child)) {
    on_end(self, child);
  } else if (record.actor && wanted.on_replaced) {
    wanted.on_replaced();
  }
}

/// G-2.
void on_end(guardian_pointer self, std::size_t child) {
  auto& mine = self->state;
  auto& record = mine.children[child];
  const auto& wanted = mine.config.children[child];
  record.actor = nullptr;
  const auto pause = record.history.next(mine.config.time->now());
  if (!pause) {
    const auto reason = fmt::format(
        "{}: it ended too often (restarts={} window_s={})",
        wanted.name,
        mine.config.limits.restarts_max,
        std::chrono::duration_cast<std::chrono::seconds>(mine.config.limits.window).count());
    log::error("guardian: {}", reason);
    wanted.on_given_up(reason);
  } else if (*pause == duration(0)) {
    restart(self, child);
  } else {
    self->delayed_send(self, *pause, restart_child{child});
  }
}

void on_down(guardian_pointer self, const caf::down_msg& message) {
  auto& children = self->state.children;
  for (std::size_t child = 0; child < children.size(); ++child) {
    if (children[child].actor && message.source == children[child].actor) {
      log::warn("guardian: {} died", self->state.config.children[child].name);
      on_end(self, child);
      return;
    }
  }
}

void on_start(guardian_pointer self) {
  for (std::size_t child = 0; child < self->state.children.size(); ++child) {
    if (!spawn(self, child)) {
      on_end(self, child);
    }
  }
}

guardian_status status_of(guardian_pointer self) {
  guardian_status status;
  for (const auto& child : self->state.children) {
    status.restarts.push_back(child.restarts);
  }
  return status;
}

} // namespace

guardian_actor::behavior_type make_guardian(guardian_pointer self, guardian_config config) {
  auto& mine = self->state;
  mine.config = std::move(config);
  for (std::size_t child = 0; child < mine.config.children.size(); ++child) {
    mine.children.push_back(
        {.actor = nullptr, .history = host::restart_history(mine.config.limits)});
  }
  self->set_down_handler([self](caf::down_msg& message) { on_down(self, message); });
  return {
      [self](const start_children&) { on_start(self); },
      [self](const restart_child& message) { restart(self, message.child); },
      [self](const get_guardian_status&) { return status_of(self); },
  };
}

} // namespace vdist::actors
