// tests/model/weights/toy_models.hpp — small checkpoints of the two shapes that real ones have, and
// the plans that architectures make for them: Llama (separate q, k, v; grouped heads; gate and up)
// and GPT-2 (fused, transposed).
#pragma once

#include "model/weights/weight_plan.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vdist::weights::testing {

/// A whole tensor in our orientation, with the values of its elements.
struct toy_tensor {
  tensor_shape shape;
  storage stored = storage::as_is;
  std::vector<float> values; // row-major, our orientation

  [[nodiscard]] float at(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * shape.width() + column)];
  }
};

/// By checkpoint name.
using toy_checkpoint = std::map<std::string, toy_tensor>;

struct toy_sizes {
  std::int64_t layers = 2;
  std::int64_t hidden = 64;
  std::int64_t heads = 8;
  std::int64_t kv_heads = 2;
  std::int64_t head_dim = 8;
  std::int64_t intermediate = 96;
  std::int64_t vocabulary = 101; // no multiple of any tensor size
  std::int64_t positions = 30;
};

inline constexpr toy_sizes toy_llama_sizes{};
/// Larger than a transposition tile, and no multiple of it.
inline constexpr toy_sizes toy_gpt2_sizes{
    .layers = 1, .hidden = 80, .heads = 8, .kv_heads = 8, .head_dim = 10, .intermediate = 320};

[[nodiscard]] toy_checkpoint toy_llama(const toy_sizes& sizes);
/// `prefix`: "transformer." or "", both are found in published files.
[[nodiscard]] toy_checkpoint toy_gpt2(const toy_sizes& sizes, const std::string& prefix);

[[nodiscard]] weight_plan
llama_plan(const toy_sizes& sizes, kernels::dtype type, std::int32_t rank, std::int32_t size);
[[nodiscard]] weight_plan
gpt2_plan(const toy_sizes& sizes, kernels::dtype type, std::int32_t rank, std::int32_t size);

/// The checkpoint as a .safetensors file, elements rounded to `type`.
[[nodiscard]] std::string safetensors_of(const toy_checkpoint& checkpoint, kernels::dtype type);

/// Row-major elements as the bytes of `type`, and back.
[[nodiscard]] std::string encoded(const std::vector<float>& values, kernels::dtype type);
[[nodiscard]] std::vector<float>
decoded(const std::byte* bytes, std::size_t count, kernels::dtype type);

/// What is left of a value that went through a file of type `stored` into a region of type `held`.
[[nodiscard]] float rounded(float value, kernels::dtype stored, kernels::dtype held);

/// Rows of a table that a rank holds when its size is rounded up to a multiple of the ranks.
struct toy_part {
  index_range rows;
  std::int64_t padding = 0;
};

[[nodiscard]] toy_part part_of(std::int64_t total, std::int32_t rank, std::int32_t size);

} // namespace vdist::weights::testing
