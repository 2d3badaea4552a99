#include "model/exec/step_inputs.hpp"

#include <algorithm>
#include <cstring>

namespace vdist::exec {

namespace {

/// Changes of block tables that are copied at once; more wait for the ones before.
constexpr std::size_t changes_at_once = std::size_t{16} << 10U;
constexpr std::size_t changes_bytes = 3 * changes_at_once * sizeof(std::int32_t);

constexpr std::size_t array_alignment = 16;

std::size_t aligned(std::size_t bytes) {
  return (bytes + array_alignment - 1) / array_alignment * array_alignment;
}

template <class T>
std::size_t bytes_of(std::int32_t count) {
  return aligned(static_cast<std::size_t>(count) * sizeof(T));
}

/// On the CPU a step is never padded, and its arrays are the slot table's own.
step_arrays in_host_memory(slot_table& slots) {
  return {.token_ids = slots.token_ids(),
          .positions = slots.positions(),
          .token_slots = slots.token_slots(),
          .batch = slots.batch(),
          .last_rows = slots.last_rows().data(),
          .sampled_rows = slots.sampled_rows().data()};
}

} // namespace

/// Byte offsets of the arrays of a shape.
struct step_inputs::layout {
  explicit layout(const step_shape& shape)
      : token_ids(take<std::int32_t>(shape.tokens)),
        positions(take<std::int32_t>(shape.tokens)),
        token_slots(take<std::int32_t>(shape.tokens)),
        query_start(take<std::int32_t>(shape.sequences + 1)),
        first_position(take<std::int32_t>(shape.sequences)),
        table_rows(take<std::int32_t>(shape.sequences)),
        last_rows(take<std::int32_t>(shape.sequences)),
        sampled_rows(take<std::int32_t>(shape.samples)),
        sampling(take<kernels::sampling_row>(shape.samples)) {}

  std::size_t bytes = 0; // first: take() raises it

  std::size_t token_ids;
  std::size_t positions;
  std::size_t token_slots;
  std::size_t query_start;
  std::size_t first_position;
  std::size_t table_rows;
  std::size_t last_rows;
  std::size_t sampled_rows;
  std::size_t sampling;

private:
  template <class T>
  std::size_t take(std::int32_t count) {
    const auto at = bytes;
    bytes += bytes_of<T>(count);
    return at;
  }
};

step_inputs::step_inputs(kernels::backend& ops,
                         const runner_limits& limits,
                         std::int32_t flights,
                         host_wait& wait)
    : ops_(ops),
      wait_(wait),
      table_stride_((limits.max_positions + limits.block_size - 1) / limits.block_size) {
  auto& queue = ops.queue();
  if (queue.is_host_memory()) {
    return;
  }
  const auto rows = std::max(limits.max_batch_tokens, limits.max_sequences);
  arrays_bytes_ = layout({.tokens = rows, .sequences = rows, .samples = rows}).bytes;
  arrays_ = device_memory(queue, arrays_bytes_);
  changes_ = device_memory(queue, changes_bytes);
  const auto entries =
      static_cast<std::size_t>(limits.max_sequences) * static_cast<std::size_t>(table_stride_);
  tables_ = device_memory(queue, entries * sizeof(std::int32_t));
  queue.fill_zero(tables_.data(), entries * sizeof(std::int32_t));
  for (std::int32_t i = 0; i < flights; ++i) {
    staging_.emplace_back(queue, arrays_bytes_ + changes_bytes, memory_place::staging);
  }
}

result<step_arrays> step_inputs::place(slot_table& slots,
                                       const step_shape& shape,
                                       std::span<const kernels::sampling_row> sampling,
                                       std::int32_t flight) {
  if (ops_.queue().is_host_memory()) {
    return in_host_memory(slots);
  }
  VDIST_TRY(update_tables(slots.new_blocks(), flight));
  const layout at(shape);
  std::byte* const staged = staging_[static_cast<std::size_t>(flight)].data();
  const auto put = [staged](std::size_t offset,
                            const auto* from,
                            std::int32_t count,
                            std::int32_t padded,
                            auto fill) {
    auto* to = reinterpret_cast<decltype(fill)*>(staged + offset);
    std::copy_n(from, count, to);
    std::fill(to + count, to + padded, fill);
  };
  const auto& batch = slots.batch();
  const auto rows = static_cast<std::int32_t>(slots.sampled_rows().size());
  put(at.token_ids, slots.token_ids(), batch.tokens, shape.tokens, std::int32_t{0});
  put(at.positions, slots.positions(), batch.tokens, shape.tokens, std::int32_t{-1});
  put(at.token_slots, slots.token_slots(), batch.tokens, shape.tokens, std::int32_t{0});
  put(at.query_start, batch.query_start, batch.sequences + 1, batch.sequences + 1, std::int32_t{0});
  auto* starts = reinterpret_cast<std::int32_t*>(staged + at.query_start);
  for (auto s = batch.sequences; s < shape.sequences; ++s) { // I-1
    starts[s + 1] = starts[s] + 1;
  }
  put(at.first_position, batch.first_position, batch.sequences, shape.sequences, std::int32_t{-1});
  put(at.table_rows, batch.table_rows, batch.sequences, shape.sequences, std::int32_t{0});
  put(at.last_rows, slots.last_rows().data(), batch.sequences, shape.sequences, std::int32_t{-1});
  put(at.sampled_rows, slots.sampled_rows().data(), rows, shape.samples, std::int32_t{-1});
  put(at.sampling,
      sampling.data(),
      static_cast<std::int32_t>(sampling.size()),
      shape.samples,
      kernels::sampling_row{.slot = -1});
  ops_.queue().copy_in(arrays_.data(), staged, at.bytes);

  const auto array = [this](std::size_t offset) {
    return reinterpret_cast<std::int32_t*>(arrays_.data() + offset);
  };
  return step_arrays{.token_ids = array(at.token_ids),
                     .positions = array(at.positions),
                     .token_slots = array(at.token_slots),
                     .batch = {.query_start = array(at.query_start),
                               .first_position = array(at.first_position),
                               .table_rows = array(at.table_rows),
                               .block_tables = tables_.as<std::int32_t>(),
                               .block_table_stride = table_stride_,
                               .sequences = shape.sequences,
                               .tokens = shape.tokens,
                               .longest_query = shape.longest_query},
                     .last_rows = array(at.last_rows),
                     .sampled_rows = array(at.sampled_rows),
                     .sampling =
                         reinterpret_cast<kernels::sampling_row*>(arrays_.data() + at.sampling)};
}

/// An entry that is zero becomes zero.
bool step_inputs::waits_for(const block_changes& changes) {
  return changes.rows.size() > changes_at_once;
}

result<void> step_inputs::rehearse() {
  const block_changes nothing_new{.rows = {0}, .columns = {0}, .blocks = {0}};
  return update_tables(nothing_new, 0);
}

result<void> step_inputs::update_tables(const block_changes& changes, std::int32_t flight) {
  auto& queue = ops_.queue();
  auto* const staged = reinterpret_cast<std::int32_t*>(
      staging_[static_cast<std::size_t>(flight)].data() + arrays_bytes_);
  const auto total = changes.rows.size();
  for (std::size_t first = 0; first < total; first += changes_at_once) {
    const auto count = std::min(changes_at_once, total - first);
    if (first > 0) { // the staging memory is used again
      VDIST_TRY(wait_.for_all());
    }
    const auto from = static_cast<std::ptrdiff_t>(first);
    std::copy_n(changes.rows.begin() + from, count, staged);
    std::copy_n(changes.columns.begin() + from, count, staged + count);
    std::copy_n(changes.blocks.begin() + from, count, staged + 2 * count);
    queue.copy_in(changes_.data(), staged, 3 * count * sizeof(std::int32_t));
    const auto* placed = changes_.as<std::int32_t>();
    ops_.update_blocks({.rows = placed,
                        .columns = placed + count,
                        .blocks = placed + 2 * count,
                        .tables = tables_.as<std::int32_t>(),
                        .stride = table_stride_,
                        .count = static_cast<std::int32_t>(count)});
  }
  return {};
}

} // namespace vdist::exec
