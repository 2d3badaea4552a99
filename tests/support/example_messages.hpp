// tests/support/example_messages.hpp — messages between the processes of a host, with every field unlike its default: for
// tests of what goes over the wire.
#pragma once

#include "runtime/protocol/host.hpp"
#include "runtime/protocol/worker.hpp"

#include <cstddef>
#include <vector>

namespace vdist::testing {

inline protocol::worker_order example_order() {
  return {.cluster = 0xfedcba9876543210,
          .replica = 1,
          .first_rank = 4,
          .slot = 3,
          .incarnation = 7,
          .stage_of_slot = {0, 0, 1, 1},
          .tensor_rank = 1,
          .tensor_size = 2,
          .stages = 2,
          .first_layer = 4,
          .last_layer = 8,
          .max_batch_tokens = 8192,
          .max_sequences = 256,
          .max_positions = 131072,
          .blocks = 1000,
          .block_size = 16,
          .vocabulary = 128256,
          .device = protocol::worker_device::sim,
          .threads = 2,
          .collective_deadline_ms = 5000,
          .spin_us = 200,
          .sleep_slice_ms = 500,
          .log_level = "info",
          .model_folder = "/models/é",
          .model_name = "é",
          .has_random_weights = true,
          .random_seed = 9,
          .weight_type = 1,
          .step_us = 1.5,
          .token_us = 0.25,
          .device_index = 5,
          .device_graphs = false,
          .step_deadline_ms = 1234,
          .peer_devices = {6, 7, 4, 5},
          .detect_ms = 77,
          .load_stall_ms = 88,
          .store_slots = 3,
          .store_saves = 2,
          .store_first = 1ULL << 33U,
          .store_stride = 1ULL << 21U};
}

/// `order_bytes`: the encoded order of spawn_worker.
inline std::vector<protocol::host_message> example_messages(std::size_t order_bytes = 300) {
  using namespace protocol;
  using bytes = std::vector<std::byte>;
  const process_key key{.rank = 3, .incarnation = 2};
  return {
      host_welcome{.supervisor_pid = 10, .vault_pid = 11, .ledger_bytes = 1ULL << 40U},
      host_welcome{.node_starts = 3,
                   .life = 1,
                   .living = {{key, 77, ~std::uint64_t{0}}, {{.rank = 0}, 78, 5}},
                   .last = {{0, 1}, {3, 2}},
                   .store_bytes = 1ULL << 36U},
      spawn_worker{key, bytes(order_bytes, std::byte{0xc1}), 12345, 678},
      process_dying{key},
      signal_process{{.role = process_role::control}, 19},
      host_settings{.detect_ms = 17, .standby = 2, .control_stall_ms = 23, .prepares_spares = true},
      prepare_spare{3, bytes(order_bytes, std::byte{0xc1}), 678},
      spare_ready{.rank = 3, .pid = 79, .at_ns = 1LL << 40U},
      output{.record = 2, .offset = 1ULL << 33U, .bytes = bytes(5), .is_stream = true},
      kill_process{{.role = process_role::vault}},
      process_started{key, 77},
      process_ended{key, 77, 9, 0, "killed by signal 9 (Killed)"}};
}

} // namespace vdist::testing
