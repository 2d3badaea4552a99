// actors/executor/step_inbox.hpp — how actors reach a replica's step lane: a bounded queue of commands and a bell.
// Many writers (scheduler and executor actors), one reader (the step thread), which polls it once per step and sleeps on
// the bell when it has nothing to do.
// I-1 Requests are bounded (queue_full beyond); cancels and control commands always fit, and of the latter only the newest
//     of a kind is kept.
//     A request that comes again before the reader has seen it takes the place of its first copy: the newest one says what
//     is committed, and a router that hands all over again doubles nothing.
// I-2 The inbox outlives lanes: a successor starts with an empty one and a reader's number of its own, and a predecessor
//     that still looks in finds nothing.
// I-3 A closed inbox, that of a replica that was given up, forgets what it has and what still comes, without an error:
//     whoever sent it gives it to another replica.
#pragma once

#include "actors/interfaces.hpp"

#include "transport/frame/wait_policy.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vdist::actors {

/// What has arrived since the last look. The reader keeps one and reuses its memory.
struct step_commands {
  std::vector<std::shared_ptr<const protocol::request>> requests;
  std::vector<request_id> cancels;
  std::optional<begin_epoch> begin; // the newest
  std::optional<epoch> lifted;      // the newest that lift() named; not before `begin`

  void clear();
};

class step_inbox {
public:
  explicit step_inbox(std::size_t requests_max) : requests_max_(requests_max) {}

  /// O(1) in the order of acceptance, else a look at what has arrived. Error: queue_full.
  [[nodiscard]] result<void> add(std::shared_ptr<const protocol::request> request);
  void cancel(request_id id);
  /// One of an epoch below the newest is dropped: it comes late, from an executor that was replaced. One that finds another
  /// still there takes over what that says of a death: nothing was in flight since.
  void begin(begin_epoch message);
  /// The late writers have gone of whom the begin of this epoch told; what comes of another epoch is dropped.
  void lift(epoch now);
  void stop();

  /// Forgets everything: a new lane gets its requests from the router (I-2). Returns the number of
  /// the next reader.
  [[nodiscard]] std::uint32_t reset();

  /// I-3. For ever.
  void close();

  /// Swaps what has arrived into `out`, which is cleared first. Nothing for readers of the past
  /// (I-2).
  void take(step_commands& out, std::uint32_t reader);

  /// Waits until something has arrived or the deadline passes.
  void wait(const frame::wait_policy& waits, time_point deadline);

private:
  [[nodiscard]] bool replace(const std::shared_ptr<const protocol::request>& request);

  const std::size_t requests_max_;
  std::mutex mutex_;
  step_commands arrived_;    // guarded by mutex_
  std::uint32_t reader_ = 0; // guarded by mutex_
  request_id newest_;        // the highest id in arrived_; guarded by mutex_
  epoch begun_;              // the highest of begin(); guarded by mutex_
  bool is_closed_ = false;   // guarded by mutex_
  std::atomic<bool> has_any_{false};
  frame::bell door_;
};

} // namespace vdist::actors
