#include "actors/system/devices.hpp"

#include "actors/system/machine.hpp"

#include "kernels/collective/exchange_layout.hpp"
#include "kernels/cuda_module.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace vdist::actors {

namespace {

using config::device_kind;

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this host";
}

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
  return fail(
      errc::not_found,
      fmt::format("device.kind \"cuda\" on {}: {} (legal here: auto, cpu, sim)", host_name(), why));
}

/// Beside what is counted, of each worker with its spare.
std::size_t reserve_of(const model_setup& setup) {
  return device_reserve_bytes * (prepares_spares(setup) ? 2 : 1);
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

/// Of a rank, for messages: all run on this host.
std::string naming(rank_id rank) {
  return fmt::format("cuda: rank {} on {}", rank.value, host_name());
}

std::string in_mib(std::size_t bytes) {
  return fmt::format("{} MiB", bytes >> 20U);
}

result<kernels::cuda_module*> find_module() {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    return fail(errc::not_found, fmt::format("cuda on {}: {}", host_name(), why));
  }
  return module;
}

std::int32_t device_among(const model_setup& setup, rank_id rank, std::int32_t device_count) {
  const auto device = setup.layout->place_of(rank).device;
  return setup.config.device.shared ? device % device_count : device;
}

/// One device and the ranks that compute on it.
struct used_device {
  rank_id first_rank;
  std::int32_t ranks = 0;
  kernels::device_facts facts;
};

/// By device number. All are there, answer, and are of one kind.
result<std::map<std::int32_t, used_device>> used_devices(const model_setup& setup,
                                                         kernels::cuda_module& module) {
  const auto count = module.device_count();
  std::map<std::int32_t, used_device> used;
  for (std::int32_t r = 0; r < setup.layout->world(); ++r) {
    const auto device = device_among(setup, rank_id(r), count);
    if (device < 0 || device >= count) {
      return fail(errc::not_found,
                  fmt::format("{}: no device {}, this host has {} (legal: 0 to {}); name those to "
                              "use in node.devices, lower parallel.tensor, pipeline or data, or "
                              "let workers take turns with device.shared = true",
                              naming(rank_id(r)),
                              device,
                              count,
                              count - 1));
    }
    auto& mine = used.try_emplace(device, used_device{.first_rank = rank_id(r)}).first->second;
    ++mine.ranks;
  }
  for (auto& [device, mine] : used) {
    std::string why;
    mine.facts = module.facts_of(device, why);
    if (!why.empty()) {
      return fail(errc::not_found, fmt::format("{}: {}", naming(mine.first_rank), why));
    }
    const auto& [first_device, first] = *used.begin();
    if (first.facts.name != mine.facts.name || first.facts.major != mine.facts.major) {
      return fail(errc::not_found,
                  fmt::format("{}: device {} is {}, device {} of rank {} is {}; the workers of a "
                              "cluster need GPUs of one kind: name such in node.devices",
                              naming(mine.first_rank),
                              device,
                              mine.facts.name,
                              first_device,
                              first.first_rank.value,
                              first.facts.name));
    }
  }
  return used;
}

/// "60312 MiB of them are in use, 60000 MiB by 2 other processes"
std::string use_text(const kernels::device_facts& facts) {
  auto text = in_mib(facts.total_bytes - facts.free_bytes) + " of them are in use";
  if (facts.processes > 0) {
    text += fmt::format(", {} by {} other {}",
                        in_mib(facts.process_bytes),
                        facts.processes,
                        facts.processes == 1 ? "process" : "processes");
  }
  return text;
}

std::string
origin_text(const model_setup& setup, std::int32_t device, const used_device& tightest) {
  return fmt::format("{}: device {} ({}) has {}, {}; {:.0f} % may be used "
                     "(device.memory_utilization), less {} for the context{}{}",
                     naming(tightest.first_rank),
                     device,
                     tightest.facts.name,
                     in_mib(tightest.facts.total_bytes),
                     use_text(tightest.facts),
                     setup.config.device.memory_utilization * 100,
                     in_mib(reserve_of(setup)),
                     prepares_spares(setup) ? " and a spare" : "",
                     tightest.ranks == 1 ? ""
                                         : fmt::format(" of each of {} workers", tightest.ranks));
}

using rank_pair = std::pair<rank_id, rank_id>;

/// All pairs of a tensor group, and neighbours of a pipeline, which have the same tensor rank.
std::vector<rank_pair> pairs_that_meet(const topology::cluster_layout& layout) {
  std::vector<rank_pair> pairs;
  for (const auto& group : layout.groups(topology::group_kind::tensor)) {
    for (std::size_t i = 0; i < group.ranks.size(); ++i) {
      for (std::size_t k = i + 1; k < group.ranks.size(); ++k) {
        pairs.emplace_back(group.ranks[i], group.ranks[k]);
      }
    }
  }
  for (const auto& group : layout.groups(topology::group_kind::pipeline)) {
    for (std::size_t i = 1; i < group.ranks.size(); ++i) {
      pairs.emplace_back(group.ranks[i - 1], group.ranks[i]);
    }
  }
  return pairs;
}

/// Two ranks of one GPU, in the order of ranks.
std::optional<rank_pair> find_shared(const exchange_inputs& inputs) {
  std::map<std::pair<std::int32_t, std::int32_t>, rank_id> taken; // by node and device
  for (std::int32_t r = 0; r < inputs.layout.world(); ++r) {
    const rank_id rank(r);
    const auto [place, is_first] =
        taken.try_emplace({inputs.layout.place_of(rank).node, inputs.device_of(rank)}, rank);
    if (!is_first) {
      return rank_pair{place->second, rank};
    }
  }
  return std::nullopt;
}

/// Why kernels cannot exchange directly, and what helps.
struct obstacle {
  std::string text;
  std::string remedy;
};

/// Why a pair does not reach each other; empty if it does.
std::string gap_between(const exchange_inputs& inputs, const rank_pair& pair) {
  const auto& [first, second] = pair;
  if (inputs.layout.place_of(first).node != inputs.layout.place_of(second).node) {
    return "they are on different hosts";
  }
  const auto device = inputs.device_of(first);
  const auto peer = inputs.device_of(second);
  std::string why;
  if (device == peer
      || (inputs.can_access(device, peer, why) && inputs.can_access(peer, device, why))) {
    return "";
  }
  return why.empty() ? "no direct path" : why;
}

std::optional<obstacle> find_obstacle(const exchange_inputs& inputs,
                                      const std::vector<rank_pair>& pairs) {
  const auto tensor = inputs.layout.sizes().tensor;
  if (tensor > kernels::group_ranks_max || !std::has_single_bit(static_cast<unsigned>(tensor))) {
    return obstacle{fmt::format("groups of parallel.tensor={} cannot exchange directly", tensor),
                    "choose parallel.tensor 1, 2, 4 or 8"};
  }
  for (const auto& pair : pairs) {
    const auto gap = gap_between(inputs, pair);
    if (!gap.empty()) {
      return obstacle{
          fmt::format("rank {} (device {}) and rank {} (device {}) do not reach each other: {}",
                      pair.first.value,
                      inputs.device_of(pair.first),
                      pair.second.value,
                      inputs.device_of(pair.second),
                      gap),
          "check that both GPUs are of one host and one driver, what nvidia-smi topo -p2p w says, "
          "and that IOMMU and PCIe ACS are off"};
    }
  }
  return std::nullopt;
}

} // namespace

result<device_kind> resolve_device(const config::cluster_config& config) {
  VDIST_ASSIGN(const auto device, find_device(config.device.kind));
  VDIST_TRY(check_numerics(device, config));
  return device;
}

std::int32_t device_of(const model_setup& setup, rank_id rank) {
  std::string why;
  const auto* module = setup.config.device.shared ? kernels::load_cuda_module(why) : nullptr;
  return module == nullptr ? setup.layout->place_of(rank).device
                           : device_among(setup, rank, module->device_count());
}

result<worker_budget> budget_on_devices(const model_setup& setup, kernels::cuda_module& module) {
  VDIST_ASSIGN(const auto used, used_devices(setup, module));
  worker_budget budget{.bytes = std::numeric_limits<std::size_t>::max()};
  for (const auto& [device, mine] : used) {
    const auto usable =
        static_cast<double>(mine.facts.total_bytes) * setup.config.device.memory_utilization;
    const auto taken = mine.facts.total_bytes - mine.facts.free_bytes;
    const auto left = static_cast<std::size_t>(std::max(0.0, usable - static_cast<double>(taken)))
                      / static_cast<std::size_t>(mine.ranks);
    const auto bytes = left - std::min(left, reserve_of(setup));
    if (bytes < budget.bytes) {
      budget = {.bytes = bytes, .origin = origin_text(setup, device, mine)};
    }
  }
  return budget;
}

result<std::size_t> budget_of_worker(const model_setup& setup) {
  if (setup.device == device_kind::cuda) {
    VDIST_ASSIGN(auto* const module, find_module());
    VDIST_ASSIGN(const auto budget, budget_on_devices(setup, *module));
    return budget.bytes;
  }
  const auto usable =
      static_cast<double>(available_memory()) * setup.config.device.memory_utilization;
  return static_cast<std::size_t>(usable) / static_cast<std::size_t>(setup.layout->world());
}

std::string origin_of_budget(const model_setup& setup) {
  if (setup.device != device_kind::cuda) {
    return fmt::format("{} has {} free, {:.0f} % may be used (device.memory_utilization) by {} "
                       "{}",
                       host_name(),
                       in_mib(available_memory()),
                       setup.config.device.memory_utilization * 100,
                       setup.layout->world(),
                       setup.layout->world() == 1 ? "worker" : "workers");
  }
  const auto module = find_module();
  if (!module) {
    return module.error().context;
  }
  const auto budget = budget_on_devices(setup, **module);
  return budget ? budget->origin : budget.error().context;
}

std::string_view to_string(exchange_kind kind) noexcept {
  return kind == exchange_kind::peer ? "peer" : "host";
}

result<exchange_plane> decide_exchange(const exchange_inputs& inputs) {
  using config::exchange_choice;
  const auto pairs = pairs_that_meet(inputs.layout);
  if (pairs.empty()) {
    return exchange_plane{exchange_kind::host, "no two ranks meet"};
  }
  if (inputs.choice == exchange_choice::host) {
    return exchange_plane{exchange_kind::host, "device.exchange = \"host\""};
  }
  const bool is_wanted = inputs.choice == exchange_choice::peer;
  if (const auto shared = find_shared(inputs); shared && !is_wanted) {
    return exchange_plane{exchange_kind::host,
                          fmt::format("ranks {} and {} share device {}",
                                      shared->first.value,
                                      shared->second.value,
                                      inputs.device_of(shared->first))};
  }
  const auto found = find_obstacle(inputs, pairs);
  if (!found) {
    return exchange_plane{exchange_kind::peer, "ranks that meet reach each other's memory"};
  }
  if (is_wanted) {
    return fail(
        errc::not_found,
        fmt::format("device.exchange \"peer\" on {}: {}; {}, or set device.exchange = \"host\"",
                    host_name(),
                    found->text,
                    found->remedy));
  }
  return exchange_plane{exchange_kind::host, found->text};
}

result<exchange_plane> exchange_of(const model_setup& setup) {
  if (setup.device != device_kind::cuda) {
    return exchange_plane{exchange_kind::host, "no GPUs"};
  }
  VDIST_ASSIGN(auto* const module, find_module());
  return decide_exchange({
      .layout = *setup.layout,
      .device_of = [&setup](rank_id rank) { return device_of(setup, rank); },
      .can_access = [module](std::int32_t device,
                             std::int32_t peer,
                             std::string& why) { return module->can_access(device, peer, why); },
      .choice = setup.config.device.exchange,
  });
}

} // namespace vdist::actors
