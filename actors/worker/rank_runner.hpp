// actors/worker/rank_runner.hpp — makes the step_runner of one rank: its communicators over the vault's exchange regions,
// its device, its share of the model. The result owns all of it.
#pragma once

#include "actors/gateway/layer_orders.hpp"
#include "actors/worker/step_watch.hpp"

#include "model/exec/model_runner.hpp"
#include "model/exec/sim_runner.hpp"
#include "model/exec/step_runner.hpp"

#include "transport/frame/fence.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/ids.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>

namespace vdist::actors {

/// A GPU.
struct cuda_choice {
  std::int32_t device = 0; // ordinal
  bool use_graphs = true;
  bool meets_peers = false; // in device memory
};

struct rank_runner_config {
  rank_id rank;                 // global
  std::int32_t tensor_size = 1; // the tensor group is [rank - tensor_rank, … + tensor_size)
  topology::shard place;
  std::int32_t threads = 1;        // of the CPU backend
  std::optional<cuda_choice> cuda; // else the CPU, or the sim device
  std::chrono::milliseconds collective_deadline{10000};
  std::variant<exec::model_runner_config, exec::sim_runner_config> device;
  /// Of the host store: bytes before slot 0, and of all slots; 0: there is none.
  std::size_t store_first = 0;
  std::size_t store_bytes = 0;

  /// Whether its ranks meet in device memory.
  [[nodiscard]] bool meets_peers() const { return cuda && cuda->meets_peers; }
};

/// Borrowed; all outlive the runner.
struct rank_runner_links {
  vault::vault* memory = nullptr;
  const frame::fence* stop = nullptr;
  bool maps_peers = false; // `memory` makes other devices' regions accessible to this rank's device
  step_watch* watch = nullptr;          // of the thread that will run the steps; may be null
  const layer_orders* orders = nullptr; // of the replica; null: nobody watches layers
  std::span<std::byte> store;           // the host store; empty: none
};

/// Called on the thread that will run the steps.
[[nodiscard]] result<std::unique_ptr<exec::step_runner>>
make_rank_runner(const rank_runner_config& config,
                 const rank_runner_links& links,
                 const frame::wait_policy& waits);

} // namespace vdist::actors
