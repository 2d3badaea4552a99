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
#pragma once

#include "actors/gateway/epoch_wiring.hpp"
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

  void post(command next);
  [[nodiscard]] command take();
  [[nodiscard]] bool has_command();
  void report(worker_event::kind what, epoch now = {});
  void report_failure(worker_event::kind what, epoch now, const error& cause);
  void obey(const command& next);
  void load_runner();
  void step_through(epoch now);
  [[nodiscard]] result<void> answer_plans(epoch now, worker_wiring& wiring);
  [[nodiscard]] result<void> launch(std::span<const std::byte> body);
  [[nodiscard]] result<void> answer_oldest(worker_wiring& wiring);
  void reach(std::string_view point, std::int64_t step);
  [[nodiscard]] std::int32_t rank() const; // global

  worker_thread_config config_;
  worker_thread_links links_;
  std::unique_ptr<exec::step_runner> runner_;
  protocol::step_plan plan_;
  protocol::step_result result_;
  std::vector<std::byte> encoded_;
  std::vector<time_point> under_way_; // when each launched plan came, oldest first

  std::mutex mutex_;
  std::condition_variable has_commands_;
  std::deque<command> commands_; // guarded by mutex_
};

} // namespace vdist::actors
