#include "model/arch/registry.hpp"

#include "model/arch/builders.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

namespace vdist::arch {

namespace {

constexpr std::array<std::string_view, 7> names = {
    "gpt2", "llama", "mistral", "opt", "phi3", "qwen2", "qwen3"};
constexpr std::array<builder, names.size()> builders = {
    build_gpt2, build_llama, build_mistral, build_opt, build_phi3, build_qwen2, build_qwen3};

result<void> check_split(const weights::model_config& model, const topology::shard& place) {
  const auto legal = topology::legal_tensor_sizes(facts_of(model));
  if (std::find(legal.begin(), legal.end(), place.tensor_size) == legal.end()) {
    return fail(errc::bad_configuration,
                fmt::format("build model: the model cannot be split over this many tensor ranks "
                            "(tensor={} legal={})",
                            place.tensor_size,
                            fmt::join(legal, ",")));
  }
  const auto& layers = place.layers;
  if (place.tensor_rank < 0 || place.tensor_rank >= place.tensor_size || layers.first < 0
      || layers.last < layers.first || layers.last > model.layers) {
    return fail(
        errc::bad_configuration,
        fmt::format(
            "build model: the shard is outside the model (tensor_rank={} layers=[{},{}) of {})",
            place.tensor_rank,
            layers.first,
            layers.last,
            model.layers));
  }
  return {};
}

} // namespace

std::span<const std::string_view> supported_architectures() noexcept {
  return names;
}

topology::model_facts facts_of(const weights::model_config& model) {
  return {.layers = model.layers,
          .heads = model.heads,
          .kv_heads = model.kv_heads,
          .intermediate = model.intermediate,
          .vocabulary = model.vocabulary,
          .hidden = model.hidden};
}

result<network>
build(const weights::model_config& model, const topology::shard& place, kernels::dtype type) {
  const auto found = std::find(names.begin(), names.end(), model.architecture);
  if (found == names.end()) {
    return fail(errc::unsupported,
                fmt::format("build model: unknown architecture (architecture={} supported={})",
                            model.architecture,
                            fmt::join(names, ",")));
  }
  VDIST_TRY(check_split(model, place));
  weights::weight_plan_builder plan(type);
  layers::declaration to{.plan = plan, .place = place, .type = type};
  network made;
  made.decoder = builders[static_cast<std::size_t>(found - names.begin())](model, to);
  made.plan = std::move(plan).build();
  made.type = type;
  return made;
}

} // namespace vdist::arch
