#include "actors/system/devices.hpp"

#include "actors/system/machine.hpp"

#include "kernels/cuda_module.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <optional>
#include <string>

namespace vdist::actors {

namespace {

using config::device_kind;

/// auto: GPUs where there are any.
result<device_kind> find_device(device_kind wanted) {
  if (wanted == device_kind::cpu || wanted == device_kind::sim) {
    return wanted;
  }
  std::string why;
  if (kernels::load_cuda_module(why) != nullptr) {
    return device_kind::cuda;
  }
  if (wanted == device_kind::automatic) {
    return device_kind::cpu;
  }
  return fail(errc::not_found,
              fmt::format("device.kind \"cuda\": {} (legal here: auto, cpu, sim)", why));
}

/// Bits that do not depend on the batch are the CPU's promise alone.
result<void> check_numerics(device_kind device, const config::cluster_config& config) {
  if (device == device_kind::cuda && config.numerics.mode == config::numerics_mode::invariant) {
    return fail(errc::unsupported,
                "numerics.mode: \"invariant\" is not available on \"cuda\" (legal: \"fast\", or "
                "device.kind = \"cpu\")");
  }
  return {};
}

/// Devices must be there, be of one kind within the cluster, and have the memory: the least that any of them leaves to one
/// of its workers.
result<std::size_t> budget_on_devices(const model_setup& setup) {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    return fail(errc::not_found, "cuda: " + why);
  }
  std::map<std::int32_t, std::size_t> workers; // by device
  for (std::int32_t rank = 0; rank < setup.layout->world(); ++rank) {
    ++workers[device_of(setup, rank_id(rank))];
  }
  std::optional<kernels::device_facts> first;
  auto least = std::numeric_limits<std::size_t>::max();
  for (const auto& [device, count] : workers) {
    const auto facts = module->facts_of(device, why);
    if (!why.empty()) {
      return fail(errc::not_found, "cuda: " + why);
    }
    if (first && (first->name != facts.name || first->major != facts.major)) {
      return fail(
          errc::bad_configuration,
          fmt::format("device {}: {} beside {}; the workers of a cluster need GPUs of one kind "
                      "(node.devices)",
                      device,
                      facts.name,
                      first->name));
    }
    first = facts;
    const auto usable =
        static_cast<double>(facts.total_bytes) * setup.config.device.memory_utilization;
    const auto used = facts.total_bytes - facts.free_bytes;
    const auto left = std::max(0.0, usable - static_cast<double>(used));
    least = std::min(least, static_cast<std::size_t>(left) / count);
  }
  return least - std::min(least, device_reserve_bytes);
}

} // namespace

result<device_kind> resolve_device(const config::cluster_config& config) {
  VDIST_ASSIGN(const auto device, find_device(config.device.kind));
  VDIST_TRY(check_numerics(device, config));
  return device;
}

std::int32_t device_of(const model_setup& setup, rank_id rank) {
  const auto device = setup.layout->place_of(rank).device;
  std::string why;
  const auto* module = setup.config.device.shared ? kernels::load_cuda_module(why) : nullptr;
  return module == nullptr ? device : device % module->device_count();
}

result<std::size_t> budget_of_worker(const model_setup& setup) {
  if (setup.device == device_kind::cuda) {
    return budget_on_devices(setup);
  }
  const auto usable =
      static_cast<double>(available_memory()) * setup.config.device.memory_utilization;
  return static_cast<std::size_t>(usable) / static_cast<std::size_t>(setup.layout->world());
}

} // namespace vdist::actors
