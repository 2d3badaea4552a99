#include "model/layers/declare.hpp"

#include "runtime/topology/slices.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vdist::layers {

namespace {

weight_ref as_ref(std::size_t index) {
  return static_cast<weight_ref>(index);
}

std::vector<std::string> with_suffix(std::vector<std::string> names, std::string_view suffix) {
  for (auto& name : names) {
    name += suffix;
  }
  return names;
}

weights::tensor_ref matrix_of(const linear_source& source) {
  return {.names = with_suffix(source.names, ".weight"),
          .shape = {source.out_features, source.in_features},
          .stored = source.stored};
}

weights::tensor_ref vector_of(std::vector<std::string> names, std::int64_t size) {
  return {.names = std::move(names), .shape = {size, 0}, .stored = weights::storage::as_is};
}

std::int32_t narrow(std::int64_t value) {
  return static_cast<std::int32_t>(value);
}

weights::index_range share(std::int64_t total, const topology::shard& place) {
  return weights::even_range(total, place.tensor_rank, place.tensor_size);
}

/// This rank's rows of a vocabulary table and the zero rows that make all ranks' parts equal.
struct vocabulary_part {
  weights::index_range rows;
  std::int64_t padding = 0;
  std::int32_t first = 0; // token id of the first row, padding included
};

vocabulary_part part_of_vocabulary(std::int32_t vocabulary, const topology::shard& place) {
  const auto slice = topology::vocabulary_slice(vocabulary, place.tensor_rank, place.tensor_size);
  const auto first = std::min(slice.first, vocabulary);
  const auto last = std::min(slice.last(), vocabulary);
  return {
      .rows = {first, last - first}, .padding = slice.count - (last - first), .first = slice.first};
}

weight_ref declare_table(declaration& to,
                         const std::string& name,
                         const std::vector<std::string>& names,
                         const weights::model_config& model) {
  const auto part = part_of_vocabulary(model.vocabulary, to.place);
  const weights::tensor_ref tensor{.names = with_suffix(names, ".weight"),
                                   .shape = {model.vocabulary, model.embedding_width},
                                   .stored = weights::storage::as_is};
  return as_ref(to.plan.add(
      name, weights::weight_role::matrix, {weights::rows_of(tensor, part.rows)}, part.padding));
}

norm declare_head_norm(declaration& to,
                       const std::string& name,
                       const std::vector<std::string>& names,
                       const weights::model_config& model) {
  return declare_norm(to, name, names, model, model.head_dim);
}

} // namespace

column_linear
declare_column(declaration& to, const std::string& name, std::span<const fused_part> parts) {
  std::vector<weights::weight_slice> matrices;
  std::vector<weights::weight_slice> biases;
  std::int64_t rows = 0;
  for (const auto& part : parts) {
    const auto held = part.rows.shifted(part.source.first_row);
    matrices.push_back(weights::rows_of(matrix_of(part.source), held));
    if (part.source.has_bias) {
      const auto bias =
          vector_of(with_suffix(part.source.names, ".bias"), part.source.out_features);
      biases.push_back(weights::rows_of(bias, held));
    }
    rows += held.count;
  }
  column_linear made;
  made.type = to.type;
  made.in_features = narrow(parts.front().source.in_features);
  made.out_features = narrow(rows);
  made.weight = as_ref(
      to.plan.add(name, weights::weight_role::matrix, weights::stack_rows(std::move(matrices))));
  if (!biases.empty()) {
    made.bias = as_ref(to.plan.add(
        name + ".bias", weights::weight_role::bias, weights::stack_rows(std::move(biases))));
  }
  return made;
}

column_linear declare_whole(declaration& to, const std::string& name, const linear_source& source) {
  const fused_part all[] = {{source, {0, source.out_features}}};
  return declare_column(to, name, all);
}

row_linear declare_row(declaration& to,
                       const std::string& name,
                       const linear_source& source,
                       std::int32_t units) {
  const auto columns = share(units, to.place).times(source.in_features / units);
  row_linear made;
  made.type = to.type;
  made.in_features = narrow(columns.count);
  made.out_features = narrow(source.out_features);
  made.leaves = leaves_of_rank(reduction_leaves(units), to.place.tensor_size);
  made.weight = as_ref(to.plan.add(
      name, weights::weight_role::matrix, {weights::columns_of(matrix_of(source), columns)}));
  if (source.has_bias) {
    const auto bias = vector_of(with_suffix(source.names, ".bias"), source.out_features);
    made.bias =
        as_ref(to.plan.add(name + ".bias", weights::weight_role::bias, {weights::whole(bias)}));
  }
  return made;
}

norm declare_norm(declaration& to,
                  const std::string& name,
                  const std::vector<std::string>& names,
                  const weights::model_config& model,
                  std::int32_t width) {
  norm made{.kind = model.norm,
            .weight = no_weight,
            .bias = no_weight,
            .width = width,
            .eps = model.norm_eps};
  const auto scale = vector_of(with_suffix(names, ".weight"), width);
  made.weight = as_ref(to.plan.add(name, weights::weight_role::norm, {weights::whole(scale)}));
  if (model.norm == weights::norm_kind::layer_norm) {
    const auto bias = vector_of(with_suffix(names, ".bias"), width);
    made.bias =
        as_ref(to.plan.add(name + ".bias", weights::weight_role::bias, {weights::whole(bias)}));
  }
  return made;
}

attention declare_attention(declaration& to,
                            const std::string& name,
                            const attention_source& source,
                            const weights::model_config& model) {
  const auto& place = to.place;
  const auto heads = share(model.heads, place);
  const auto kv_heads = weights::head_range(model.kv_heads, place.tensor_rank, place.tensor_size);
  const fused_part parts[] = {{source.q, heads.times(model.head_dim)},
                              {source.k, kv_heads.times(model.head_dim)},
                              {source.v, kv_heads.times(model.head_dim)}};
  attention made;
  made.qkv = declare_column(to, name + ".qkv", parts);
  if (!source.q_norm.empty()) {
    made.q_norm = declare_head_norm(to, name + ".q_norm", source.q_norm, model);
    made.k_norm = declare_head_norm(to, name + ".k_norm", source.k_norm, model);
  }
  made.out = declare_row(to, name + ".out", source.out, model.heads);
  made.heads = narrow(heads.count);
  made.kv_heads = narrow(kv_heads.count);
  made.head_dim = model.head_dim;
  made.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(model.head_dim)));
  made.window = source.window;
  return made;
}

mlp declare_mlp(declaration& to,
                const std::string& name,
                const mlp_source& source,
                const weights::model_config& model) {
  const auto columns = share(model.intermediate, to.place);
  std::vector<fused_part> parts;
  if (source.kind == mlp_kind::gated) {
    parts.push_back({source.gate, columns});
  }
  parts.push_back({source.up, columns});
  mlp made;
  made.kind = source.kind;
  made.activation = model.activation;
  made.width = narrow(columns.count);
  made.up = declare_column(to, name + ".up", parts);
  made.down = declare_row(to, name + ".down", source.down, model.intermediate);
  return made;
}

vocabulary_embedding declare_embedding(declaration& to,
                                       const std::string& name,
                                       const std::vector<std::string>& names,
                                       const weights::model_config& model) {
  const auto part = part_of_vocabulary(model.vocabulary, to.place);
  return {.table = declare_table(to, name, names, model),
          .type = to.type,
          .first_row = part.first,
          .rows = narrow(part.rows.count + part.padding),
          .width = model.embedding_width};
}

position_embedding declare_positions(declaration& to,
                                     const std::string& name,
                                     const std::vector<std::string>& names,
                                     const weights::model_config& model,
                                     std::int32_t offset) {
  const weights::tensor_ref tensor{.names = with_suffix(names, ".weight"),
                                   .shape = {model.max_positions + offset, model.hidden},
                                   .stored = weights::storage::as_is};
  return {.table =
              as_ref(to.plan.add(name, weights::weight_role::matrix, {weights::whole(tensor)})),
          .type = to.type,
          .offset = offset,
          .width = model.hidden};
}

lm_head declare_lm_head(declaration& to,
                        const std::string& name,
                        const std::vector<std::string>& names,
                        weight_ref tied,
                        const weights::model_config& model) {
  const auto part = part_of_vocabulary(model.vocabulary, to.place);
  lm_head made;
  made.vocabulary = model.vocabulary;
  made.project.type = to.type;
  made.project.in_features = model.embedding_width;
  made.project.out_features = narrow(part.rows.count + part.padding);
  made.project.weight = tied != no_weight ? tied : declare_table(to, name, names, model);
  return made;
}

} // namespace vdist::layers
