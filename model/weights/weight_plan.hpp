// model/weights/weight_plan.hpp — what a rank holds: every weight's name, shape, type and place in
// the rank's region, and which parts of which checkpoint tensors make it up. Computed from the
// configuration alone: no file is opened, so the memory arithmetic and --dump-topology use the same
// plan as the loader.
//
// All coordinates are in our orientation, [out_features, in_features], whatever the checkpoint's
// layout. Expressing a fused, tensor-parallel weight:
//
//     const tensor_ref q{.names = {"model.layers.3.self_attn.q_proj.weight"}, .shape = {heads *
//     head_dim, hidden}}; … builder.add("layers.3.attention.qkv", weight_role::matrix,
//                 stack_rows({rows_of(q, q_rows), rows_of(k, kv_rows), rows_of(v, kv_rows)}));
//
// W-1 Offsets are multiples of weight_alignment, rise with the index and never overlap.
// W-2 The slices of a weight lie inside it, do not overlap, and leave only its last padding_rows
// uncovered (zeros). W-3 A slice lies inside its tensor. The builder checks all three; breaking one
// is a defect of the architecture's code, not of a file.
#pragma once

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vdist::weights {

/// Bytes: every weight starts at a multiple of this (a cache line, a full vector register).
inline constexpr std::size_t weight_alignment = 64;

/// A half-open run of rows, columns or heads.
struct index_range {
  std::int64_t first = 0;
  std::int64_t count = 0;

  [[nodiscard]] constexpr std::int64_t end() const { return first + count; }

  /// The same run in smaller units: heads → rows with unit = head_dim.
  [[nodiscard]] constexpr index_range times(std::int64_t unit) const {
    return {first * unit, count * unit};
  }

  /// The same run further on: the v part of a fused [q; k; v] tensor.
  [[nodiscard]] constexpr index_range shifted(std::int64_t by) const { return {first + by, count}; }

  constexpr bool operator==(const index_range&) const = default;
};

/// Rank's share of `total`, which `size` must divide.
[[nodiscard]] index_range even_range(std::int64_t total, std::int32_t rank, std::int32_t size);

/// Rank's share of attention heads. With fewer (KV) heads than ranks, neighbouring ranks share one:
/// heads must divide size, or size heads.
[[nodiscard]] index_range head_range(std::int64_t heads, std::int32_t rank, std::int32_t size);

/// Shape in our orientation. columns == 0 means a vector of `rows` elements.
struct tensor_shape {
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  [[nodiscard]] constexpr bool is_vector() const { return columns == 0; }

  [[nodiscard]] constexpr std::int64_t width() const { return columns == 0 ? 1 : columns; }

  [[nodiscard]] constexpr std::int64_t elements() const { return rows * width(); }

  constexpr bool operator==(const tensor_shape&) const = default;
};

/// How the checkpoint stores a matrix.
enum class storage : std::uint8_t {
  as_is,      // [out_features, in_features]: torch Linear, embeddings, vectors
  transposed, // [in_features, out_features]: GPT-2's Conv1D; the loader transposes
};

/// A whole checkpoint tensor.
struct tensor_ref {
  std::vector<std::string>
      names;          // candidates, the first one present is read; names[0] keys the random source
  tensor_shape shape; // of the full tensor, our orientation; the loader refuses any other
  storage stored = storage::as_is;
};

/// A rectangle of a checkpoint tensor and where it lands in the weight.
struct weight_slice {
  tensor_ref tensor;
  index_range rows;    // of the tensor, our orientation
  index_range columns; // likewise; {0, 1} for vectors
  std::int64_t destination_row = 0;
  std::int64_t destination_column = 0;
};

[[nodiscard]] weight_slice whole(tensor_ref tensor);
/// Column-parallel linears, embedding rows, biases of column-parallel linears.
[[nodiscard]] weight_slice rows_of(tensor_ref tensor, index_range rows);
/// Row-parallel linears: the rank's share of the input features.
[[nodiscard]] weight_slice columns_of(tensor_ref tensor, index_range columns);
/// Places slices below each other, in order: fused qkv, fused gate and up.
[[nodiscard]] std::vector<weight_slice> stack_rows(std::vector<weight_slice> slices);

/// Decides the stored type and what the random source writes.
enum class weight_role : std::uint8_t {
  matrix, // linears, embeddings, learned positions: the plan's type; random: about normal(0, 0.02)
  norm,   // scale of a norm: float32; random: 1
  bias,   // any bias: float32; random: small
};

/// One weight of a rank.
struct weight {
  std::string
      name; // ours, for example "layers.3.attention.qkv"; layers count from 0 over the whole model
  weight_role role = weight_role::matrix;
  kernels::dtype type = kernels::dtype::float32;
  tensor_shape shape; // padding included
  std::int64_t padding_rows = 0;
  std::size_t offset = 0; // bytes from the start of the rank's region
  std::vector<weight_slice> slices;

  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(shape.elements()) * kernels::size_of(type);
  }
};

/// All weights of a rank. A value; immutable once built.
struct weight_plan {
  std::vector<weight> weights;
  std::size_t bytes = 0; // size of the region, a multiple of weight_alignment

  /// By our name; nullptr if the rank does not hold it. O(weights): for start-up and tests.
  [[nodiscard]] const weight* find(std::string_view name) const;
};

/// Adds weights one behind the other. Not thread-safe; build() ends its use.
class weight_plan_builder {
public:
  /// `matrix_type`: the type of matrices in the region; norms and biases are always float32.
  explicit weight_plan_builder(kernels::dtype matrix_type) : matrix_type_(matrix_type) {}

  /// Returns the index in weight_plan::weights. The shape follows from the slices; padding_rows
  /// zero rows are appended. A slice of no rows is legal (a rank behind the end of a padded table)
  /// and dropped. Names must be unique.
  std::size_t add(std::string name,
                  weight_role role,
                  std::vector<weight_slice> slices,
                  std::int64_t padding_rows = 0);

  [[nodiscard]] weight_plan build() &&;

private:
  kernels::dtype matrix_type_;
  weight_plan plan_;
  std::unordered_map<std::string, std::size_t> index_by_name_;
};

} // namespace vdist::weights
