// actors/worker/worker_lane.hpp — what a worker actor steers: one thread, of this process or of a process of its own, that
// loads a rank and runs its steps.
// The actor decides (load, stop, begin an epoch), the lane computes; no plan or result passes the actor's mailbox.
// All calls return at once; what happened comes back through the report function, from the lane's thread.
//
// L-1 stop() is final. After it the lane reports `gone` exactly once, when its thread or process touches no memory any more.
// L-2 A lane works in one epoch at a time; prepare() of a higher one makes it leave, and it then reports `quiesced`.
// L-3 A failure of the runner is reported (`failed`, or `peer_late` when a peer kept it waiting); the lane then waits.
// L-13 A lane of a process reports `halted`, at most once, told to stop or not, when its threads have ended but its device may
//      still write what they had begun; then `gone` follows without a stop(), too.
// L-11 retire() is stop() without force, for a lane that has left its epoch: `gone` follows when it has ended by itself, and
//      nothing else is reported of that; one that does not end is still to be stopped.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/protocol/worker.hpp"

#include <functional>
#include <memory>

namespace vdist::actors {

/// Thread-safe; must not block. worker_event::slot and ::worker are filled by the lane.
using protocol::worker_event;
using lane_report = std::function<void(worker_event)>;

class worker_lane {
public:
  virtual ~worker_lane() = default;

  virtual void load() = 0;
  virtual void prepare(epoch now) = 0;
  virtual void begin(epoch now) = 0;
  virtual void stop() = 0;

  virtual void retire() { stop(); }
};

/// What a lane is made for and how it talks back.
struct lane_request {
  std::int32_t slot = 0; // rank within the replica
  incarnation worker;
  bool is_living = false; // its process lives already: the lane adopts it, load() is never called
  lane_report report;
  std::function<void()> kill_actor; // what a kill_actor failpoint does: ends the actor from outside
};

/// Makes and starts the lane of a slot. The factory belongs to the replica and outlives its
/// workers.
using worker_lane_factory = std::function<std::shared_ptr<worker_lane>(lane_request)>;

} // namespace vdist::actors
