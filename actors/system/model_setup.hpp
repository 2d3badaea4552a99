// actors/system/model_setup.hpp — everything that is decided before anything is loaded or started:
// which model, how it is split, how many KV blocks there are. A pure function of the configuration,
// the model folder and the free memory, so that --check, --dump-topology and the engine say the
// same. What is wrong with configuration and model is found here, in well under a second; prompts
// are checked by check_request (engine.hpp).
#pragma once

#include "actors/system/host_store_plan.hpp"
#include "actors/system/reduction.hpp"

#include "model/arch/registry.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/weights/model_config.hpp"
#include "model/weights/model_folder.hpp"

#include "runtime/api/generation_defaults.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/text/tokenizer.hpp"
#include "runtime/topology/layout.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::actors {

/// Largest automatic KV cache of one CPU worker, in bytes: a host is rarely there for us alone.
inline constexpr std::size_t cpu_kv_bytes_max = std::size_t{4} << 30U;

/// What a worker's context, libraries and workspaces take of a GPU, beside what we count; and all that a spare takes which
/// is prepared for a rank there.
inline constexpr std::size_t device_reserve_bytes = std::size_t{1} << 30U;

/// Bytes of one worker.
struct worker_memory {
  std::size_t weights = 0;
  std::size_t kv_per_block = 0;
  std::size_t activations = 0; // and what ranks exchange on GPUs
};

struct model_setup {
  config::cluster_config config;
  config::device_kind device = config::device_kind::cpu; // resolved: never automatic
  weights::model_folder folder;                          // empty on a sim device without a model
  std::optional<weights::model_config> model;            // likewise
  kernels::dtype type = kernels::dtype::float32;
  std::optional<topology::cluster_layout> layout;   // always set
  std::shared_ptr<const text::tokenizer> tokenizer; // null on a sim device without a model
  api::generation_defaults defaults;
  std::vector<token_id> eos_ids;
  std::int32_t vocabulary = 0;
  std::int32_t max_model_len = 0;
  exec::runner_limits limits;        // blocks included
  std::vector<worker_memory> memory; // by rank
  std::size_t memory_budget = 0;    // bytes that one worker may use for weights, activations and KV
  bool peer_exchange = false;       // ranks meet in each other's device memory
  std::optional<reduction> reduced; // why the sizes are smaller than what was configured
  std::optional<host_store_plan> host_store; // set by the cluster, where its host has one
  std::optional<error> shortage; // of memory: all is known, but it cannot run here; no blocks then

  /// Requests that may be under way in the whole cluster: what runs and what waits. Whoever was
  /// accepted finds room, also when all of them end up on one replica.
  [[nodiscard]] std::int32_t accepted_max() const {
    const auto per_replica = std::int64_t{config.scheduler.max_waiting} + limits.max_sequences;
    return static_cast<std::int32_t>(
        std::min(per_replica * layout->sizes().data, std::int64_t{1} << 30));
  }

  [[nodiscard]] std::int64_t kv_tokens() const {
    return std::int64_t{limits.blocks} * limits.block_size;
  }
};

/// Told about each phase when it is done: its name and what came out.
using phase_listener = std::function<void(std::string_view phase, const std::string& outcome)>;
/// Told about bytes that are there, and that will be.
using byte_listener = std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>;

/// Errors name file, key and legal values; codes decide the exit code. Loads no weights; downloads a
/// repository that the local cache lacks, and tells on_download (may be empty).
[[nodiscard]] result<model_setup> set_up_model(const config::cluster_config& config,
                                               const config::environment& env,
                                               const phase_listener& on_phase,
                                               const byte_listener& on_download = {});

/// The same cluster with the parallel sizes and nodes of `config`. Memory is not measured again, because the cluster itself
/// holds it while it is asked: the budget of a host or GPU stays, and is shared by those who use it now. Reads no file and
/// asks no device. Errors: bad_configuration (sizes that do not fit the model or the nodes), resource_exhausted.
[[nodiscard]] result<model_setup> resize(const model_setup& setup,
                                         const config::cluster_config& config);

/// Whether every rank that has loaded gets a spare that is prepared for it (worker processes only).
[[nodiscard]] bool prepares_spares(const model_setup& setup);

/// The network of one rank, as the worker will build it.
[[nodiscard]] result<arch::network> network_of(const model_setup& setup, rank_id rank);

} // namespace vdist::actors
