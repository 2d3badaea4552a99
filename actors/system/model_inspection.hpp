// actors/system/model_inspection.hpp — what a cluster computes with, as plain values: the model, its layers, and every
// parameter with the part of it that each rank holds. Computed from the setup alone: nothing is loaded, no file is opened.
// What --dump-topology prints is made from it (topology_dump.hpp), and so is what embedding programs are told: strings,
// numbers and vectors only, to be copied field by field.
//
// Parameters are tensors of the checkpoint, under their names there; weights are what ranks hold, fused where one linear reads
// several, under names of ours ("layers.3.attention.qkv"). Shapes are [out_features, in_features], whatever the file's layout.
// M-1 The shards of a parameter on the ranks of one replica cover it; where they overlap, the ranks hold copies.
// M-2 A shard is the whole parameter or a range of it along one axis.
#pragma once

#include "actors/system/model_setup.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vdist::actors {

/// A half-open range of rows, columns or layers.
struct described_range {
  std::int64_t first = 0;
  std::int64_t last = 0;

  bool operator==(const described_range&) const = default;
};

/// Axis of a shard that is the whole parameter.
inline constexpr std::int32_t whole_axis = -1;

/// What one rank holds of a parameter. A rank has several where it reads parts of a fused tensor: q, k and v.
struct parameter_shard {
  std::int32_t rank = 0;
  std::string weight;              // of the rank, that has it
  std::int32_t axis = whole_axis;  // along which it is cut: 0 rows, 1 columns
  std::int64_t offset = 0;         // of its first row or column in the parameter
  std::vector<std::int64_t> shape; // its own
};

/// A tensor of the checkpoint.
struct parameter_description {
  std::string name;
  std::int32_t layer = -1; // that reads it; -1: embedding, final norm or head
  std::vector<std::int64_t> shape;
  std::string dtype;                   // as ranks keep it
  std::size_t bytes = 0;               // of the whole, as ranks keep it
  std::vector<parameter_shard> shards; // by rank
};

/// Which part of a parameter lies where in a weight.
struct weight_part {
  std::string parameter;
  described_range rows;
  described_range columns; // {0, 1} of vectors
  std::int64_t at_row = 0; // of the weight
};

/// A tensor in the memory of a rank.
struct weight_description {
  std::string name;
  std::vector<std::int64_t> shape; // padding included
  std::string dtype;
  std::size_t bytes = 0;
  std::size_t offset = 0; // bytes from the start of the rank's region
  std::int64_t padding_rows = 0;
  std::vector<weight_part> parts;
};

struct rank_description {
  std::int32_t rank = 0;
  std::int32_t replica = 0;
  std::int32_t stage = 0;
  std::int32_t tensor = 0; // rank within its tensor group
  std::int32_t device = 0;
  described_range layers;
  std::size_t weight_bytes = 0;
  std::size_t kv_bytes_per_block = 0;
  std::size_t activation_bytes = 0;
  std::vector<weight_description> weights; // empty for a simulated model
};

struct layer_description {
  std::int32_t layer = 0;
  std::int32_t stage = 0;
  std::vector<std::int32_t> ranks; // of all replicas, rising
};

struct model_description {
  std::string name;
  std::string architecture; // "llama", …; "sim": a simulated model, which has no parameters
  std::string dtype;        // of matrices; norms and biases are float32
  std::int32_t hidden = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0; // 0: simulated
  std::int32_t intermediate = 0;
  std::int32_t vocabulary = 0;
  std::int32_t max_model_len = 0;                // tokens
  std::vector<layer_description> layers;         // all, by number
  std::vector<parameter_description> parameters; // in the order of stages and layers
  std::vector<rank_description> ranks;           // all, by number
};

/// Errors: as arch::build(), which set_up_model() has called before.
[[nodiscard]] result<model_description> describe_model(const model_setup& setup);

} // namespace vdist::actors
