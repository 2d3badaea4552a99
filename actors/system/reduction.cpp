#include "actors/system/reduction.hpp"

#include "actors/system/devices.hpp"
#include "actors/system/model_setup.hpp"

#include "model/layers/linear.hpp"

#include "runtime/topology/smaller.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace vdist::actors {

namespace {

/// Of all shared sums: over heads, and over columns of the MLP.
std::int32_t leaves_of(const topology::model_facts& facts) {
  return std::min(layers::reduction_leaves(facts.heads),
                  layers::reduction_leaves(facts.intermediate));
}

/// GPUs of ranks that are lost. One that several ranks share is no rank's own.
std::vector<std::int32_t> lost_devices(const model_setup& setup, std::span<const rank_id> lost) {
  std::vector<std::int32_t> devices;
  if (setup.device == config::device_kind::cuda && !setup.config.device.shared) {
    for (const auto rank : lost) {
      devices.push_back(device_of(setup, rank));
    }
  }
  return devices;
}

config::cluster_config with_sizes(config::cluster_config config,
                                  const topology::parallel_sizes& sizes) {
  if (config.parallel.pipeline != sizes.pipeline) {
    config.parallel.pipeline_layers.clear();
  }
  config.parallel.pipeline = sizes.pipeline;
  config.parallel.tensor = sizes.tensor;
  return config;
}

/// Whether the cluster can run like that.
result<void> check_shape(const model_setup& setup,
                         const topology::parallel_sizes& sizes,
                         std::span<const std::int32_t> retired) {
  auto config = with_sizes(setup.config, sizes);
  VDIST_TRY(retire_devices(config, retired, setup.layout->world()));
  VDIST_TRY(resize(setup, config));
  return {};
}

} // namespace

bool has_run(const run_words& run) {
  return std::any_of(run.replicas.begin(), run.replicas.end(), [](const replica_progress& one) {
    return one.wired != 0;
  });
}

std::optional<reduction> read_reduction(const run_words& run) {
  const std::uint32_t count = run.reductions;
  if (count == 0) {
    return std::nullopt;
  }
  const auto& words = run.reduction.at(count % run.reduction.size());
  const auto used = std::min<std::size_t>(words.retired_used, words.retired.size());
  const auto end = std::find(words.reason.begin(), words.reason.end(), '\0');
  return reduction{
      .pipeline = words.pipeline,
      .tensor = words.tensor,
      .configured = words.configured,
      .keeps_sums = words.keeps_sums != 0,
      .since = time_point(std::chrono::nanoseconds(words.since_ns)),
      .retired = {words.retired.begin(), words.retired.begin() + static_cast<std::ptrdiff_t>(used)},
      .reason = {words.reason.begin(), end}};
}

void write_reduction(run_words& run, const reduction& made) {
  const std::uint32_t next = run.reductions + 1;
  auto& words = run.reduction.at(next % run.reduction.size());
  words = {.pipeline = made.pipeline,
           .tensor = made.tensor,
           .configured = made.configured,
           .since_ns = std::chrono::nanoseconds(made.since.time_since_epoch()).count(),
           .keeps_sums = made.keeps_sums ? 1U : 0U};
  words.retired_used =
      static_cast<std::uint32_t>(std::min(made.retired.size(), words.retired.size()));
  std::copy_n(made.retired.begin(), words.retired_used, words.retired.begin());
  std::copy_n(made.reason.begin(),
              std::min(made.reason.size(), words.reason.size() - 1),
              words.reason.begin());
  run.reductions = next;
}

std::vector<std::string> overrides_of(const reduction& made,
                                      const config::cluster_config& configured) {
  const auto& sizes = configured.parallel;
  const auto pipeline = std::clamp(made.pipeline, 1, sizes.pipeline);
  std::vector<std::string> overrides{
      fmt::format("parallel.tensor={}", std::clamp(made.tensor, 1, sizes.tensor)),
      fmt::format("parallel.pipeline={}", pipeline)};
  if (pipeline != sizes.pipeline && !sizes.pipeline_layers.empty()) {
    overrides.emplace_back("parallel.pipeline_layers=[]"); // they were those of more stages
  }
  return overrides;
}

result<void> retire_devices(config::cluster_config& config,
                            std::span<const std::int32_t> devices,
                            std::int32_t count) {
  if (devices.empty()) {
    return {};
  }
  if (config.nodes.empty()) {
    config.nodes.push_back({.name = "local"});
  }
  auto& listed = config.nodes.front().devices; // workers run on one host
  if (listed.empty()) {
    listed.resize(static_cast<std::size_t>(count));
    std::iota(listed.begin(), listed.end(), 0);
  }
  std::erase_if(listed, [devices](std::int32_t device) {
    return std::find(devices.begin(), devices.end(), device) != devices.end();
  });
  return listed.empty() ? result<void>(
             fail(errc::resource_exhausted, "reduction: no device is left that has not failed"))
                        : result<void>();
}

result<reduction> plan_reduction(const model_setup& setup, std::span<const rank_id> lost) {
  const auto& facts = setup.layout->model();
  const auto shapes = topology::smaller_shapes(setup.layout->sizes(), facts, leaves_of(facts));
  const auto retired = lost_devices(setup, lost);
  std::string why = "a replica has one worker already";
  for (const auto& shape : shapes) {
    const auto checked = check_shape(setup, shape.sizes, retired);
    if (!checked) {
      if (&shape == &shapes.front()) { // those behind it need more memory per worker
        why = fmt::format("no smaller shape fits; pipeline {} x tensor {}: {}",
                          shape.sizes.pipeline,
                          shape.sizes.tensor,
                          checked.error().context);
      }
      continue;
    }
    reduction made{.pipeline = shape.sizes.pipeline,
                   .tensor = shape.sizes.tensor,
                   .configured = setup.layout->sizes().replica_world(),
                   .keeps_sums = shape.keeps_sums,
                   .retired = retired};
    if (setup.reduced) {
      made.configured = setup.reduced->configured;
      // What failed once is not tried again, and bits that changed stay changed.
      made.keeps_sums = made.keeps_sums && setup.reduced->keeps_sums;
      made.retired.insert(
          made.retired.end(), setup.reduced->retired.begin(), setup.reduced->retired.end());
    }
    std::sort(made.retired.begin(), made.retired.end());
    return made;
  }
  return fail(errc::resource_exhausted, std::move(why));
}

} // namespace vdist::actors
