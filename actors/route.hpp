// actors/route.hpp — where a handle leads now: actors that may be replaced are reached through a route, never through a
// handle that somebody has kept. A copy of a route is the same route.
//
// U-1 Whoever spawns a successor sets the route before anybody tells the successor anything: what was sent to the
//     predecessor, or through a route that is still empty, is lost and has to be told again.
// Thread-safe. Cost of a send: one uncontended lock beside the message.
#pragma once

#include "runtime/base/clock.hpp"

#include <caf/send.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

namespace vdist::actors {

template <class Handle>
class route {
public:
  route() : state_(std::make_shared<state>()) {}

  /// To this actor until set() says otherwise. Implicit, as handles convert to each other.
  route(Handle to) : route() { state_->to = std::move(to); } // NOLINT(google-explicit-constructor)

  /// Null: nobody is there, messages are lost.
  void set(Handle to) const {
    {
      const std::lock_guard lock(state_->mutex);
      state_->to = std::move(to);
    }
    state_->has_changed.notify_all();
  }

  [[nodiscard]] Handle get() const {
    const std::lock_guard lock(state_->mutex);
    return state_->to;
  }

  template <class Message>
  void send(Message message) const {
    if (const auto to = get()) {
      caf::anon_send(to, std::move(message));
    }
  }

  /// Nobody is there and nobody comes any more.
  void close() const {
    {
      const std::lock_guard lock(state_->mutex);
      state_->to = Handle();
      state_->is_closed = true;
    }
    state_->has_changed.notify_all();
  }

  /// Blocks, so not for actors, until the route leads to somebody else than `gone`. Returns where;
  /// null: nobody came in time, or the route is closed.
  [[nodiscard]] Handle await_successor(const Handle& gone, duration wait) const {
    std::unique_lock lock(state_->mutex);
    const auto has_changed = [this, &gone] {
      return state_->is_closed || (state_->to && state_->to != gone);
    };
    return state_->has_changed.wait_for(lock, wait, has_changed) ? state_->to : Handle();
  }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable has_changed;
    Handle to;              // guarded by mutex
    bool is_closed = false; // guarded by mutex
  };

  std::shared_ptr<state> state_; // with every copy of the route
};

} // namespace vdist::actors
