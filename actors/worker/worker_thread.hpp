// actors/worker/worker_thread.hpp — the lane of a worker: one thread that owns a step_runner and answers plans.
//
//   waiting ──load──▶ loading ──▶ waiting ──begin(e)──▶ stepping(e) ──fence, prepare, stop, failure──▶ waiting ──stop──▶ gone
//
// Commands come through a small queue, from the actor or, in a worker process, from its main thread; plans and results
// go through the epoch's rings. The thread sleeps
// in the ring while there is no plan, so an idle worker costs nothing.
// L-4 Every plan that decodes and validates is answered, or the epoch is over for this lane (P-5).
// L-5 Failpoints: worker.load, worker.step_begin, worker.step_end, with rank = slot; a kill_actor rule there kills the
//     actor, not the thread.
// L-8 `quiesced` proves that the lane has loaded: prepare() of one that has not loads first, and one that cannot load says
//     `failed` again instead. Whoever takes a worker over knows nothing else of it.
// L-9 The thread says on the board whether it loads, rests, waits or computes (step_watch.hpp).
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
  step_watch* watch = nullptr;  // of the lane's thread (L-9); null: nobody looks
};

class worker_thread final : public worker_lane {
public:
  worker_thread(worker_thread_config config, worker_thread_links links);

  void load() override;
  void prepare(epoch now) override;
  void begin(epoch now) override;
  void stop() override;

  /// The thread's function; reports `gone` last.
  void run();

private:
  struct command {
    enum class kind : std::uint8_t { load, prepare, begin, stop };
    kind what;
    epoch now;
  };

  /// A launched plan.
  struct flight {
    time_point since;
    std::int64_t tokens = 0; // that it computes
  };

  void post(command next);
  [[nodiscard]] command take();
  [[nodiscard]] bool has_command();
  void report(worker_event::kind what, epoch now = {});
  void report_failure(worker_event::kind what, epoch now, const error& cause);
  void obey(const command& next);
  [[nodiscard]] bool load_runner();
  [[nodiscard]] result<void> try_to_load();
  void step_through(epoch now);
  [[nodiscard]] result<void> answer_plans(epoch now, worker_wiring& wiring);
  [[nodiscard]] result<void> launch(std::span<const std::byte> body);
  [[nodiscard]] result<void> answer_oldest(worker_wiring& wiring);
  [[nodiscard]] result<void> reach(std::string_view point, failpoint_context at);
  [[nodiscard]] std::int32_t rank() const; // global

  worker_thread_config config_;
  worker_thread_links links_;
  step_watch silent_; // when nobody looks
  step_watch& watch_;
  std::unique_ptr<exec::step_runner> runner_; // null until it has loaded
  std::optional<error> broken_;               // why it could not load (L-8)
  protocol::step_plan plan_;
  protocol::step_result result_;
  std::vector<std::byte> encoded_;
  std::vector<flight> under_way_; // oldest first

  std::mutex mutex_;
  std::condition_variable has_commands_;
  std::deque<command> commands_; // guarded by mutex_
};

} // namespace vdist::actors
