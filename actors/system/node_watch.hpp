// actors/system/node_watch.hpp — whether the control process gets on: what its link tells the host supervisor, which ends a
// control process that does not.
//
// What has to get on, and how that is seen:
//   an actor             answers a question that CAF answers for it, between two of its messages. So do, on the way, the
//                        threads of the pool, and the actor that asks
//   a lane, the pump     says on a cell that it computes, and then something else (progress_word.hpp)
//   the link's thread    asks: who calls gets_on() is not stuck
// W-1 An actor that has ended, or is not there now, owes no answer; its successor is asked in the next round.
// W-2 Who waits, with whatever deadline of its own, gets on; so does who has nothing to do.
// Callers of the engine are not watched: they may write to a terminal that nobody reads.
// gets_on() is for one thread and never blocks. Cost of a call: one message to and from every actor.
#pragma once

#include "runtime/base/progress_word.hpp"

#include <caf/actor.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace vdist::actors {

/// Actors that others have spawned, as long as they live. Thread-safe.
class actor_roll {
public:
  void add(const caf::strong_actor_ptr& actor);

  /// Those that are there now.
  [[nodiscard]] std::vector<caf::actor> living() const;

private:
  mutable std::mutex mutex_;
  std::vector<caf::weak_actor_ptr> actors_; // guarded by mutex_
};

struct node_watch_config {
  /// Who owes an answer. Called on a thread of the pool; must not block.
  std::function<std::vector<caf::actor>()> actors;
  /// What lanes and pumps last said: the word of each, in an order that stays. Called by gets_on().
  std::function<std::vector<std::uint64_t>()> words;
};

class node_watch {
public:
  /// What the functions use lives until all actors of the system have ended.
  node_watch(caf::actor_system& system, node_watch_config config);
  ~node_watch(); // ends the actor that asks, without waiting for it
  node_watch(const node_watch&) = delete;
  node_watch& operator=(const node_watch&) = delete;

  /// Whether everybody has got on since the last call that said so, or since the first. Begins the next round of
  /// questions when the last one is answered.
  [[nodiscard]] bool gets_on();

private:
  /// Numbers of rounds.
  struct rounds {
    std::atomic<std::uint64_t> answered{0};
  };

  [[nodiscard]] bool lanes_get_on();

  const node_watch_config config_;
  const std::shared_ptr<rounds> rounds_; // with the actor
  std::uint64_t asked_ = 0;
  std::vector<std::uint64_t> words_; // at the last call
  caf::actor pulse_;
};

} // namespace vdist::actors
