// tests/runtime/sched/sched_harness.hpp — scheduler, ledger and model worker in one loop, with the
// checks that hold after every move. A violation throws std::runtime_error.
#pragma once

#include "tests/runtime/sched/model_worker.hpp"
#include "tests/runtime/sched/torn_table.hpp"

#include "runtime/ledger/memory_ledger.hpp"
#include "runtime/sched/scheduler.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace vdist::testing {

/// A host store that outlives schedulers and KV.
struct store_shape {
  std::int32_t slots = 0; // 0: none
  std::int32_t saves_max = 4;
};

class sched_harness {
public:
  /// With near-ties (model_worker.hpp) streams may be others than expected; what is checked is that their KV is their own.
  explicit sched_harness(const sched::scheduler_config& config,
                         const store_shape& store = {},
                         std::uint64_t tie_every = 0);

  /// Adds a fresh request and notes what it must produce.
  void add(const protocol::request& request);

  void cancel(request_id id);

  /// Those of `ids` that live are to run alone until their next token (S-10).
  void suspect(const std::vector<request_id>& ids);

  /// Of every request without an end.
  [[nodiscard]] std::vector<request_id> open_ids() const;

  /// Plans a step and submits it. False: nothing to do now.
  bool submit();

  /// Retires and commits the oldest step. False: none is in flight.
  bool retire();

  /// A worker died: new epoch, KV kept.
  void fence();

  /// The same, and what was in flight may still be written until the writers have gone (S-11).
  void fence_late();

  /// One of these writes happens, if there are any; `seed` says which.
  void write_late(std::uint64_t seed);

  /// No more of them.
  void writers_go();

  /// Whether they have not gone.
  [[nodiscard]] bool has_late_writers() const { return has_late_writers_; }

  [[nodiscard]] std::uint64_t late_writes() const { return written_late_; }

  /// The same, and all KV is gone.
  void fence_and_lose_kv();

  /// The scheduler died, and all KV is gone: a new one takes every unfinished request up again from the ledger.
  void restart_scheduler();

  /// The scheduler died between two steps: a new one goes on with the KV that the table names (S-9). All that the ledger
  /// knows must be restored. With `late`, every other request comes only with hand_over_rest().
  void take_over(bool late = false);

  /// The same while it makes a plan that never leaves, between any two of its stores; `seed` says which.
  void die_in_plan(std::uint64_t seed);

  /// The same while it commits the oldest step, before the ledger hears of it. False: none is in flight.
  bool die_in_commit(std::uint64_t seed);

  void hand_over_rest();

  /// Whether requests wait for hand_over_rest().
  [[nodiscard]] bool has_late() const { return !late_.empty(); }

  /// Steps one after the other until all requests have ended; throws beyond `steps_max`.
  void drain(std::uint64_t steps_max);

  /// Every stream is what it has to be; nothing is left over.
  void check_end();

  void check_integrity() const;

  [[nodiscard]] sched::scheduler& scheduler() { return *scheduler_; }

  [[nodiscard]] const protocol::step_plan& last_plan() const { return plan_; }

  [[nodiscard]] bool has_ended(request_id id) const { return streams_.at(id).terminals == 1; }

  [[nodiscard]] std::size_t generated(request_id id) const { return streams_.at(id).tokens.size(); }

  [[nodiscard]] const std::vector<token_id>& tokens_of(request_id id) const {
    return streams_.at(id).tokens;
  }

  [[nodiscard]] std::size_t open_requests() const { return open_; }

  [[nodiscard]] std::uint64_t steps() const { return step_; }

  /// Summed over all schedulers of this run.
  [[nodiscard]] std::uint64_t preemptions() const;
  [[nodiscard]] std::uint64_t tokens_dropped() const;
  [[nodiscard]] std::uint64_t tokens_restored() const;
  [[nodiscard]] std::uint64_t tokens_computed_again() const;
  [[nodiscard]] std::uint64_t tokens_loaded() const;
  [[nodiscard]] std::uint64_t blocks_saved() const;

private:
  /// Tokens of all requests whose KV a successor must, and may, find.
  struct kept_bounds {
    std::uint64_t least = 0;
    std::uint64_t most = 0;
  };

  struct stream {
    expected_stream expected;
    std::vector<token_id> tokens;
    protocol::finish_reason reason = protocol::finish_reason::none;
    std::int32_t terminals = 0;
    std::int32_t positions_max = 0; // whose KV is ever needed
    bool is_cancelled = false;
    bool is_suspect = false;
  };

  void take_events();
  void take_event(const protocol::token_event& event);
  void check_plan() const;
  void check_oldest_moves();
  void note_plan();
  void note_results();
  [[nodiscard]] std::uint64_t tokens_kept() const;
  [[nodiscard]] bool is_exact() const;
  void forget_scheduler();
  void make_scheduler();
  void take_over_from(const table_bytes& bytes, const kept_bounds& bounds, bool late);
  void hand_over(protocol::request request);

  sched::scheduler_config config_;
  const bool has_ties_;
  table_memory table_memory_;
  std::optional<sched::kv_table> table_;
  store_shape store_shape_;
  std::vector<std::uint64_t> store_memory_;
  std::unique_ptr<kv::host_store> store_;
  std::unique_ptr<sched::scheduler> scheduler_;
  ledger::memory_ledger ledger_;
  model_worker worker_;
  std::map<request_id, stream> streams_;
  std::size_t open_ = 0;
  std::uint64_t step_ = 0;
  std::uint32_t epoch_ = 1;
  std::uint64_t preemptions_before_ = 0; // of earlier schedulers of this run
  std::uint64_t dropped_before_ = 0;
  std::uint64_t restored_before_ = 0;
  std::uint64_t again_before_ = 0;
  std::uint64_t loaded_before_ = 0;
  std::uint64_t saved_before_ = 0;
  std::map<std::uint32_t, request_id> slot_owners_;
  std::map<request_id, std::int32_t> kept_; // tokens whose KV is committed and was not given up
  std::deque<protocol::step_plan> flying_;
  bool has_late_writers_ = false;
  std::vector<model_worker::late_write> late_writes_; // to come, perhaps
  std::uint64_t written_late_ = 0;
  std::uint64_t preemptions_noted_ = 0;
  bool has_unseen_victims_ = false;       // `kept_` says too much
  std::vector<request_id> late_;          // not handed over yet
  request_id oldest_;                     // without an end; under fcfs it is never passed over
  std::int32_t plans_without_oldest_ = 0; // in a row
  protocol::step_plan plan_;
  protocol::step_result result_;
  std::vector<protocol::token_event> events_;
  ledger::commit_batch batch_;
};

/// Configuration of the small worlds in these tests: vocabulary 13, pool and limits as given.
[[nodiscard]] sched::scheduler_config
small_config(std::int32_t blocks, std::int32_t block_size, std::int32_t max_model_len);

/// A request with ids and prompt; arrival equals the id.
[[nodiscard]] protocol::request
make_request(std::uint64_t id, std::vector<token_id> prompt, std::int32_t max_tokens);

/// The result that samples `token` for every sampling sequence of `plan`.
[[nodiscard]] protocol::step_result result_of(const protocol::step_plan& plan, token_id token);

} // namespace vdist::testing
