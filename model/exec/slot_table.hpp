// model/exec/slot_table.hpp — what a worker remembers of the running sequences, and the arrays of
// one step made from it. A plan holds differences (runtime/protocol/step.hpp P-3, P-4); apply()
// adds them up. Not thread-safe: one worker owns it.
// X-1 A sequence that is not new continues exactly where its last step ended; a gap or an unknown
//     slot is refused.
// X-2 After apply() the blocks of every sequence of the step cover all its positions.
// X-3 Nothing is allocated after construction, but for bias lists longer than any before in their
//     slot.
// X-4 A fed token serves the slot's next plan and no later one; a plan that asks for a token that
//     was not fed is refused (P-8).
// X-5 A token that only the device knows yet (feed_on_device) is `fed_token` in token_ids() and in the
//     view until resolve() says which one it was.
// Memory: slots * blocks per sequence * 4 bytes, and with tokens kept slots * max_positions * 4;
// both are touched only where sequences reach.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"

#include "kernels/attention/attention.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace vdist::exec {

/// Whether the rank samples and so needs each sequence's tokens; other ranks need only those of the
/// step.
enum class token_memory : std::uint8_t { keep, forget };

struct slot_table_config {
  std::uint32_t slots = 0;           // running sequences at most
  std::int32_t max_positions = 0;    // tokens of one sequence at most
  std::int32_t block_size = 0;       // tokens per KV block
  std::int32_t max_batch_tokens = 0; // of one step
  token_memory tokens = token_memory::keep;
};

/// Blocks that a plan added: table[rows[i]][columns[i]] = blocks[i].
struct block_changes {
  std::vector<std::int32_t> rows; // slots
  std::vector<std::int32_t> columns;
  std::vector<std::int32_t> blocks;
};

/// One running sequence. Spans are borrowed until the next apply() or clear().
struct slot_view {
  std::uint64_t request_id;
  const protocol::sampling_record& record;
  std::int32_t length;              // known tokens
  std::span<const token_id> tokens; // these; empty with token_memory::forget
  std::span<const token_id> bias_ids;
  std::span<const float> bias_values;
  std::span<const token_id> suppressed_ids;
};

class slot_table {
public:
  explicit slot_table(const slot_table_config& config);

  /// Forgets every sequence (start of an epoch).
  void clear();

  /// Takes the differences of a validated plan and builds the step's arrays. After an error call
  /// clear().
  [[nodiscard]] result<void> apply(const protocol::step_plan& plan);

  // The arrays of the last applied plan.
  [[nodiscard]] const kernels::sequence_batch& batch() const { return batch_; }

  [[nodiscard]] const std::int32_t* token_ids() const { return token_ids_.data(); }

  [[nodiscard]] std::int32_t* token_ids() { return token_ids_.data(); }

  [[nodiscard]] const std::int32_t* positions() const { return positions_.data(); }

  [[nodiscard]] std::int32_t max_position() const { return max_position_; } // largest position + 1

  /// Row of each sequence's last token, in plan order.
  [[nodiscard]] std::span<const std::int32_t> last_rows() const { return last_rows_; }

  /// Places in the plan of the sequences that sample, rising, and the rows of their last tokens.
  [[nodiscard]] std::span<const std::int32_t> sampled() const { return sampled_; }

  [[nodiscard]] std::span<const std::int32_t> sampled_rows() const { return sampled_rows_; }

  /// Slot of every token, and where the last plan's new blocks belong: for a device that keeps
  /// tokens and block tables of its own.
  [[nodiscard]] const std::int32_t* token_slots() const { return token_slots_.data(); }

  [[nodiscard]] const block_changes& new_blocks() const { return new_blocks_; }

  [[nodiscard]] slot_view view(std::uint32_t slot) const;

  /// The token that the last applied plan sampled for the slot; the slot's next plan may ask for
  /// it.
  void feed(std::uint32_t slot, token_id token) { slots_[slot].fed = token; }

  /// The same, while the token lies on the device and the host does not know it.
  void feed_on_device(std::uint32_t slot) { slots_[slot].fed = token_on_device; }

  /// What feed_on_device() stood for: the token of this request at this position. Does nothing if
  /// the slot has another request by now.
  void resolve(std::uint32_t slot, std::uint64_t request_id, std::int32_t position, token_id token);

private:
  static constexpr token_id token_on_device = -2; // in sequence::fed

  struct sequence {
    bool is_active = false;
    std::uint64_t stamp = 0; // the last apply() that named it
    std::uint64_t request_id = 0;
    std::int32_t length = 0;            // known tokens
    token_id fed = protocol::fed_token; // the next one, if it was fed: X-4
    std::int32_t blocks = 0;
    protocol::sampling_record record;
    std::vector<token_id> bias_ids;
    std::vector<float> bias_values;
    std::vector<token_id> suppressed_ids;
  };

  struct cursor; // how much of the plan's flattened columns has been taken

  result<void> take_sequence(const protocol::step_plan& plan, std::size_t index, cursor& at);
  void
  start_sequence(const protocol::step_plan& plan, std::size_t index, sequence& into, cursor& at);
  result<void>
  take_blocks(const protocol::step_plan& plan, std::size_t index, sequence& into, cursor& at);
  result<void>
  take_tokens(const protocol::step_plan& plan, std::size_t index, sequence& into, cursor& at);
  void add_to_batch(const protocol::step_plan& plan, std::size_t index, const token_id* tokens);

  slot_table_config config_;
  std::int32_t blocks_per_sequence_;
  std::vector<sequence> slots_;
  std::unique_ptr<std::int32_t[]>
      slot_blocks_; // [slots, blocks_per_sequence_], uninitialised beyond each length
  std::unique_ptr<token_id[]> slot_tokens_; // [slots, max_positions] or null, likewise
  std::uint64_t stamp_ = 0;

  kernels::sequence_batch batch_{};
  std::vector<std::int32_t> token_ids_;
  std::vector<std::int32_t> positions_;
  std::vector<std::int32_t> query_start_;
  std::vector<std::int32_t> first_positions_;
  std::vector<std::int32_t> table_rows_;
  std::vector<std::int32_t> token_slots_;
  block_changes new_blocks_;
  std::vector<std::int32_t> last_rows_;
  std::vector<std::int32_t> sampled_;
  std::vector<std::int32_t> sampled_rows_;
  std::int32_t max_position_ = 0;
};

} // namespace vdist::exec
