// model/exec/step_inputs.hpp — the arrays of one step where the device reads them. On the CPU they are the slot table's own;
// for a device they are packed into one block of staging memory and copied at once, to addresses that depend on the
// step's shape alone, so that recorded work finds them again. Block tables stay on the device and get what is new.
//
// I-1 A shape may have more sequences than the step: the rest is padding (kernels/attention/attention.hpp), one token
//     each, that reads and writes nothing of anybody.
// I-2 Staging memory of flight f is written again only after flight f was finished.
// Not thread-safe: one worker owns it.
#pragma once

#include "model/exec/device_memory.hpp"
#include "model/exec/host_wait.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/exec/slot_table.hpp"

#include "kernels/backend.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vdist::exec {

/// Sizes of a step as the device sees it.
struct step_shape {
  std::int32_t tokens = 0;
  std::int32_t sequences = 0;
  std::int32_t samples = 0; // sequences that sample
  std::int32_t longest_query = 0;
  std::int32_t max_position = 0;
  bool is_padded = false; // to a size that recorded work fits
};

/// Addresses in device memory.
struct step_arrays {
  std::int32_t* token_ids = nullptr;         // [tokens]; fed tokens are filled in by the device
  const std::int32_t* positions = nullptr;   // [tokens]
  const std::int32_t* token_slots = nullptr; // [tokens]
  kernels::sequence_batch batch{};
  const std::int32_t* last_rows = nullptr;         // [sequences]
  const std::int32_t* sampled_rows = nullptr;      // [samples]
  const kernels::sampling_row* sampling = nullptr; // [samples]; null on the CPU
};

class step_inputs {
public:
  /// Throws std::bad_alloc. `flights`: steps under way at most.
  /// `wait` outlives this.
  step_inputs(kernels::backend& ops,
              const runner_limits& limits,
              std::int32_t flights,
              host_wait& wait);

  /// Puts the arrays of the last applied plan in place for flight `flight`. `sampling` has one row per sampled sequence,
  /// or none where no device samples. Errors: those of a wait, where waits_for() says so.
  [[nodiscard]] result<step_arrays> place(slot_table& slots,
                                          const step_shape& shape,
                                          std::span<const kernels::sampling_row> sampling,
                                          std::int32_t flight);

  /// Whether place() has to wait for the device: much that is new goes there in parts. What was launched before has to be done
  /// by then.
  [[nodiscard]] static bool waits_for(const block_changes& changes);

  /// Runs what place() runs beside its copies, and changes nothing. On a device, before any sequence is there.
  [[nodiscard]] result<void> rehearse();

private:
  struct layout; // offsets of a shape

  [[nodiscard]] result<void> update_tables(const block_changes& changes, std::int32_t flight);

  kernels::backend& ops_;
  host_wait& wait_;
  std::int32_t table_stride_ = 0;
  std::size_t arrays_bytes_ = 0;       // of the largest shape
  device_memory arrays_;               // as laid out for the shape at hand
  device_memory changes_;              // rows, columns, blocks of some changes
  device_memory tables_;               // [slots, table_stride_]
  std::vector<device_memory> staging_; // by flight: arrays, then changes
};

} // namespace vdist::exec
