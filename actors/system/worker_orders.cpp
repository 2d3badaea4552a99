#include "actors/system/worker_orders.hpp"

#include "actors/system/devices.hpp"
#include "actors/system/machine.hpp"

namespace vdist::actors {

protocol::worker_order order_of(const model_setup& setup,
                                std::uint64_t cluster,
                                std::int32_t replica,
                                std::int32_t slot,
                                const frame::wait_settings& waits) {
  const auto& config = setup.config;
  const auto& layout = *setup.layout;
  const auto ranks = layout.ranks_of_replica(replica);
  const auto place = layout.shard_of(ranks.at(static_cast<std::size_t>(slot)));
  protocol::worker_order order{
      .cluster = cluster,
      .replica = replica,
      .first_rank = ranks.front().value,
      .slot = slot,
      .tensor_rank = place.tensor_rank,
      .tensor_size = place.tensor_size,
      .stages = place.stages,
      .first_layer = place.layers.first,
      .last_layer = place.layers.last,
      .max_batch_tokens = setup.limits.max_batch_tokens,
      .max_sequences = setup.limits.max_sequences,
      .max_positions = setup.limits.max_positions,
      .blocks = setup.limits.blocks,
      .block_size = setup.limits.block_size,
      .vocabulary = setup.vocabulary,
      .threads = config::threads_per_worker(config.device, available_cores(), layout.world()),
      .collective_deadline_ms = config.fault_tolerance.collective_deadline_ms,
      .spin_us = static_cast<std::int32_t>(waits.spin_budget.count()),
      .sleep_slice_ms = static_cast<std::int32_t>(waits.slice_max.count()),
      .log_level = std::string(config::to_string(config.log.level)),
      .model_folder = setup.folder.folder.string(),
      .model_name = setup.folder.name,
      .has_random_weights = setup.folder.weights == weights::weight_origin::random,
      .random_seed = static_cast<std::uint64_t>(config.model.seed),
      .weight_type = static_cast<std::uint8_t>(setup.type),
      .step_deadline_ms = config.fault_tolerance.step_deadline_ms,
      .detect_ms = config.fault_tolerance.detect_ms,
      .load_stall_ms = config.fault_tolerance.load_stall_ms};
  if (setup.host_store) {
    const auto& store = *setup.host_store;
    order.store_slots = store.layout.slots;
    order.store_saves = store.saves_max;
    order.store_first = store.before(replica) + store.layout.first_slot;
    order.store_stride = store.layout.slot_stride;
  }
  if (setup.device == config::device_kind::cuda) {
    order.device = protocol::worker_device::cuda;
    order.device_index = device_of(setup, ranks.at(static_cast<std::size_t>(slot)));
    order.device_graphs = config.device.graphs;
    for (std::size_t i = 0; setup.peer_exchange && i < ranks.size(); ++i) {
      order.peer_devices.push_back(device_of(setup, ranks[i]));
    }
  }
  if (setup.device == config::device_kind::sim) {
    order.device = protocol::worker_device::sim;
    order.step_us = config.device.sim.step_us;
    order.token_us = config.device.sim.token_us;
  }
  for (const auto rank : ranks) {
    order.stage_of_slot.push_back(layout.at(rank).pipeline);
  }
  return order;
}

} // namespace vdist::actors
