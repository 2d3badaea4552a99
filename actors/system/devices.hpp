// actors/system/devices.hpp — which devices a cluster computes on, and how much of their memory a worker may use. Decided
// before anything is loaded, from the configuration and what this host has.
#pragma once

#include "actors/system/model_setup.hpp"

namespace vdist::actors {

/// Never automatic: GPUs where there are any. Errors: not_found (no GPU, driver or library), unsupported (a numerics.mode
/// that the device lacks).
[[nodiscard]] result<config::device_kind> resolve_device(const config::cluster_config& config);

/// The GPU of one rank; with device.shared the ranks go round those that this host has.
[[nodiscard]] std::int32_t device_of(const model_setup& setup, rank_id rank);

/// Bytes that one worker may use for weights, activations and KV cache: the same for all, what the tightest device leaves.
/// `setup` has its layout. Errors: not_found (a device), bad_configuration (GPUs of different kinds).
[[nodiscard]] result<std::size_t> budget_of_worker(const model_setup& setup);

} // namespace vdist::actors
