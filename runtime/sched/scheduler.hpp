// runtime/sched/scheduler.hpp — decides what a replica computes in each step.
// Why a plain class: one step thread calls plan() and commit() without a lock, a mailbox or a
// clock; actors only translate. Not thread-safe. Nothing here knows about devices: a request goes
// in, plans come out, results go in, token events come out.
//
// With several steps in flight a plan is made before the results of the steps ahead of it are
// known. What it needs of them is predictable: positions and lengths follow from the plans, a token
// that is not known yet is fed on the device (protocol/step.hpp P-8). Only a stop id cannot be
// foreseen: it is seen when its step is committed, and whatever later steps in flight sample for
// that sequence is surplus and dropped.
//
// S-1 A request may be in several steps in flight; each begins where the one before it ends. Until
//     the last of them is committed or fenced its slot and blocks are not given to anybody else
//     (K-3), also when the request is over.
// S-2 Steps commit oldest first, each once, only of the current epoch (I4).
// S-3 Every added request gets exactly one terminal event, and nothing after it.
// S-4 Which tokens a request gets does not depend on plans: chunks, preemption, order, epochs, lost
//     KV and steps in flight change when a token comes and never which.
// S-5 Decoding goes before prompts, and running before waiting. With one step in flight, or with
//     fed tokens, every decoding sequence is in every plan unless the pool is short of blocks; else
//     the decoding ones are split evenly between the steps in flight and take turns. Chunks of a
//     prompt follow each other in flight always.
// S-6 Nobody overtakes the head of the waiting queue; it is let in as soon as it fits (blocks that
//     it could share with others may be noticed a few plans late). Its blocks are reserved whole,
//     so a prompt never stops halfway for want of blocks.
// S-7 KV beyond the committed length is read only by the steps in flight that wrote it or follow it
//     (I6). It is never published; after a fence it is only written again.
// S-8 No step is planned behind the last token that a sequence may have: surplus comes from stop
//     ids and cancels only, at most one token per later step in flight.
// S-9 With a table (kv_table.hpp) a successor goes on with the KV of this one: keep() claims what the table names, add() of
//     such a request takes it, and it runs on where it was. Nobody is let in while KV is kept for requests that are still
//     to come; it is given up for a running one that is short of blocks, the newest first.
// S-10 A suspect is computed alone: nobody else is in its step, and no other step is in flight, until its next token is
//     committed. Suspects that run come one after the other, in policy order, before everybody else, who keep slots and
//     blocks meanwhile. A suspect that waits is let in at its turn like anybody; one that cannot get a block although it
//     may take those of whoever is behind it waits for one.
// S-11 When an epoch begins while dead workers may still write what they had begun, the blocks that the fenced steps wrote to
//     are exposed (K-5): nobody else gets them before lift(). If the pool is short only for that, the plan waits: nobody is
//     preempted, nobody who is kept is given up, nobody is let in. A scheduler that has planned nothing yet does not know
//     which blocks they are, and plans nothing before. lift(), or the next epoch, must come.
// S-12 With a host store (kv/host_store.hpp) full blocks of committed KV are copied there, with steps that run anyhow, the first
//     by policy first; how many are on their way is bounded, and nobody waits for them. What is there is not computed when a
//     request is let in: its first step loads it. A fence forgets what was on its way, and it is planned again.
// S-13 In such an epoch, with fed tokens, the fenced steps are repeated as they were, the same chunks of the same sequences in the
//     same order, but for the youngest: what followed them was fed by them, so its late writes fit the sequences only if the
//     same tokens are sampled again, and on a device that is only sure of the same step. One that cannot be repeated
//     (somebody in it has ended, or must run alone) is not planned before lift(). So nobody is let in before the others have
//     caught up.
// Order is (priority, arrival, id) under policy "priority" and (arrival, id) under "fcfs". Under
// "priority" a flood cannot starve the rest: after every `promote_every` admissions the oldest
// waiting request goes before everything, for good, and so does a running prompt that went without
// tokens for `promote_every` plans.
// Cost: plan and commit O(running sequences + tokens moved); the length of the waiting queue does
// not matter. A plan that only continues running sequences allocates nothing, once `out` has grown.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kv/block_pool.hpp"
#include "runtime/kv/host_store.hpp"
#include "runtime/protocol/request.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/sched/kv_table.hpp"
#include "runtime/sched/sequence.hpp"
#include "runtime/sched/step_window.hpp"
#include "runtime/sched/waiting_queue.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace vdist::sched {

struct scheduler_config {
  std::int32_t max_batch_tokens = 8192; // computed tokens per step, >= 1
  std::int32_t max_sequences = 1024;    // running sequences = table slots, >= 1
  std::int32_t max_waiting = 65536;     // requests that wait to run for the first time
  std::int32_t max_model_len = 0;       // tokens of a sequence, prompt plus generated, >= 2
  std::int32_t max_prefill_chunk = 0;   // tokens of one prompt per step; 0: up to the budget
  std::int32_t max_steps_in_flight = 1; // >= 1, see overlap_of()
  bool feeds_tokens = false;            // a step may follow before its token is known (P-8)
  std::int32_t blocks = 0;              // of the KV pool, >= 1
  std::int32_t block_size = 16;         // tokens per block, >= 1
  std::int32_t watermark_blocks = -1;   // kept free by an admission beside others; -1: blocks / 100
  std::int32_t vocabulary = 0;          // prompt ids are below this; 0: not checked here
  bool prefix_cache = true;
  std::uint64_t prefix_salt = 0; // seeds the prefix hashes
  admission_policy policy = admission_policy::fcfs;
  std::int32_t promote_every = 16; // policy "priority" only, >= 1
};

/// How much of a replica's planning runs ahead of its results.
struct overlap {
  std::int32_t steps_in_flight = 1;
  bool feeds_tokens = false;
};

/// For a replica of `stages` pipeline stages. One stage: with `is_async` the next step waits at the
/// workers while one runs, made of tokens not known yet. Several: as many steps as stages, of
/// different sequences, whatever `is_async` says (protocol/step.hpp P-9).
[[nodiscard]] overlap overlap_of(std::int32_t stages, bool is_async);

/// Error bad_configuration: names the first value that is out of range, and its legal values.
[[nodiscard]] result<void> validate(const scheduler_config& config);

/// The table for schedulers of this configuration, which must be valid.
[[nodiscard]] kv_table_config table_config_of(const scheduler_config& config);

/// Gauges of the moment and counters since the start.
struct scheduler_stats {
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t steps_in_flight = 0;
  std::int32_t blocks_free = 0;
  std::int32_t blocks_cached = 0;
  std::int32_t blocks_owned = 0;
  std::uint64_t admissions = 0;     // from waiting to running, again after a preemption too
  std::uint64_t preemptions = 0;    // a running sequence gave up its blocks to another
  std::uint64_t promotions = 0;     // see "promote_every"
  std::uint64_t prefix_tokens = 0;  // tokens of admitted sequences
  std::uint64_t prefix_hits = 0;    // of those, tokens whose KV was found in the prefix cache
  std::uint64_t tokens_planned = 0; // computed tokens in all plans
  std::uint64_t tokens_sampled = 0; // token events with a token
  std::uint64_t tokens_dropped = 0; // surplus: sampled for requests that were over by then
  std::uint64_t finished = 0;       // terminal events
  std::uint64_t tokens_restored =
      0; // whose KV a predecessor had computed, of requests taken up again
  /// Whose KV had been committed and was lost, of requests taken up again and in lose_kv(). Not of those that had given it up
  /// before. Of a prompt that had not sampled yet nobody knows more than the table.
  std::uint64_t tokens_computed_again = 0;
  std::uint64_t tokens_loaded = 0;  // whose KV came from the host store
  std::uint64_t blocks_saved = 0;   // to the host store
  std::uint64_t blocks_unsaved = 0; // full ones that were given up before they were there
};

class scheduler {
public:
  /// `config` must be valid: VDIST_CHECK otherwise. `table`, made for table_config_of(config), outlives the scheduler; it is
  /// written from the first commit on. Null: nothing is kept for a successor.
  explicit scheduler(const scheduler_config& config, kv_table* table = nullptr);

  /// S-12. Before the first plan. `store` outlives this, has the block size of the configuration, and belongs to nobody else
  /// meanwhile. At most `saves_max` blocks are on their way to it, >= 1.
  void use_store(kv::host_store& store, std::int32_t saves_max);

  /// Workers have stored all that the steps up to this one save (P-10). More may be said than is committed.
  void note_saved(step_id step);

  /// S-9. Claims blocks and slots of a predecessor; before anything else, and only after that one has ended. `records` are
  /// those of the table, without requests that have ended; all others are cleared.
  void keep(std::vector<kept_kv> records);

  /// Requests whose KV is kept and that have not come yet.
  [[nodiscard]] std::size_t awaited() const { return kept_.size(); }

  /// They do not come any more.
  void give_up_kept();

  /// Takes a request in. A request with `generated` is taken up again where it stopped; if those
  /// tokens end it already, its terminal event (token -1) comes with the next flush.
  /// Errors: invalid_argument (text says which value), resource_exhausted (it can never fit the
  /// pool), queue_full.
  [[nodiscard]] result<void> add(protocol::request request);

  /// Ends a request early. False: not known (any more). The terminal event comes with the next
  /// commit or flush; tokens that steps in flight sample for it are dropped.
  bool cancel(request_id id);

  /// The same with reason `failed` and a text for the client (a poisonous request).
  bool fail_request(request_id id, std::string message);

  /// From now on the request is computed alone (S-10). False: not known (any more).
  bool suspect(request_id id);

  /// Fills `out` with the next step. False: nothing to do now; `out` is empty then. `step` must be
  /// above all earlier ones, `current` the epoch of start_epoch() (the first plan may set it).
  [[nodiscard]] bool plan(step_id step, epoch current, protocol::step_plan& out);

  /// Applies the result of the oldest step in flight and appends its events, then those of flush().
  /// Errors, nothing changed: stale (older epoch, or a step that is over), corrupt (not the oldest
  /// step, or columns that do not fit the plan), aborted (the worker reports an error).
  [[nodiscard]] result<void> commit(const protocol::step_result& result,
                                    std::vector<protocol::token_event>& out);

  /// Appends terminal events that belong to no step.
  void flush(std::vector<protocol::token_event>& out);

  /// Fence: the steps in flight never happened. The caller promises that no worker of an older
  /// epoch writes KV any more, or says that some may still write what they had begun (S-11). KV of committed tokens is valid
  /// and stays owned; every running sequence is announced as new in the plans that follow. `next` must be above the current
  /// epoch.
  void start_epoch(epoch next, bool has_late_writers = false);

  /// Those that the begin of this epoch spoke of have gone (S-11). Of another epoch: nothing.
  void lift(epoch of);

  /// All KV content is gone, that of the table too; everything is computed again. Only while no step is in flight (call
  /// start_epoch first).
  void lose_kv();

  /// Others see from now on which prefixes the cache holds; as kv::prefix_index::show_in().
  void show_prefixes(kv::published_prefixes& shown) { pool_.show_prefixes(shown); }

  [[nodiscard]] scheduler_stats stats() const;

  /// stats() without the gauges.
  [[nodiscard]] const scheduler_stats& counters() const { return counters_; }

  /// Those of stats().
  [[nodiscard]] std::uint64_t tokens_restored() const { return counters_.tokens_restored; }

  [[nodiscard]] std::uint64_t tokens_computed_again() const {
    return counters_.tokens_computed_again;
  }

  [[nodiscard]] const scheduler_config& config() const { return config_; }

  /// Whether plan() can do anything now or after a commit.
  [[nodiscard]] bool is_idle() const { return sequences_.empty() && window_.size() == 0; }

  /// O(pool + sequences), for idle time and tests. Error internal: the rule that is broken.
  [[nodiscard]] result<void> check_integrity() const;

private:
  /// Place in the columns of a step_result.
  struct result_cursor {
    std::size_t sample = 0;
    std::size_t top = 0;
  };

  // scheduler.cpp
  [[nodiscard]] result<void> check_request(const protocol::request& request) const;
  bool end_early(request_id id, protocol::finish_reason reason, std::string message);
  void finish(sequence& ended, protocol::finish_reason reason, std::string message);
  void end(sequence& ended);
  void remove(sequence& ended);
  void enter_running(sequence& entrant, std::uint32_t slot);
  void leave_running(sequence& leaver);
  void give_up_memory(sequence& leaver);
  void requeue(sequence& victim);
  void promote(sequence& passed_over);
  void acquit(sequence& member);
  [[nodiscard]] result<void> check_holders() const;
  [[nodiscard]] result<void> check_running() const;
  [[nodiscard]] result<void> check_store() const;
  [[nodiscard]] result<void> check_steps_in_flight() const;

  // scheduler_kept.cpp
  using kept_map = std::unordered_map<request_id, kept_kv>;
  [[nodiscard]] bool restore(sequence& entrant);
  [[nodiscard]] bool fits(const kept_kv& kept, const sequence& entrant, std::int32_t computed);
  [[nodiscard]] bool reserve_rest(kept_kv& kept, const sequence& entrant, std::int32_t computed);
  void run_with(kept_kv kept, sequence& entrant, std::int32_t computed);
  void note_loss(request_id id, std::int32_t tokens);
  void release_kept(const kept_kv& kept);
  void give_up(kept_map::const_iterator kept);
  void give_up_newest_kept();
  void record_blocks(sequence& written);
  void clear_records();

  // scheduler_store.cpp
  void plan_saves(protocol::step_plan& out);
  [[nodiscard]] bool save_next(sequence& member, protocol::step_plan& out);
  void move_stored(sequence& member, const kv::stored_prefix& to, std::int32_t blocks);
  void find_stored(sequence& head, std::int32_t hits);
  void emit_loads(const sequence& member, protocol::step_plan& out) const;
  void commit_saves(const step_record& done);
  void forget_saves();
  void leave_store(sequence& leaver);
  [[nodiscard]] std::int32_t count_lost(sequence& loser, std::int32_t tokens);
  [[nodiscard]] std::int32_t saves_under_way() const;

  // scheduler_plan.cpp
  void plan_decodes(protocol::step_plan& out);
  void plan_prefills(protocol::step_plan& out);
  void plan_admissions(protocol::step_plan& out);
  [[nodiscard]] sequence* find_suspect();
  [[nodiscard]] bool plan_alone(sequence& suspect, protocol::step_plan& out);
  [[nodiscard]] bool has_place() const;
  [[nodiscard]] std::optional<kv::prefix_node> find_room(sequence& head);
  [[nodiscard]] bool admit(sequence& head, protocol::step_plan& out);
  [[nodiscard]] bool can_go_on(const sequence& member) const;
  [[nodiscard]] bool grow(sequence& writer);
  [[nodiscard]] sequence* find_victim(const sequence& needy);
  void hold_back(const sequence& needy);
  void expose_steps_in_flight();
  [[nodiscard]] bool waits_for_lift() const;
  void note_repetition();
  void forget_repetition();

  [[nodiscard]] bool has_to_repeat() const { return repeated_ < to_repeat_.size(); }

  void plan_again(protocol::step_plan& out);
  [[nodiscard]] std::int32_t chunk_of(const sequence& prefill) const;
  void emit(sequence& member, std::int32_t count, protocol::step_plan& out);
  static void emit_sampling(const sequence& member, protocol::step_plan& out);

  // scheduler_commit.cpp
  [[nodiscard]] result<void> check_result(const protocol::step_result& result) const;
  void commit_entry(const step_entry& entry,
                    const protocol::step_result& result,
                    result_cursor& at,
                    std::vector<protocol::token_event>& out);
  void publish_blocks(sequence& written);

  const scheduler_config config_;
  const std::int32_t running_max_; // every running sequence gets at least a token's worth of budget
  kv::block_pool pool_;
  std::unordered_map<request_id, std::unique_ptr<sequence>> sequences_; // owns every live request
  std::vector<sequence*> running_;                                      // in policy order
  waiting_queue waiting_;
  step_window window_;                       // steps in flight, oldest first
  std::deque<std::uint32_t> free_slots_;     // longest free first
  std::vector<std::uint32_t> retired_slots_; // for the next plan (P-4)
  kv_table* const table_;                    // null: none
  std::vector<std::uint32_t> stale_records_; // of the table, cleared with the next plan (T-2)
  kv::host_store* store_ = nullptr;          // null: none
  std::int32_t saves_max_ = 0;

  struct save_under_way {
    step_id step;
    kv::stored_prefix entry;
  };

  std::deque<save_under_way> unsaved_;     // of committed steps, oldest first
  kept_map kept_;                          // holds blocks and slots of requests to come
  std::unordered_set<request_id> excused_; // come without KV, and that is not to be counted
  std::vector<protocol::token_event> pending_events_;
  epoch epoch_;
  std::optional<step_id> last_step_;
  bool has_epoch_ = false;
  bool has_late_writers_ = false;                 // S-11
  std::deque<std::vector<step_entry>> to_repeat_; // S-13: uncommitted, oldest first
  std::size_t repeated_ = 0;                      // the first so many of them are in flight again
  bool cannot_repeat_ = false;                    // before lift()
  scheduler_stats counters_;
  std::int32_t suspects_ = 0; // of sequences_

  // State of the plan being made, and memory that plans reuse.
  std::uint64_t plans_ = 0; // tried, also in vain
  std::int32_t budget_ = 0;
  std::int32_t admissions_in_turn_ = 0; // since the last promotion
  bool is_short_of_blocks_ = false;
  sequence_key turn_; // where decoding ones take turns: it goes round from here
  std::vector<sequence*> visit_;
  std::vector<block_id> hits_;
  std::vector<kv::stored_prefix> stored_hits_;
};

} // namespace vdist::sched
