// actors/guardian/guardian.hpp — the root of the supervision tree: spawns the actors that nobody else watches (router,
// schedulers, supervisors), and successors of those that die. One per cluster.
//
//   guardian ─┬─ router                        successor: takes over from table and ledger
//             ├─ scheduler of every replica    successor: hears of its requests from the router
//             └─ supervisor of every replica   successor: adopts the workers
//
// G-1 One for one: a child that ends, for whatever reason, is replaced; the others go on. What its mailbox held is lost,
//     so a successor is told what it has to know after it can be reached (U-1), and on every path the last restart of any
//     two children repairs what the first one's messages missed.
// G-2 The first restart of a child comes at once, further ones within the window after a pause that doubles; more than
//     the limits allow are not made: the child is given up, and its owner says what that means.
// G-3 A late `down` of a predecessor changes nothing. A child that cannot be spawned counts as one that died.
// G-4 The guardian has no successor: it runs no code but restarts and is told to end only by its owner, who asserts that.
// Functions of a child are called on the guardian's thread, must not block, and are of objects that outlive it.
#pragma once

#include "actors/interfaces.hpp"

#include "runtime/base/clock.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <string>
#include <vector>

#include "host/restart_history.hpp"

namespace vdist::actors {

struct guardian_child {
  std::string name;
  /// Spawns the actor, sets its route, starts it. Null: there is nothing to watch any more. May
  /// throw (G-3).
  std::function<caf::strong_actor_ptr()> spawn;
  /// A successor is there: tells it, or others, what its predecessor's mailbox held. May be empty.
  std::function<void()> on_replaced;
  /// G-2: the child stays dead.
  std::function<void(const std::string& reason)> on_given_up;
};

struct guardian_config {
  std::vector<guardian_child> children; // in the order of their start
  host::restart_limits limits;          // of each child
  const clock* time = nullptr;
};

struct guardian_state {
  struct child_record {
    caf::strong_actor_ptr actor; // null: resting, given up, or not started
    host::restart_history history;
    std::uint64_t restarts = 0;
  };

  guardian_config config;
  std::vector<child_record> children; // in the order of config.children
  const char* name = "guardian";
};

using guardian_pointer = guardian_actor::stateful_pointer<guardian_state>;

guardian_actor::behavior_type make_guardian(guardian_pointer self, guardian_config config);

} // namespace vdist::actors
