// model/arch/registry.hpp — the architectures that vdist runs, and the one way to build a rank's
// part of one. Adding one: a file like llama.cpp that says what its checkpoint calls things, an
// entry in registry.cpp, a golden. Pure: nothing is opened, loaded or allocated beyond the
// description, so the memory arithmetic uses the same call.
#pragma once

#include "model/layers/decoder.hpp"
#include "model/weights/model_config.hpp"
#include "model/weights/weight_plan.hpp"

#include "runtime/base/result.hpp"
#include "runtime/topology/layout.hpp"
#include "runtime/topology/parallel.hpp"

#include "kernels/dtype.hpp"

#include <span>
#include <string_view>

namespace vdist::arch {

/// One rank's part of a model: what to compute and which weights it takes.
struct network {
  layers::decoder decoder;
  weights::weight_plan plan;
  kernels::dtype type = kernels::dtype::float32; // of matrices and of the KV cache
};

/// Names as weights::read_model_config knows them, rising.
[[nodiscard]] std::span<const std::string_view> supported_architectures() noexcept;

/// What the topology must know of the model.
[[nodiscard]] topology::model_facts facts_of(const weights::model_config& model);

/// Errors: unsupported for an unknown architecture, listing the supported ones; bad_configuration
/// when the model cannot be split as the shard asks, listing the legal tensor sizes.
[[nodiscard]] result<network>
build(const weights::model_config& model, const topology::shard& place, kernels::dtype type);

} // namespace vdist::arch
