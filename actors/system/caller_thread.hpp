// actors/system/caller_thread.hpp — a thread of somebody else that talks to actors for a moment.
// CAF 0.17 keeps a reference to a system's logger in every thread that has made an actor there, and the system's destructor
// waits for all of these references: a caller that lives on would hold it for ever. So what a call has left is taken back.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/logger.hpp>

namespace vdist::actors {

class caller_thread {
public:
  explicit caller_thread(caf::actor_system& system)
      : is_of_system_(caf::logger::current_logger() == &system.logger()) {}

  caller_thread(const caller_thread&) = delete;
  caller_thread& operator=(const caller_thread&) = delete;

  /// A thread of another actor system loses that one's logger, until it sets it again: nothing but lines of its log.
  ~caller_thread() {
    if (!is_of_system_) {
      caf::logger::set_current_actor_system(nullptr);
    }
  }

private:
  bool is_of_system_;
};

} // namespace vdist::actors
