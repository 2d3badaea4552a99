// actors/executor/step_lane.hpp — the loop of one replica: plan → send → collect → commit → release, on one thread.
// The scheduler's plain class decides; this thread moves frames and waits. No actor, no mailbox is on the way of a step.
//
//   idle ──begin(e)──▶ stepping ──fence, late or contradicting results──▶ idle (waits for begin of a higher epoch)
//
// X-1 Up to `scheduler.max_steps_in_flight` plans are under way; results are taken oldest first.
// X-2 A step is committed only if every worker answered it in this epoch and the ranks of each stage agree (I4, P-6).
// X-3 Tokens are in the ledger before anybody else sees them (I2), and leave after the next plan is out.
// X-4 A lane works only after its predecessor has ended, and goes on with its step numbers (P-2), also behind one of a process
//     that has died (last_step).
// X-5 A lane that takes over goes on with the KV that its predecessor's table names, for requests that the ledger has
//     unfinished. Those that have not been handed over soon lose it; when the workers' KV memory is not that of the table,
//     nothing is believed of it.
// X-6 Failpoint: executor.before_send; a kill_actor rule there kills the actor, not the thread.
// X-7 A request that comes with other tokens than the ledger has committed is of the past: it is dropped, because whoever
//     sent it is told to hand it over again (replica_changed: restarted).
// X-8 A lane that was told to stop has no crash to report: if the ledger refuses its last step, because others have ended a
//     request of it meanwhile, nothing of the step is committed.
// X-9 The lane says on a cell whether it works or waits, for whoever judges whether it gets on.
// X-10 What was in flight when a worker died of it, or the lane ended, gets one strike per such end in the ledger, all of it:
//     with several steps in flight nobody knows which one it was. A step that only failed or was late strikes nobody: that
//     may as well be the channel's fault. Bystanders get strikes, too; their next committed token takes them away, whoever
//     computes it with them. One strike short of `poison_strikes` a request is a suspect and runs alone (sched S-10), so the
//     last strike hits nobody else; with it the request fails. Behind a process that died the words of flight_log.hpp say
//     what was in flight.
// X-11 What others see of the replica's KV is written by the lane that works, at step boundaries before the events of that
//     step leave; prefixes as they come and go.
// X-12 An epoch that begins while dead workers may still write is planned with what they cannot reach (sched S-11), after what
//     fed their last steps (S-13), until the inbox says of this very epoch that they have gone, or the next one begins without
//     them.
// X-13 Whoever has strikes is suspected until it has a token, ends, or fails for them. When nobody is any more, the lane says
//     so, and whether all were acquitted by a token: then the worker is to blame for what struck them.
// X-14 The host store is written by the lane that works, too. A block is there when all workers have said so (P-10).
// One thread runs run(), or takes its turns by hand; stop() and the inbox are for the others.
#pragma once

#include "actors/executor/sequence_meter.hpp"
#include "actors/executor/step_inbox.hpp"
#include "actors/gateway/board_areas.hpp"
#include "actors/gateway/epoch_wiring.hpp"
#include "actors/gateway/flight_log.hpp"

#include "transport/frame/wait_policy.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/base/progress_word.hpp"
#include "runtime/kv/host_store.hpp"
#include "runtime/ledger/ledger.hpp"
#include "runtime/metrics/recovery_metrics.hpp"
#include "runtime/metrics/request_metrics.hpp"
#include "runtime/metrics/step_times.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/sched/replica_choice.hpp"
#include "runtime/sched/scheduler.hpp"

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

namespace vdist::actors {

struct step_lane_config {
  std::int32_t replica = 0;
  std::uint64_t cluster = 0;
  std::int32_t first_rank = 0;
  std::vector<std::int32_t> stage_of_slot;
  std::int32_t sampling_slot = 0; // whose result has the tokens
  std::chrono::milliseconds step_deadline{30000};
  std::int32_t poison_strikes = 0; // X-10; 0: nobody is suspected, else 2 at least
  sched::scheduler_config scheduler;
};

/// A request that steps died of as often as they may.
struct culprit {
  std::int32_t strikes = 0;
  bool has_progressed = false; // as of culprit_found
  bool is_of_process = false;  // the last strike was the end of the process before this one

  bool operator==(const culprit&) const = default;
};

/// Nobody is suspected any more of what the begins up to that of `now` told of.
struct acquittal {
  epoch now;
  bool are_innocent = true; // all of them, but for culprits that were found

  bool operator==(const acquittal&) const = default;
};

/// What the lane reports; called on its thread, must not block.
struct step_lane_listener {
  std::function<void(std::shared_ptr<const token_events>)> on_tokens;
  std::function<void(epoch, std::string)> on_step_failed; // nobody died; run it again
  /// Before on_step_failed: these slots of a stage are named for that (digest_vote.hpp). May be empty.
  std::function<void(
      const std::vector<std::int32_t>& slots, bool is_certain, const std::string& text)>
      on_disagreement;
  std::function<void(std::string)> on_crashed; // the lane is of no use any more
  /// The lane works from now on, and knows of no request (only of KV, X-5): the predecessor, if there was one, has
  /// published its last, and what was in the inbox before is forgotten (I-2). May be empty.
  std::function<void()> on_taken_over;
  /// The lane has published its last and commits nothing any more, nor does a predecessor. May be
  /// empty.
  std::function<void()> on_ended;
  /// A request is failed for its strikes, before anything is planned without it. May be empty.
  std::function<void(const culprit& found)> on_culprit;
  /// May be empty.
  std::function<void(const acquittal& given)> on_acquittal;
  std::function<void()> kill_actor; // what a kill_actor failpoint does: ends the executor
};

/// The replica's part of the host store. Empty memory: there is none.
struct lane_store {
  std::span<std::byte> memory; // outlives the lane
  kv::host_store_config config;
  std::int32_t saves_max = 1; // blocks on their way there at a time
};

/// Borrowed; all outlive the lane.
struct step_lane_links {
  step_inbox* inbox = nullptr;
  std::uint32_t inbox_reader = 0; // of step_inbox::reset()
  ledger::ledger* journal = nullptr;
  failpoints* points = nullptr;
  metrics::step_times* times = nullptr;
  /// Number of the newest plan, where it outlives the process. May be null: numbers begin at 1.
  std::atomic<std::uint64_t>* last_step = nullptr;
  sched::kv_table* kv =
      nullptr;      // of the replica's KV, as long as that; null: every lane begins without KV
  lane_store store;
  kept_tokens* kept_total = nullptr;               // may be null
  flight_words* flights = nullptr;
  sched::replica_view* view = nullptr;             // X-11; null: nobody looks
  metrics::request_metrics* requests = nullptr;    // may be null
  metrics::recovery_metrics* recoveries = nullptr; // may be null
};

/// What one turn of the loop came to.
struct lane_turn {
  enum class kind : std::uint8_t {
    worked,  // there may be more to do at once
    waiting, // for results, commands or the predecessor, until `due`
    ended,   // for good
  };
  kind what = kind::worked;
  time_point due{}; // when the next turn has something to do although nothing has come
};

class step_lane {
public:
  step_lane(step_lane_config config,
            step_lane_listener listener,
            step_lane_links links,
            const frame::wait_policy& waits);

  /// The loop. Returns after stop(). Waits first until `predecessor` (may be null) has ended.
  void run(std::shared_ptr<step_lane> predecessor);

  /// run() in pieces: this first, once, then turns until one has ended.
  void follow(std::shared_ptr<step_lane> predecessor);
  /// One round of the loop: commands, plans, then at most one step is finished. Waits for what it
  /// lacks, until `patience` at most; only for room in a ring of plans it may wait longer. What it
  /// had begun to collect by then, the next turn goes on with.
  lane_turn turn(time_point patience);

  /// Any thread, once is enough.
  void stop();

  /// Nothing of it, nor of a predecessor, is committed or published after this; any thread.
  [[nodiscard]] bool has_ended() const { return has_returned_; }

  /// X-9; any thread.
  [[nodiscard]] const progress_cell& progress() const { return progress_; }

  /// Numbers of the last step boundary; any thread.
  [[nodiscard]] sched::scheduler_stats stats() const;

private:
  struct flying_step {
    step_id step;
    time_point sent_at;
  };

  [[nodiscard]] lane_turn take_over(time_point patience);
  void keep_kv();
  void attach_store();
  [[nodiscard]] lane_turn work(time_point patience);
  void end();
  void obey(step_commands& commands);
  void count_kept();
  void take_request(const protocol::request& request);
  void begin(const begin_epoch& message);
  void strike(const step_death& death);
  void judge(request_id id, std::int32_t strikes);
  void weigh_suspects();
  [[nodiscard]] std::string text_of_poison(std::int32_t strikes) const;
  [[nodiscard]] step_id last_step() const;
  void leave_epoch();
  void count_drops() const;
  [[nodiscard]] bool fill_pipeline();
  [[nodiscard]] result<void> send_plan();
  [[nodiscard]] lane_turn collect(time_point patience);
  [[nodiscard]] result<void> read_results(const flying_step& flying, time_point patience);
  [[nodiscard]] result<void> read_result(std::size_t slot, step_id step, time_point deadline);
  [[nodiscard]] result<void> check_digests() const;
  [[nodiscard]] error name_dissenters(std::size_t first, std::size_t end) const;
  void finish_step();
  void note_saved();
  void note_stats();
  void commit_events();
  void publish();
  void handle_failure(const error& cause);
  [[nodiscard]] lane_turn rest(time_point patience);

  step_lane_config config_;
  step_lane_listener listener_;
  step_lane_links links_;
  frame::wait_policy waits_;
  std::unique_ptr<kv::host_store> store_; // null: there is none, or it is not this lane's turn yet
  sched::scheduler scheduler_;

  std::shared_ptr<step_lane> predecessor_; // null: none, or it has ended
  bool has_taken_over_ = false;
  std::shared_ptr<epoch_wiring> wiring_; // null: between epochs
  step_id next_step_{1};
  flight_log flights_;
  sequence_meter meter_;
  step_death last_death_;                   // that struck somebody
  bool follows_death_ = false;              // … the end of the process before this one
  epoch begun_{0};                          // the last one
  std::unordered_set<request_id> suspects_;
  bool are_innocent_ = true;                // who was among them since the last acquittal
  bool owes_acquittal_ = false;             // something was told since then
  std::deque<flying_step> flying_;
  bool is_collecting_ = false;          // the oldest of them
  std::size_t slots_read_ = 0;          // of it: results_ up to here are there
  std::unordered_set<request_id> live_; // requests that the scheduler knows
  bool is_checked_ = false;             // integrity, once per idle time
  time_point kept_until_{};
  sched::scheduler_stats counted_;      // in links_.kept_total

  progress_cell progress_;
  progress_word word_{progress_};

  step_commands commands_;
  protocol::step_plan plan_;
  std::vector<std::byte> encoded_;
  std::vector<protocol::step_result> results_; // by slot
  std::shared_ptr<token_events> events_;       // of the step being finished
  std::shared_ptr<token_events> outgoing_;     // committed, not yet published
  ledger::commit_batch batch_;

  mutable std::mutex stats_mutex_;
  sched::scheduler_stats stats_; // guarded by stats_mutex_
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> has_returned_{false};
  frame::bell returned_door_;
};

} // namespace vdist::actors
