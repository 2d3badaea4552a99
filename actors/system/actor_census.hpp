// actors/system/actor_census.hpp — how many actors of one cluster there are: a cluster that was spawned into the actor system
// of somebody else cannot wait for that system to be empty, so it counts its own.
//
// A-1 An actor is counted before anybody else can reach it, and until its state and behaviour have gone (what was captured
//     by them is not used any more).
// Thread-safe. Cost: one uncontended lock per birth and death of an actor.
#pragma once

#include <caf/abstract_actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/error.hpp>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>

namespace vdist::actors {

class actor_census {
public:
  actor_census() : state_(std::make_shared<state>()) {}

  void add(const caf::strong_actor_ptr& actor) {
    {
      const std::lock_guard lock(state_->mutex);
      ++state_->living;
    }
    // At once if it has ended already. The count outlives the census: an actor may end after it.
    actor->get()->attach_functor([counted = state_](const caf::error&) {
      const std::lock_guard lock(counted->mutex);
      --counted->living;
      counted->has_changed.notify_all();
    });
  }

  /// Blocks; everybody has been told to end, and nobody is spawned any more by those who have.
  void wait_until_none() const {
    std::unique_lock lock(state_->mutex);
    state_->has_changed.wait(lock, [this] { return state_->living == 0; });
  }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable has_changed;
    std::size_t living = 0; // guarded by mutex
  };

  std::shared_ptr<state> state_; // with the actors
};

} // namespace vdist::actors
