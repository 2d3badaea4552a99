// actors/worker/worker_thread.hpp — the lane of a worker: one thread that owns a step_runner and answers plans.
//
//   waiting ──load──▶ loading ──▶ waiting ──begin(e)──▶ stepping(e) ──fence, prepare, stop, failure──▶ waiting ──stop──▶ gone
//
// Commands come through a small queue, from the actor or, in a worker process, from its main thread; plans and results
// go through the epoch's rings. The thread sleeps
// in the ring while there is no plan, so an idle worker costs nothing.
// L-4 Every plan that decodes and validates is answered, or the epoch is over for this lane (P-5).
// L-5 Failpoints: worker.load, worker.prepare (L-14), worker.step_begin, worker.step_end, with rank = slot; a kill_actor rule there kills the
//     actor, not the thread.
// L-8 `quiesced` proves that the lane has loaded: prepare() of one that has not loads first, and one that cannot load says
//     `failed` again instead. Whoever takes a worker over knows nothing else of it.
// L-14 A lane may get ready before it is anybody (get_ready): it attaches and rehearses, reports nothing, and reaches
//     worker.prepare instead of worker.load, which it reaches when it is told to load. What it cannot do then it does
//     when it loads. become() says which incarnation it is; nothing is reported before it.
// L-9 The thread says on the board whether it loads, rests, waits or computes (step_watch.hpp).
// L-15 A lane of a process ends it, without any clean-up, when its device has failed or a step there is overdue
//     (D-1 of step_watch.hpp): what could be cleaned up would wait for the device, and only another process can go on. It has
//     said why before, as for any failure.
// L-16 `quiesced` also proves that the device has left the steps of the epoch before, however it meets others in them: it is
//     told to leave them first (settle() of step_runner.hpp), so what is waited for is its own work. A device that does not
//     leave is overdue like one in a step (D-4 of step_watch.hpp), and one that has failed is reported.
#pragma once

#include "actors/gateway/epoch_wiring.hpp"
#include "actors/worker/step_watch.hpp"
#include "actors/worker/worker_lane.hpp"

#include "model/exec/step_runner.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/protocol/step.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vdist::actors {

struct worker_thread_config {
  lane_request wanted;
  wiring_config wiring; // cluster, replica and where the rings are
  protocol::plan_limits limits;
};

/// Borrowed; all outlive the lane.
struct worker_thread_links {
  failpoints* points = nullptr;
  const clock* time = nullptr;
  wiring_links wiring;
  const frame::wait_policy* waits = nullptr;
  /// Makes the rank's runner; called on the lane's thread, so that memory and device belong to it.
  std::function<result<std::unique_ptr<exec::step_runner>>()> make_runner;
  exec::load_progress progress; // may be empty
  /// How get_ready() has ended; called on the lane's thread. May be empty.
  std::function<void(const result<void>& prepared)> on_prepared;
  step_watch* watch = nullptr;       // of the lane's thread (L-9); null: nobody looks
  std::function<void()> end_process; // L-15; empty: a thread has no process of its own
};

class worker_thread final : public worker_lane, private exec::wait_observer {
public:
  worker_thread(worker_thread_config config, worker_thread_links links);

  void load() override;
  void prepare(epoch now) override;
  void begin(epoch now) override;
  void stop() override;

  /// L-14. Before anything else.
  void get_ready();
  /// L-14. Before load(), behind get_ready().
  void become(incarnation worker);

  /// The thread's function; reports `gone` last.
  void run();

private:
  struct command {
    enum class kind : std::uint8_t { get_ready, become, load, prepare, begin, stop };
    kind what;
    epoch now;
    incarnation worker; // of become
  };

  /// A launched plan.
  struct flight {
    time_point since;
    std::int64_t step = -1;
    device_step on_device;
    bool is_waited = false; // for what the device does of it, by the host, in a launch
  };

  void post(command next);
  [[nodiscard]] command take();
  [[nodiscard]] bool has_command();
  void report(worker_event::kind what, epoch now = {});
  void report_failure(worker_event::kind what, epoch now, const error& cause);
  void obey(const command& next);
  [[nodiscard]] bool load_runner();
  [[nodiscard]] result<void> try_to_load();
  [[nodiscard]] result<void> try_to_prepare();
  void prepare_runner();
  void leave_epoch(epoch next);
  [[nodiscard]] result<void> settle();
  void report_end(epoch now, const error& cause);
  void step_through(epoch now);
  [[nodiscard]] result<void> answer_plans(epoch now, worker_wiring& wiring);
  [[nodiscard]] result<void> launch(std::span<const std::byte> body);
  [[nodiscard]] result<void> look_at_device(flight& oldest);
  [[nodiscard]] flight& waited_for(std::uint64_t step);
  [[nodiscard]] result<void> look(std::uint64_t step) override;

  void go_on(std::uint64_t step) override;

  [[nodiscard]] result<void> disturb(failpoint_outcome wanted);
  [[nodiscard]] result<void> answer_oldest(worker_wiring& wiring);

  [[nodiscard]] bool is_asynchronous() const { return runner_->flights_max() > 1; }

  [[nodiscard]] failpoint_outcome strike(std::string_view point, failpoint_context at);
  [[nodiscard]] result<void> reach(std::string_view point, failpoint_context at);
  [[nodiscard]] std::int32_t rank() const; // global

  worker_thread_config config_;
  worker_thread_links links_;
  step_watch silent_; // when nobody looks
  step_watch& watch_;
  std::unique_ptr<exec::step_runner> runner_; // null until it has loaded
  bool is_ahead_ = false;       // runner_ was made by get_ready() and is not yet loaded
  std::optional<error> broken_; // why it could not load (L-8)
  protocol::step_plan plan_;
  protocol::step_result result_;
  std::vector<std::byte> encoded_;
  std::vector<flight> under_way_; // oldest first
  flight launching_;              // step < 0: none is being launched

  std::mutex mutex_;
  std::condition_variable has_commands_;
  std::deque<command> commands_; // guarded by mutex_
};

} // namespace vdist::actors
