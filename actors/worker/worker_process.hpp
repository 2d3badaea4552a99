// actors/worker/worker_process.hpp — the lane of a worker that is a process of its own (`vdist-worker`). This side
// starts it, tells it the actor's decisions, hears its events and kills it; the thread that loads and steps is a
// worker_thread in there.
//
//   made ──load, adopt──▶ started ──stop, retire──▶ killed, told ──its threads' end──▶ halted ──its end──▶ gone
//                            └──its threads' end──▶ failed, halted ──its end──▶ gone
//
// L-6 A process that ends by itself is a failure (`failed`), reported as soon as anybody knows; what it said before may come
//     later and belongs to an incarnation that has failed.
//     The supervisor's warning that it comes to its end (on_dying) is that report already, and `halted` (L-13) behind it; `gone`
//     waits for the end itself. Where no such warning comes, `gone` alone says both.
// L-7 stop() is SIGKILL. There is nothing to save: weights and KV lie in the vault.
// L-11 retire() is the order to exit (runtime/protocol/worker.hpp, P-4); what ends after it ends as it was told.
// L-10 A process that lives already, started by a predecessor of this one, is adopted: its link is taken over, and what it has
//     said so far is asked again (L-8 of worker_thread.hpp). One that cannot be steered counts as failed, and is killed.
// L-17 A command that waits for an answer is given again after detect_ms of silence, then after twice as long, and so on: the
//     answer to the second is that to the first. Behind `begin`, which has none, `nothing` follows once. So a frame that is lost
//     between control process and worker costs some hundred milliseconds and not the deadline of a recovery (P-6;
//     command_reminder.hpp).
// Threads: any; reports come from the gateway's thread, the host link's, or the caller of stop().
#pragma once

#include "actors/gateway/event_pump.hpp"
#include "actors/gateway/regions.hpp"
#include "actors/gateway/worker_link.hpp"
#include "actors/worker/command_reminder.hpp"
#include "actors/worker/worker_lane.hpp"

#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/clock.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "host/host_link.hpp"

namespace vdist::actors {

/// Borrowed; all outlive the lane.
struct worker_process_links {
  host::host_link* host = nullptr;
  vault::vault* memory = nullptr;
  event_pump* events = nullptr;
  frame::bell* bell = nullptr; // of the replica's events
  failpoints* points = nullptr;
  const frame::wait_policy* waits = nullptr;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress; // may be empty
};

class worker_process final : public worker_lane,
                             public std::enable_shared_from_this<worker_process> {
public:
  /// `order` is complete but for slot and incarnation, which `wanted` says.
  worker_process(lane_request wanted, protocol::worker_order order, worker_process_links links);

  /// Instead of load(), for a request that is_living. Call once, before any other.
  void adopt();

  void load() override;
  void prepare(epoch now) override;
  void begin(epoch now) override;
  void stop() override;
  void retire() override;

private:
  enum class state : std::uint8_t { made, started, ended };

  [[nodiscard]] protocol::process_key key() const;
  [[nodiscard]] worker_identity identity() const;
  [[nodiscard]] host::worker_callbacks callbacks();
  void listen(std::unique_ptr<frame::frame_reader> events);
  [[nodiscard]] result<void> start();
  void set_state(state next);
  void command(protocol::worker_command::kind what, epoch now);
  [[nodiscard]] result<void> write(const protocol::worker_command& what, time_point deadline);
  void remind();
  [[nodiscard]] result<void> reach(std::string_view point);
  void on_frame(const frame::frame_view& frame);
  void on_event(protocol::worker_event event);
  void on_dying();
  void on_ended(const protocol::process_ended& how);
  void report_failure(const error& cause);
  void report_gone();

  const lane_request wanted_;
  protocol::worker_order order_;
  const worker_process_links links_;

  std::mutex mutex_;
  state state_ = state::made;      // guarded by mutex_
  bool is_stopped_ = false;        // guarded by mutex_
  bool is_retired_ = false;        // guarded by mutex_
  bool has_failed_ = false;        // guarded by mutex_: said so itself
  protocol::worker_event failure_; // guarded by mutex_: the last one that was reported
  bool has_halted_ = false;        // guarded by mutex_
  bool has_gone_ = false;          // guarded by mutex_: it was told
  control_end end_;                // set by load() or adopt(); its events belong to the pump
  std::uint64_t source_ = 0;       // of the pump
  command_reminder reminder_;      // guarded by mutex_
  std::vector<std::byte> encoded_; // guarded by mutex_
};

} // namespace vdist::actors
