// model/layers/declare.hpp — how the layers enter a rank's weight plan: which rows or columns of
// which checkpoint tensors this rank holds, fused into one weight where one linear reads them. Pure
// arithmetic, no file is opened. Why apart from forward(): an architecture file says what the
// checkpoint calls things, and nothing else; the split over the tensor group is written once, here.
// D-1 The tensor size is legal for the model (arch::build checks): heads and intermediate columns
// divide evenly.
#pragma once

#include "model/layers/attention.hpp"
#include "model/layers/embedding.hpp"
#include "model/layers/linear.hpp"
#include "model/layers/lm_head.hpp"
#include "model/layers/mlp.hpp"
#include "model/layers/norm.hpp"
#include "model/weights/model_config.hpp"
#include "model/weights/weight_plan.hpp"

#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::layers {

/// Where declarations go. Borrowed while a network is built.
struct declaration {
  weights::weight_plan_builder& plan;
  topology::shard place;
  kernels::dtype type; // of matrices
};

/// A linear layer, or a part of one, as the checkpoint stores it.
struct linear_source {
  std::vector<std::string> names; // candidates, without ".weight" and ".bias"
  std::int64_t out_features = 0;  // of the stored tensor
  std::int64_t in_features = 0;
  bool has_bias = false;
  weights::storage stored = weights::storage::as_is;
  std::int64_t first_row = 0; // where this part's outputs begin in a tensor that is fused already
};

/// One of the parts that a fused column-parallel linear stacks.
struct fused_part {
  linear_source source;
  weights::index_range rows; // this rank's, counted from source.first_row
};

[[nodiscard]] column_linear
declare_column(declaration& to, const std::string& name, std::span<const fused_part> parts);

/// A linear that every rank holds and computes whole: for the few that are too small to split.
[[nodiscard]] column_linear
declare_whole(declaration& to, const std::string& name, const linear_source& source);

/// `units`: equal pieces (heads, columns) of the whole input; they fix the leaves of the sum and
/// the split.
[[nodiscard]] row_linear declare_row(declaration& to,
                                     const std::string& name,
                                     const linear_source& source,
                                     std::int32_t units);

/// `names`: candidates, without ".weight" and ".bias". A LayerNorm has a bias.
[[nodiscard]] norm declare_norm(declaration& to,
                                const std::string& name,
                                const std::vector<std::string>& names,
                                const weights::model_config& model,
                                std::int32_t width);

struct attention_source {
  linear_source q;
  linear_source k;
  linear_source v;
  linear_source out;
  std::vector<std::string> q_norm; // empty: none
  std::vector<std::string> k_norm;
  std::int32_t window = 0; // tokens; 0: full attention
};

[[nodiscard]] attention declare_attention(declaration& to,
                                          const std::string& name,
                                          const attention_source& source,
                                          const weights::model_config& model);

struct mlp_source {
  mlp_kind kind = mlp_kind::gated;
  linear_source gate; // gated only
  linear_source up;
  linear_source down;
};

[[nodiscard]] mlp declare_mlp(declaration& to,
                              const std::string& name,
                              const mlp_source& source,
                              const weights::model_config& model);

[[nodiscard]] vocabulary_embedding declare_embedding(declaration& to,
                                                     const std::string& name,
                                                     const std::vector<std::string>& names,
                                                     const weights::model_config& model);

[[nodiscard]] position_embedding declare_positions(declaration& to,
                                                   const std::string& name,
                                                   const std::vector<std::string>& names,
                                                   const weights::model_config& model,
                                                   std::int32_t offset);

/// The linear alone; a final norm and a linear before it are the architecture's to add. `tied` is
/// the embedding's table when this rank holds it already and shares it, else no_weight.
[[nodiscard]] lm_head declare_lm_head(declaration& to,
                                      const std::string& name,
                                      const std::vector<std::string>& names,
                                      weight_ref tied,
                                      const weights::model_config& model);

} // namespace vdist::layers
