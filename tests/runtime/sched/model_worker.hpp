// tests/runtime/sched/model_worker.hpp — a worker without maths that notices every wrong plan. The
// KV of a position is a hash of all tokens up to it, so a stale, mixed-up or unwritten block shows
// as soon as it is read. Writes happen when a step is submitted and once more when it retires (a
// kernel that writes late), contexts are checked at both times: a block that was handed out too
// early (K-3) is caught on either side. The token sampled is a function of the request and the
// tokens before it (S-4), and only of what the plans told. Fed tokens come from the worker's own
// samples and only under flag_feeds (P-8). Blocks that are saved may be read until their step retires and reach the store some
// steps later, what is on its way at a fence may or may not (P-10); loads come first (P-11). A violation throws std::runtime_error.
#pragma once

#include "runtime/protocol/request.hpp"
#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vdist::testing {

/// Throws with this text unless `condition` holds.
void require(bool condition, const std::string& text);

/// What a request must produce, whatever the schedule: computed without any scheduler.
struct expected_stream {
  std::vector<token_id> tokens; // all generated ones, those it was added with included
  protocol::finish_reason reason = protocol::finish_reason::none;
};

[[nodiscard]] expected_stream
expected_of(const protocol::request& request, std::int32_t max_model_len, std::int32_t vocabulary);

class model_worker {
public:
  /// `tie_every`: one in so many samples is a near-tie, whose token depends on who else is in the step, as on a device; 0: none.
  explicit model_worker(const protocol::plan_limits& limits, std::uint64_t tie_every = 0);

  /// Takes a plan in, as a worker does: diffs first, then the computation.
  void submit(const protocol::step_plan& plan);

  /// Ends the oldest submitted step and says what it sampled.
  void retire(protocol::step_result& out);

  [[nodiscard]] std::size_t in_flight() const { return steps_.size(); }

  /// Whether a slot of this epoch belongs to the request.
  [[nodiscard]] bool knows(std::uint64_t request) const;

  /// The group is rebuilt: steps in flight are gone, with their writes done up to a point that
  /// `seed` chooses; tables are empty.
  void start_epoch(std::uint64_t seed);

  /// Every block holds rubbish.
  void lose_kv();

  /// A write of a step in flight that a device may still do when its worker is dead.
  struct late_write {
    std::uint64_t request = 0;
    std::int32_t block = 0;
    std::int32_t offset = 0; // within the block, in positions
    std::int32_t position = 0;
    std::uint64_t value = 0;
  };

  /// All of the steps in flight.
  [[nodiscard]] std::vector<late_write> late_writes() const;

  /// It happens now. Throws when the block belongs to others, who have or will have something else there (K-5).
  void land(const late_write& late);

  /// Blocks that were copied to and from the store so far.
  [[nodiscard]] std::uint64_t saves() const { return saves_; }

  [[nodiscard]] std::uint64_t loads() const { return loads_; }

private:
  struct table_row {
    std::uint64_t request = 0;
    std::vector<token_id> tokens; // known: computed ones and those of the steps in flight
    std::vector<std::int32_t> blocks;
    protocol::sampling_record sampling;
    std::vector<std::int32_t> bias_ids;
    std::vector<std::int32_t> suppressed;
    std::int32_t written = 0;    // positions below have KV, or will have by steps in flight
    std::int32_t steps = 0;      // in flight
    std::optional<token_id> fed; // what its last step sampled, if that may be fed
  };

  struct planned {
    std::uint32_t slot = 0;
    std::int32_t first = 0;
    std::int32_t count = 0;
    std::optional<token_id> sampled;
    table_row seen; // as it was when submitted
  };

  struct pending_step {
    std::uint64_t step = 0;
    std::uint32_t epoch = 0;
    std::vector<planned> sequences;
    std::vector<protocol::block_copy> saves;
    std::vector<std::uint64_t> saved; // [saves, block_size], as it was when submitted
  };

  /// On its way to the store.
  struct late_save {
    std::uint64_t step = 0;
    std::int32_t slot = 0;
    std::vector<std::uint64_t> data;
  };

  struct cursor {
    std::size_t block = 0;
    std::size_t token = 0;
    std::size_t record = 0;
    std::size_t bias = 0;
    std::size_t suppressed = 0;
  };

  void take_in(const protocol::step_plan& plan, std::size_t i, cursor& at, planned& out);
  void
  take_tokens(const protocol::step_plan& plan, std::size_t i, cursor& at, table_row& row) const;
  void sample_next(std::uint8_t flags,
                   table_row& row,
                   planned& out,
                   const protocol::step_plan& plan) const;
  void take_sampling(const protocol::step_plan& plan, cursor& at, table_row& row) const;
  void check_writes_are_private(const pending_step& step) const;
  void check_landing(const late_write& late, const table_row& row) const;
  void check_context(const planned& work, std::int32_t end) const;
  void write(const planned& work, std::int32_t count);
  void load(const protocol::step_plan& plan);
  void read_saves(const protocol::step_plan& plan, pending_step& step);
  void retire_saves(const pending_step& step);
  [[nodiscard]] std::vector<std::uint64_t> block_at(std::int32_t block) const;
  [[nodiscard]] std::uint64_t& kv_at(const table_row& row, std::int32_t position);
  [[nodiscard]] std::uint64_t kv_at(const table_row& row, std::int32_t position) const;

  protocol::plan_limits limits_;
  std::uint64_t tie_every_ = 0;
  std::vector<std::uint64_t> kv_;    // [blocks, block_size]
  std::vector<std::uint64_t> store_; // [store_slots, block_size]
  std::deque<late_save> late_;
  std::uint64_t saved_step_ = 0;
  std::uint64_t saves_ = 0;
  std::uint64_t loads_ = 0;
  std::map<std::uint32_t, table_row> table_;
  std::deque<pending_step> steps_;
  std::optional<std::uint64_t> last_step_;
};

} // namespace vdist::testing
