// actors/system/devices.hpp — which devices a cluster computes on, how much of their memory a worker may use, and how its
// ranks exchange data. Decided before anything is loaded, from the configuration and what this host has.
// What is wrong with a host's GPUs is one error that names the rank, the host, the device and what helps. Every decision
// has a form that takes the host's answers as an argument, so that each of them is tested on a machine without a GPU.
// D-1 all workers of a cluster have the same budget: what the tightest device leaves.
// D-2 `peer` only where each two ranks that meet reach each other's memory, both ways; never because nobody looked.
// D-3 unless it is insisted on, no two ranks that wait for each other in kernels share a GPU: there they would take turns.
#pragma once

#include "actors/system/model_setup.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace vdist::kernels {
class cuda_module;
} // namespace vdist::kernels

namespace vdist::actors {

/// Never automatic: GPUs where there are any. Errors: not_found (no GPU, driver or library), unsupported (a numerics.mode
/// that the device lacks).
[[nodiscard]] result<config::device_kind> resolve_device(const config::cluster_config& config);

/// The GPU of one rank; with device.shared the ranks go round those that this host has.
[[nodiscard]] std::int32_t device_of(const model_setup& setup, rank_id rank);

/// What one worker may use, for weights, activations and KV cache.
struct worker_budget {
  std::size_t bytes = 0;
  std::string
      origin; // where they come from and who holds the rest, for a message about what is missing
};

/// `setup` has its layout. Error: not_found (a device that is not there, may not be used, or is of another kind than the
/// others).
[[nodiscard]] result<worker_budget> budget_on_devices(const model_setup& setup,
                                                      kernels::cuda_module& module);

/// D-1, on whatever setup.device is. Errors: as above, and not_found (no CUDA here).
[[nodiscard]] result<std::size_t> budget_of_worker(const model_setup& setup);

/// Tells a person whom a budget was too small for where it came from: the tightest rank, its host and device, what others
/// hold, and the setting that bounds it. Asks the devices again: for messages only.
[[nodiscard]] std::string origin_of_budget(const model_setup& setup);

/// How ranks that meet (those of a tensor group, neighbours in a pipeline) move activations and sums between GPUs.
enum class exchange_kind : std::uint8_t {
  host, // staged: through exchange regions in the host's memory
  peer, // kernels write into exchange regions in each other's device memory
};

/// "host", "peer"
[[nodiscard]] std::string_view to_string(exchange_kind kind) noexcept;

struct exchange_plane {
  exchange_kind kind = exchange_kind::host;
  std::string reason; // why, for one log line; never empty
};

/// What decides. The functions are called while decide_exchange() runs, on its thread.
struct exchange_inputs {
  const topology::cluster_layout& layout;
  std::function<std::int32_t(rank_id rank)> device_of;
  /// Whether kernels of `device` reach the memory of `peer`, on this host; false sets `why`. Asked for different devices.
  std::function<bool(std::int32_t device, std::int32_t peer, std::string& why)> can_access;
  config::exchange_choice choice = config::exchange_choice::automatic;
};

/// automatic: peer where it is possible (D-2, D-3), else host. peer: that, on a shared GPU too, or not_found; the message
/// names both ranks and devices and what to check. host: that. Where no two ranks meet, host, whatever is chosen. One plane
/// for the whole cluster: tensor groups and pipes of all replicas. Cost: two questions per pair that meets.
[[nodiscard]] result<exchange_plane> decide_exchange(const exchange_inputs& inputs);

/// The plane of this cluster on this host; host on devices that are not GPUs. `setup` has its layout. Error: not_found (no
/// CUDA here, or no peer access).
[[nodiscard]] result<exchange_plane> exchange_of(const model_setup& setup);

} // namespace vdist::actors
