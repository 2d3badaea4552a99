// tests/sim/sim_worker.hpp — a worker process without maths: loads, answers plans and dies in virtual time. It computes by
// model_worker, which notices every wrong plan (I6, P-2 … P-8) and makes tokens as a pure function (I7).
//
//   spawned ──load──▶ loading ──▶ waiting ──begin(e)──▶ stepping(e) ──fence, command, failure──▶ waiting
//      any ──die, end──▶ dying (a zombie: it may go on acting) ──▶ halted (what was in flight still writes) ──▶ gone
//
// A process outlives the control process that spawned it: what steers it (sim_lane) is a handle that the next one makes
// anew. The memory of a slot (`memory`) outlives its processes, as the vault's regions do.
// W-1 Only one process of a slot acts, and none in an epoch while another one of its replica still works in a lower one
//     (I5): the memory counts who is at work.
#pragma once

#include "tests/runtime/sched/model_worker.hpp"
#include "tests/sim/sim_channel.hpp"

#include "actors/worker/worker_lane.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vdist::testing {

/// What outlives the processes of one slot.
struct slot_memory {
  std::unique_ptr<model_worker> model; // KV and tables
  std::uint32_t worker_at_work = 0;    // the incarnation that has entered an epoch, 0: none
  std::uint32_t epoch_at_work = 0;     // which one
};

/// Who a process is, and where its frames go.
struct sim_worker_config {
  std::int32_t replica = 0;
  std::int32_t slot = 0;
  std::int32_t rank = 0; // global
  incarnation worker;
  bool is_sampling = false;
  std::uint64_t cluster = 0;
  protocol::plan_limits limits;
};

/// A worker's ends of the channels of one epoch.
struct sim_ends {
  std::unique_ptr<frame::frame_reader> plans;
  std::unique_ptr<frame::frame_writer> results;
};

/// The surroundings of a process; borrowed, outlive it.
struct sim_worker_links {
  channel_world world;
  std::vector<slot_memory>* group = nullptr; // by slot
  /// nullopt: the epoch is over already.
  std::function<std::optional<sim_ends>(epoch now)> open;
};

class sim_worker : public std::enable_shared_from_this<sim_worker> {
public:
  sim_worker(const sim_worker_config& config, sim_worker_links links);

  // Commands, as its lane gives them.
  void load();
  void prepare(epoch now);
  void begin(epoch now);
  /// SIGKILL: it goes on for `last` and then halts, or is gone at once, as chance will have it.
  void end(duration last);

  /// The lane that speaks for it; null: none, what it says is lost.
  void set_report(actors::lane_report report);

  // Faults.
  /// It ends by itself, at once; that is known after `notice`.
  void die(duration notice);
  void pause(duration length);

  void slow_down(std::int32_t factor) { slowness_ = factor; }

  void refuse_next_load() { load_fails_ = true; }

  void lie_next() { lies_ = true; } // a wrong digest

  void fail_next() { fails_ = true; } // its result is an error

  void be_late(); // it says that a peer kept it waiting

  /// Does what it can do now. False: nothing.
  bool turn();
  /// When it can do more although nothing comes.
  [[nodiscard]] std::optional<time_point> due() const;

  [[nodiscard]] incarnation worker() const { return config_.worker; }

  [[nodiscard]] bool is_gone() const { return state_ == state::gone; }

  /// It begins nothing any more, but may still write.
  [[nodiscard]] bool has_halted() const { return state_ == state::halted; }

  /// Writes that came when it was dead.
  [[nodiscard]] std::uint64_t late_writes() const { return late_writes_; }

  [[nodiscard]] bool is_ending() const { return is_told_to_end_ || is_dead_; }

  [[nodiscard]] bool has_loaded() const { return has_loaded_; }

  [[nodiscard]] std::uint64_t steps() const { return steps_; }

private:
  enum class state : std::uint8_t { living, halted, gone };

  struct command {
    enum class kind : std::uint8_t { load, prepare, begin };
    kind what = kind::load;
    epoch now;
  };

  void post(command next);
  void report(actors::worker_event::kind what,
              epoch now = {},
              errc status = errc::ok,
              std::string text = {});
  void obey(const command& next);
  void enter(epoch now);
  void leave();
  void finish_load();
  [[nodiscard]] bool step();
  [[nodiscard]] result<bool> take_plan();
  [[nodiscard]] result<void> submit(model_worker& model);
  [[nodiscard]] bool dies_of_plan() const;
  [[nodiscard]] result<void> answer();
  void shape_result();
  void halt();
  void write_late(std::vector<model_worker::late_write> writes, duration within);
  void be_gone();

  sim_worker_config config_;
  sim_worker_links links_;
  actors::lane_report report_;
  state state_ = state::living;
  std::deque<command> commands_;
  std::optional<time_point> loaded_at_;
  bool has_loaded_ = false;
  bool is_told_to_end_ = false;
  bool is_dead_ = false;
  bool load_fails_ = false;
  bool lies_ = false;
  bool fails_ = false;
  std::int32_t slowness_ = 1;
  time_point paused_until_{};
  time_point last_report_{}; // what it says comes in order
  std::uint64_t steps_ = 0;
  std::uint64_t late_writes_ = 0;

  std::optional<epoch> now_; // stepping
  sim_ends ends_;
  std::deque<time_point> ready_at_;        // of the steps under way
  std::vector<std::int32_t> alternatives_; // by table slot: asked for, -1: none
  protocol::step_plan plan_;
  protocol::step_result result_;
  std::vector<std::byte> encoded_;
};

/// The handle of one process in one control process.
class sim_lane final : public actors::worker_lane {
public:
  sim_lane(std::shared_ptr<sim_worker> process, dice& chance)
      : process_(std::move(process)), chance_(chance) {}

  void load() override;
  void prepare(epoch now) override;
  void begin(epoch now) override;
  void stop() override;

  /// Its control process has ended: the process hears nothing from here any more.
  void detach() { process_.reset(); }

private:
  std::shared_ptr<sim_worker> process_; // shared with the host, which knows all; null: detached
  dice& chance_;
};

} // namespace vdist::testing
