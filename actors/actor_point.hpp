// actors/actor_point.hpp — what actors without a thread of their own have in common when they fail: a place for fault
// scripts, and what an exception does to them.
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/base/log.hpp"

#include <caf/exit_reason.hpp>

#include <exception>
#include <string_view>

namespace vdist::actors {

/// In a handler. kill_actor: the actor ends as soon as the handler returns, and its mailbox with it;
/// throw: at once. `points` may be null.
template <class Pointer>
void reach_point(Pointer self,
                 failpoints* points,
                 std::string_view name,
                 const failpoint_context& at) {
  if (points != nullptr && points->is_armed()) [[unlikely]] {
    static_cast<void>(points->reach(name, at, [self] { self->quit(caf::exit_reason::kill); }));
  }
}

/// An exception that leaves a handler is logged and ends the actor; whoever watches it goes on from
/// there.
template <class Pointer>
void end_on_exceptions(Pointer self) {
  self->set_exception_handler([name = self->state.name](std::exception_ptr& cause) -> caf::error {
    try {
      std::rethrow_exception(cause);
    } catch (const std::exception& known) {
      log::error("{}: it failed: {}", name, known.what());
    }
    return caf::exit_reason::unhandled_exception;
  });
}

} // namespace vdist::actors
