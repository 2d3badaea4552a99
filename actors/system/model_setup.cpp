#include "actors/system/model_setup.hpp"

#include "actors/system/devices.hpp"

#include "model/exec/peer_links.hpp"
#include "model/hub/fetch.hpp"
#include "model/weights/checkpoint.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <map>

namespace vdist::actors {

namespace {

using config::device_kind;

std::string in_mib(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
}

kernels::dtype resolve_type(config::weight_dtype wanted, kernels::dtype stored) {
  switch (wanted) {
  case config::weight_dtype::automatic:
    return stored;
  case config::weight_dtype::float32:
    return kernels::dtype::float32;
  case config::weight_dtype::bfloat16:
    return kernels::dtype::bfloat16;
  case config::weight_dtype::float16:
    return kernels::dtype::float16;
  }
  return stored;
}

/// generation_config.json of the folder, where there is one and the configuration wants it.
result<api::generation_defaults> read_defaults(const model_setup& setup) {
  const auto path = setup.folder.folder / "generation_config.json";
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return api::generation_defaults{};
  }
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  VDIST_ASSIGN(auto defaults, api::parse_generation_config(text, path.string()));
  if (setup.config.model.generation_config == config::generation_source::neutral) {
    return api::generation_defaults{.eos_ids = defaults.eos_ids, .bos_id = defaults.bos_id};
  }
  return defaults;
}

/// A repository that is not on this disk is fetched into the cache, where everybody finds it.
result<void> download_model(const model_setup& setup,
                            const config::environment& env,
                            const phase_listener& on_phase,
                            const byte_listener& on_download) {
  const auto& model = setup.config.model;
  const auto repository = weights::repository_of(model.path, model.revision);
  const auto cache = config::hugging_face_cache(env);
  if (!model.download || !repository || !cache) {
    return {}; // resolving says what is missing
  }
  const hub::fetch_options options{.endpoint = env.hf_endpoint,
                                   .token = env.hf_token,
                                   .cache = *cache,
                                   .is_offline = env.is_hf_offline,
                                   .wanted = repository->weights == weights::weight_origin::random
                                                 ? hub::content::without_weights
                                                 : hub::content::everything};
  VDIST_ASSIGN(const auto fetched, hub::fetch(repository->wanted, options, on_download));
  if (fetched.transferred_bytes > 0) {
    on_phase("download",
             fmt::format("{} at {} ({})",
                         repository->wanted.id,
                         fetched.commit.substr(0, 12),
                         in_mib(fetched.transferred_bytes)));
  }
  return {};
}

result<void> read_model(model_setup& setup, const config::environment& env) {
  std::vector<std::filesystem::path> roots;
  if (const auto cache = config::hugging_face_cache(env)) {
    roots.push_back(*cache);
  }
  const auto& wanted = setup.config.model;
  VDIST_ASSIGN(setup.folder, weights::resolve_model_folder(wanted.path, roots, wanted.revision));
  VDIST_ASSIGN(auto model,
               weights::read_model_config(setup.folder.folder, arch::supported_architectures()));
  setup.vocabulary = model.vocabulary;
  setup.type = resolve_type(setup.config.model.dtype, model.type);
  VDIST_ASSIGN(setup.defaults, read_defaults(setup));
  setup.eos_ids = setup.defaults.eos_ids.empty() ? model.eos : setup.defaults.eos_ids;
  setup.model = std::move(model);
  return {};
}

/// A "random:" model may come without a tokenizer: then only token ids go in and out.
result<void> read_tokenizer(model_setup& setup) {
  auto loaded = text::tokenizer::load(setup.folder.folder);
  if (!loaded) {
    const bool may_lack = setup.folder.weights == weights::weight_origin::random
                          && loaded.error().code == errc::not_found;
    return may_lack ? result<void>() : result<void>(loaded.error());
  }
  setup.tokenizer = std::move(*loaded);
  return {};
}

topology::model_facts facts_of(const model_setup& setup) {
  if (setup.model) {
    return arch::facts_of(*setup.model);
  }
  const auto& sim = setup.config.device.sim;
  return {.layers = sim.layers,
          .heads = sim.heads,
          .kv_heads = sim.kv_heads,
          .intermediate = sim.hidden * 4,
          .vocabulary = sim.vocabulary,
          .hidden = sim.hidden};
}

result<void> lay_out(model_setup& setup) {
  const auto& parallel = setup.config.parallel;
  topology::layout_inputs inputs{.sizes = {.data = parallel.data,
                                           .pipeline = parallel.pipeline,
                                           .prefill_context = parallel.prefill_context,
                                           .tensor = parallel.tensor,
                                           .decode_context = parallel.decode_context,
                                           .expert = parallel.expert},
                                 .model = facts_of(setup),
                                 .pipeline_layers = parallel.pipeline_layers};
  for (const auto& node : setup.config.nodes) {
    inputs.nodes.push_back({.name = node.name, .host = node.host, .devices = node.devices});
  }
  if (inputs.nodes.size() > 1) {
    return fail(errc::unsupported,
                "node: this build runs all workers on one host (legal: at most one [[node]])");
  }
  VDIST_ASSIGN(auto layout, topology::cluster_layout::make(inputs));
  setup.layout.emplace(std::move(layout));
  return {};
}

result<void> resolve_length(model_setup& setup) {
  const auto longest =
      setup.model ? setup.model->max_positions : setup.config.device.sim.max_model_len;
  const auto wanted = setup.config.model.max_model_len;
  if (wanted > longest) {
    return fail(
        errc::bad_configuration,
        fmt::format("model.max_model_len: the model reaches {} tokens (got {})", longest, wanted));
  }
  setup.max_model_len = wanted > 0 ? wanted : longest;
  return {};
}

result<void> measure_workers(model_setup& setup) {
  const auto& scheduler = setup.config.scheduler;
  setup.limits = {.max_batch_tokens = scheduler.max_batch_tokens,
                  .max_sequences = std::min(scheduler.max_sequences, scheduler.max_batch_tokens),
                  .max_positions = setup.max_model_len,
                  .block_size = scheduler.block_size};
  exec::activation_form form{.tensor_size = setup.layout->sizes().tensor};
  if (setup.device == device_kind::cuda) {
    setup.limits.logit_rows = exec::device_logit_rows_max;
    setup.limits.small_step_tokens = exec::device_small_step_tokens;
    form.types.inner = setup.type;
  }
  for (std::int32_t rank = 0; rank < setup.layout->world(); ++rank) {
    if (setup.device == device_kind::sim) {
      setup.memory.push_back(
          {.kv_per_block = sizeof(std::uint64_t) * static_cast<std::size_t>(scheduler.block_size)});
      continue;
    }
    VDIST_ASSIGN(const auto network, network_of(setup, rank_id(rank)));
    const auto bytes = exec::memory_of(network, setup.limits, form);
    const auto exchange =
        setup.peer_exchange ? exec::peer_exchange_bytes(setup.layout->shard_of(rank_id(rank))) : 0;
    setup.memory.push_back({.weights = bytes.weights,
                            .kv_per_block = bytes.kv_per_block,
                            .activations = bytes.activations + exchange});
  }
  return {};
}

/// Reads the headers of the checkpoint and looks every tensor of every rank up: what a worker would
/// stumble over while loading is one clear error before anything starts. Touches no data.
result<void> check_checkpoint(const model_setup& setup) {
  if (setup.device == device_kind::sim
      || setup.folder.weights != weights::weight_origin::checkpoint) {
    return {};
  }
  VDIST_ASSIGN(const auto source, weights::checkpoint::open(setup.folder.folder));
  for (const auto rank : setup.layout->ranks_of_replica(0)) {
    VDIST_ASSIGN(const auto network, network_of(setup, rank));
    for (const auto& weight : network.plan.weights) {
      for (const auto& slice : weight.slices) {
        VDIST_TRY(source.open(slice.tensor, weight.role));
      }
    }
  }
  return {};
}

/// `what` with where the memory of a worker comes from.
error not_enough(const model_setup& setup, const std::string& what) {
  return fail(errc::resource_exhausted, fmt::format("{}; {}", what, origin_of_budget(setup)));
}

/// Bytes of KV cache that the worker of a rank may have.
result<std::size_t> kv_budget(const model_setup& setup, std::size_t rank) {
  const auto& worker = setup.memory[rank];
  const auto wanted = static_cast<std::size_t>(setup.config.device.kv_cache_bytes);
  const auto taken = worker.weights + worker.activations;
  if (taken > setup.memory_budget) {
    return not_enough(
        setup,
        fmt::format("memory: the worker of rank {} needs {} for weights and {} for activations, "
                    "{} may be used (missing {}); raise parallel.tensor or "
                    "device.memory_utilization, or lower scheduler.max_batch_tokens",
                    rank,
                    in_mib(worker.weights),
                    in_mib(worker.activations),
                    in_mib(setup.memory_budget),
                    in_mib(taken - setup.memory_budget)));
  }
  const auto left = setup.memory_budget - taken;
  if (wanted > left) {
    return not_enough(setup,
                      fmt::format("device.kv_cache_bytes: {} asked for, {} may be used by rank {} "
                                  "(missing {}); lower it or raise device.memory_utilization",
                                  in_mib(wanted),
                                  in_mib(left),
                                  rank,
                                  in_mib(wanted - left)));
  }
  if (wanted > 0) {
    return wanted;
  }
  return setup.device == device_kind::cuda ? left : std::min(left, cpu_kv_bytes_max);
}

/// The same number of blocks on every rank: what the tightest one can hold, and no more than could
/// ever be used.
result<void> size_kv_cache(model_setup& setup) {
  const auto block_size = setup.limits.block_size;
  const auto blocks_per_sequence = (setup.max_model_len + block_size - 1) / block_size;
  auto blocks = std::int64_t{blocks_per_sequence} * setup.limits.max_sequences;
  for (std::size_t rank = 0; rank < setup.memory.size(); ++rank) {
    const auto& worker = setup.memory[rank];
    VDIST_ASSIGN(const auto budget, kv_budget(setup, rank));
    if (worker.kv_per_block == 0) {
      continue; // a stage without layers
    }
    const auto fitting = static_cast<std::int64_t>(budget / worker.kv_per_block);
    if (fitting < blocks_per_sequence) {
      const auto needed = static_cast<std::size_t>(blocks_per_sequence) * worker.kv_per_block;
      return not_enough(
          setup,
          fmt::format("memory: the KV cache of one sequence of {} tokens needs {} per worker, {} "
                      "may be used (missing {}); lower model.max_model_len, or raise "
                      "device.kv_cache_bytes, device.memory_utilization or parallel.tensor",
                      setup.max_model_len,
                      in_mib(needed),
                      in_mib(budget),
                      in_mib(needed - budget)));
    }
    blocks = std::min(blocks, fitting);
  }
  setup.limits.blocks =
      static_cast<std::int32_t>(std::min<std::int64_t>(blocks, std::int32_t{1} << 30));
  return {};
}

/// Workers that share the memory of one host, or of the GPU that has most of them.
std::size_t sharers_of_budget(const model_setup& setup) {
  if (setup.device != device_kind::cuda) {
    return static_cast<std::size_t>(setup.layout->world());
  }
  std::map<std::int32_t, std::size_t> by_device;
  for (std::int32_t rank = 0; rank < setup.layout->world(); ++rank) {
    ++by_device[device_of(setup, rank_id(rank))];
  }
  std::size_t most = 1;
  for (const auto& [device, ranks] : by_device) {
    most = std::max(most, ranks);
  }
  return most;
}

} // namespace

result<model_setup> resize(const model_setup& setup, const config::cluster_config& config) {
  auto made = setup;
  made.config = config;
  made.memory.clear();
  VDIST_TRY(lay_out(made));
  VDIST_TRY(measure_workers(made));
  made.memory_budget = setup.memory_budget * sharers_of_budget(setup) / sharers_of_budget(made);
  VDIST_TRY(size_kv_cache(made));
  return made;
}

bool prepares_spares(const model_setup& setup) {
  using config::standby_kind;
  const auto& wanted = setup.config.fault_tolerance;
  const bool is_prepared =
      wanted.spares == standby_kind::prepared
      || (wanted.spares == standby_kind::automatic && setup.device == config::device_kind::cuda);
  return wanted.standby > 0 && is_prepared;
}

result<arch::network> network_of(const model_setup& setup, rank_id rank) {
  return arch::build(*setup.model, setup.layout->shard_of(rank), setup.type);
}

result<model_setup> set_up_model(const config::cluster_config& config,
                                 const config::environment& env,
                                 const phase_listener& on_phase,
                                 const byte_listener& on_download) {
  model_setup setup{.config = config};
  VDIST_ASSIGN(setup.device, resolve_device(config));
  const bool has_model = setup.device != device_kind::sim || !config.model.path.empty();
  if (has_model) {
    VDIST_TRY(download_model(setup, env, on_phase, on_download));
    VDIST_TRY(read_model(setup, env));
    on_phase("model",
             fmt::format("{} ({}, {}, {} layers)",
                         setup.folder.name,
                         setup.model->architecture,
                         kernels::to_string(setup.type),
                         setup.model->layers));
  } else {
    setup.vocabulary = config.device.sim.vocabulary;
  }
  VDIST_TRY(lay_out(setup));
  VDIST_TRY(resolve_length(setup));
  const auto& sizes = setup.layout->sizes();
  on_phase("topology",
           fmt::format("{} workers (data {} × pipeline {} × tensor {})",
                       sizes.world(),
                       sizes.data,
                       sizes.pipeline,
                       sizes.tensor));
  if (setup.device == device_kind::cuda) {
    VDIST_ASSIGN(const auto plane, exchange_of(setup));
    setup.peer_exchange = plane.kind == exchange_kind::peer;
    on_phase("exchange", fmt::format("{} ({})", to_string(plane.kind), plane.reason));
  }
  if (has_model) {
    VDIST_TRY(read_tokenizer(setup));
    on_phase("tokenizer",
             setup.tokenizer ? fmt::format("{} tokens", setup.tokenizer->vocab_size()) : "none");
  }
  VDIST_TRY(measure_workers(setup));
  if (const auto bytes = config.fault_tolerance.kv_host_bytes; bytes > 0) {
    VDIST_TRY(plan_host_store(setup, static_cast<std::size_t>(bytes)));
  }
  VDIST_TRY(check_checkpoint(setup));
  VDIST_ASSIGN(setup.memory_budget, budget_of_worker(setup));
  if (auto sized = size_kv_cache(setup); !sized) {
    setup.limits.blocks = 0;
    setup.shortage = sized.error();
    return setup;
  }
  on_phase("kv cache",
           fmt::format("{} blocks of {} tokens, {} tokens per replica",
                       setup.limits.blocks,
                       setup.limits.block_size,
                       setup.kv_tokens()));
  return setup;
}

} // namespace vdist::actors
