#include "actors/worker/worker_order.hpp"

#include "model/arch/registry.hpp"

#include <functional>
#include <string_view>
#include <utility>

namespace vdist::actors {

using protocol::worker_device;
using protocol::worker_order;

namespace {

topology::shard place_of(const worker_order& order) {
  return {.tensor_rank = order.tensor_rank,
          .tensor_size = order.tensor_size,
          .stage = order.stage(),
          .stages = order.stages,
          .layers = {order.first_layer, order.last_layer}};
}

exec::runner_limits limits_of(const worker_order& order) {
  return {.max_batch_tokens = order.max_batch_tokens,
          .max_sequences = order.max_sequences,
          .max_positions = order.max_positions,
          .blocks = order.blocks,
          .block_size = order.block_size,
          .logit_rows = order.device == worker_device::cuda ? exec::device_logit_rows_max
                                                            : exec::logit_rows_max,
          .small_step_tokens =
              order.device == worker_device::cuda ? exec::device_small_step_tokens : 0};
}

} // namespace

result<rank_runner_config> runner_config_of(const worker_order& order) {
  const auto place = place_of(order);
  const rank_id rank(order.rank());
  rank_runner_config config{.rank = rank,
                            .tensor_size = order.tensor_size,
                            .place = place,
                            .threads = order.threads,
                            .collective_deadline =
                                std::chrono::milliseconds(order.collective_deadline_ms)};
  if (order.device == worker_device::sim) {
    config.device = exec::sim_runner_config{
        .place = place,
        .rank = rank,
        .vocabulary = order.vocabulary,
        .limits = limits_of(order),
        .step_time = std::chrono::duration<double, std::micro>(order.step_us),
        .token_time = std::chrono::duration<double, std::micro>(order.token_us)};
    return config;
  }
  if (order.device == worker_device::cuda) {
    config.cuda = cuda_choice{.device = order.device_index,
                              .use_graphs = order.device_graphs,
                              .meets_peers = !order.peer_devices.empty()};
  }
  VDIST_ASSIGN(auto model,
               weights::read_model_config(order.model_folder, arch::supported_architectures()));
  config.device = exec::model_runner_config{
      .model = std::move(model),
      .source = {.folder = order.model_folder,
                 .weights = order.has_random_weights ? weights::weight_origin::random
                                                     : weights::weight_origin::checkpoint,
                 .name = order.model_name},
      .type = static_cast<kernels::dtype>(order.weight_type),
      .place = place,
      .rank = rank,
      .limits = limits_of(order),
      .load_threads = order.threads,
      .random_seed = order.random_seed,
      .device_deadline = std::chrono::milliseconds(order.step_deadline_ms)};
  if (order.store_slots > 0) {
    std::get<exec::model_runner_config>(config.device).store =
        exec::store_slots{.stride = order.store_stride, .saves_max = order.store_saves};
    config.store_first = order.store_first;
    config.store_bytes = static_cast<std::size_t>(order.store_slots) * order.store_stride;
  }
  return config;
}

wiring_config wiring_of(const worker_order& order) {
  return {.cluster = order.cluster,
          .replica = order.replica,
          .first_rank = order.first_rank,
          .stage_of_slot = order.stage_of_slot};
}

protocol::plan_limits plan_limits_of(const worker_order& order) {
  return {.slots = static_cast<std::uint32_t>(order.max_sequences),
          .blocks = order.blocks,
          .vocabulary = order.vocabulary,
          .max_positions = order.max_positions,
          .block_size = order.block_size,
          .store_slots = order.store_slots,
          .saves_max = order.store_saves};
}

worker_identity identity_of(const worker_order& order) {
  return {.cluster = order.cluster,
          .replica = order.replica,
          .rank = rank_id(order.rank()),
          .worker = incarnation(order.incarnation),
          .slot = order.slot};
}

std::uint64_t hash_of(const worker_order& order) {
  std::vector<std::byte> bytes;
  protocol::encode(order, bytes);
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::uint64_t spare_hash_of(worker_order order) {
  order.incarnation = 0;
  const auto hash = hash_of(order);
  return hash == 0 ? 1 : hash;
}

step_watch_settings watch_settings_of(const worker_order& order) {
  return {.detect = std::chrono::milliseconds(order.detect_ms),
          .step_deadline = std::chrono::milliseconds(order.step_deadline_ms),
          .load_stall = std::chrono::milliseconds(order.load_stall_ms),
          .computes_here = order.device == worker_device::cpu,
          .is_gpu = order.device == worker_device::cuda};
}

frame::wait_settings waits_of(const worker_order& order) {
  return {.spin_budget = std::chrono::microseconds(order.spin_us),
          .slice_max = std::chrono::milliseconds(order.sleep_slice_ms)};
}

} // namespace vdist::actors
