#include "tests/model/weights/toy_models.hpp"

#include "tests/support/safetensors_writer.hpp"

#include "model/weights/convert.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace vdist::weights::testing {

namespace {

/// Fills tensors with normal values from one generator, so that every element differs from its
/// neighbours.
class toy_writer {
public:
  void add(const std::string& name, tensor_shape shape, storage stored = storage::as_is) {
    toy_tensor tensor{.shape = shape, .stored = stored};
    tensor.values.resize(static_cast<std::size_t>(shape.elements()));
    for (float& value : tensor.values) {
      value = normal_(random_);
    }
    checkpoint.emplace(name, std::move(tensor));
  }

  toy_checkpoint checkpoint;

private:
  std::mt19937 random_{5};
  std::normal_distribution<float> normal_;
};

std::string layer_name(std::int64_t layer) {
  return "layers." + std::to_string(layer) + ".";
}

} // namespace

toy_checkpoint toy_llama(const toy_sizes& s) {
  toy_writer writer;
  writer.add("model.embed_tokens.weight", {s.vocabulary, s.hidden});
  writer.add("model.norm.weight", {s.hidden});
  writer.add("lm_head.weight", {s.vocabulary, s.hidden});
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string at = "model." + layer_name(layer);
    writer.add(at + "input_layernorm.weight", {s.hidden});
    writer.add(at + "self_attn.q_proj.weight", {s.heads * s.head_dim, s.hidden});
    writer.add(at + "self_attn.k_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    writer.add(at + "self_attn.v_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    writer.add(at + "self_attn.o_proj.weight", {s.hidden, s.heads * s.head_dim});
    writer.add(at + "mlp.gate_proj.weight", {s.intermediate, s.hidden});
    writer.add(at + "mlp.up_proj.weight", {s.intermediate, s.hidden});
    writer.add(at + "mlp.down_proj.weight", {s.hidden, s.intermediate});
    writer.add(at + "post_attention_layernorm.weight", {s.hidden});
  }
  return std::move(writer.checkpoint);
}

toy_checkpoint toy_gpt2(const toy_sizes& s, const std::string& prefix) {
  toy_writer writer;
  writer.add(prefix + "wte.weight", {s.vocabulary, s.hidden});
  writer.add(prefix + "wpe.weight", {s.positions, s.hidden});
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string at = prefix + "h." + std::to_string(layer) + ".";
    writer.add(at + "ln_1.weight", {s.hidden});
    writer.add(at + "ln_1.bias", {s.hidden});
    writer.add(at + "attn.c_attn.weight", {3 * s.hidden, s.hidden}, storage::transposed);
    writer.add(at + "attn.c_attn.bias", {3 * s.hidden});
    writer.add(at + "attn.c_proj.weight", {s.hidden, s.hidden}, storage::transposed);
    writer.add(at + "attn.c_proj.bias", {s.hidden});
  }
  return std::move(writer.checkpoint);
}

weight_plan
llama_plan(const toy_sizes& s, kernels::dtype type, std::int32_t rank, std::int32_t size) {
  weight_plan_builder builder(type);
  const auto matrix = [](const std::string& name, std::int64_t rows, std::int64_t columns) {
    return tensor_ref{.names = {name}, .shape = {rows, columns}};
  };
  const auto vector = [&s](const std::string& name) {
    return tensor_ref{.names = {name}, .shape = {s.hidden}};
  };
  const toy_part words = part_of(s.vocabulary, rank, size);
  builder.add("embedding",
              weight_role::matrix,
              {rows_of(matrix("model.embed_tokens.weight", s.vocabulary, s.hidden), words.rows)},
              words.padding);
  const index_range q_rows = head_range(s.heads, rank, size).times(s.head_dim);
  const index_range kv_rows = head_range(s.kv_heads, rank, size).times(s.head_dim);
  const index_range inner = even_range(s.intermediate, rank, size);
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string ours = layer_name(layer);
    const std::string at = "model." + ours;
    builder.add(
        ours + "attention_norm", weight_role::norm, {whole(vector(at + "input_layernorm.weight"))});
    builder.add(
        ours + "attention.qkv",
        weight_role::matrix,
        stack_rows(
            {rows_of(matrix(at + "self_attn.q_proj.weight", s.heads * s.head_dim, s.hidden),
                     q_rows),
             rows_of(matrix(at + "self_attn.k_proj.weight", s.kv_heads * s.head_dim, s.hidden),
                     kv_rows),
             rows_of(matrix(at + "self_attn.v_proj.weight", s.kv_heads * s.head_dim, s.hidden),
                     kv_rows)}));
    builder.add(ours + "attention.out",
                weight_role::matrix,
                {columns_of(matrix(at + "self_attn.o_proj.weight", s.hidden, s.heads * s.head_dim),
                            q_rows)});
    builder.add(ours + "mlp_norm",
                weight_role::norm,
                {whole(vector(at + "post_attention_layernorm.weight"))});
    builder.add(
        ours + "mlp.gate_up",
        weight_role::matrix,
        stack_rows({rows_of(matrix(at + "mlp.gate_proj.weight", s.intermediate, s.hidden), inner),
                    rows_of(matrix(at + "mlp.up_proj.weight", s.intermediate, s.hidden), inner)}));
    builder.add(ours + "mlp.down",
                weight_role::matrix,
                {columns_of(matrix(at + "mlp.down_proj.weight", s.hidden, s.intermediate), inner)});
  }
  builder.add("norm", weight_role::norm, {whole(vector("model.norm.weight"))});
  // The output head of a tied model names the embedding; this one falls back to it.
  tensor_ref head = matrix("lm_head.weight", s.vocabulary, s.hidden);
  head.names.emplace_back("model.embed_tokens.weight");
  builder.add("lm_head", weight_role::matrix, {rows_of(head, words.rows)}, words.padding);
  return std::move(builder).build();
}

weight_plan
gpt2_plan(const toy_sizes& s, kernels::dtype type, std::int32_t rank, std::int32_t size) {
  weight_plan_builder builder(type);
  const auto tensor =
      [](const std::string& name, tensor_shape shape, storage stored = storage::as_is) {
        return tensor_ref{.names = {"transformer." + name, name}, .shape = shape, .stored = stored};
      };
  const toy_part words = part_of(s.vocabulary, rank, size);
  builder.add("embedding",
              weight_role::matrix,
              {rows_of(tensor("wte.weight", {s.vocabulary, s.hidden}), words.rows)},
              words.padding);
  builder.add(
      "positions", weight_role::matrix, {whole(tensor("wpe.weight", {s.positions, s.hidden}))});
  const index_range part = head_range(s.heads, rank, size).times(s.head_dim);
  const auto fused = [&part, &s](const tensor_ref& qkv) {
    return stack_rows({rows_of(qkv, part),
                       rows_of(qkv, part.shifted(s.hidden)),
                       rows_of(qkv, part.shifted(2 * s.hidden))});
  };
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string ours = layer_name(layer);
    const std::string at = "h." + std::to_string(layer) + ".";
    builder.add(ours + "attention_norm",
                weight_role::norm,
                {whole(tensor(at + "ln_1.weight", {s.hidden}))});
    builder.add(ours + "attention_norm.bias",
                weight_role::bias,
                {whole(tensor(at + "ln_1.bias", {s.hidden}))});
    builder.add(
        ours + "attention.qkv",
        weight_role::matrix,
        fused(tensor(at + "attn.c_attn.weight", {3 * s.hidden, s.hidden}, storage::transposed)));
    builder.add(ours + "attention.qkv.bias",
                weight_role::bias,
                fused(tensor(at + "attn.c_attn.bias", {3 * s.hidden})));
    builder.add(
        ours + "attention.out",
        weight_role::matrix,
        {columns_of(tensor(at + "attn.c_proj.weight", {s.hidden, s.hidden}, storage::transposed),
                    part)});
    builder.add(ours + "attention.out.bias",
                weight_role::bias,
                {whole(tensor(at + "attn.c_proj.bias", {s.hidden}))});
  }
  return std::move(builder).build();
}

std::string safetensors_of(const toy_checkpoint& checkpoint, kernels::dtype type) {
  vdist::testing::safetensors_writer writer;
  const std::string_view type_name = type == kernels::dtype::float32    ? "F32"
                                     : type == kernels::dtype::bfloat16 ? "BF16"
                                                                        : "F16";
  for (const auto& [name, tensor] : checkpoint) {
    std::vector<std::int64_t> shape{tensor.shape.rows};
    std::vector<float> values = tensor.values;
    if (!tensor.shape.is_vector()) {
      shape.push_back(tensor.shape.columns);
    }
    if (tensor.stored == storage::transposed) {
      std::swap(shape[0], shape[1]);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto at = static_cast<std::int64_t>(i);
        values[i] = tensor.at(at % tensor.shape.rows, at / tensor.shape.rows);
      }
    }
    writer.add(name, type_name, shape, encoded(values, type));
  }
  return writer.file();
}

std::string encoded(const std::vector<float>& values, kernels::dtype type) {
  std::vector<float> aligned(values.size());
  auto* bytes = reinterpret_cast<std::byte*>(aligned.data());
  static_cast<void>(convert_floats(values.data(), type, bytes, values.size()));
  return {reinterpret_cast<const char*>(bytes), values.size() * kernels::size_of(type)};
}

std::vector<float> decoded(const std::byte* bytes, std::size_t count, kernels::dtype type) {
  std::vector<float> values(count);
  static_cast<void>(convert(
      type, bytes, kernels::dtype::float32, reinterpret_cast<std::byte*>(values.data()), count));
  return values;
}

float rounded(float value, kernels::dtype stored, kernels::dtype held) {
  for (const kernels::dtype type : {stored, held}) {
    if (type == kernels::dtype::bfloat16) {
      value = float_from_bfloat16(bfloat16_from_float(value));
    } else if (type == kernels::dtype::float16) {
      value = float_from_float16(float16_from_float(value));
    }
  }
  return value;
}

toy_part part_of(std::int64_t total, std::int32_t rank, std::int32_t size) {
  const std::int64_t share = (total + size - 1) / size;
  const std::int64_t first = std::min(rank * share, total);
  const std::int64_t count = std::min(share, total - first);
  return {.rows = {first, count}, .padding = share - count};
}

} // namespace vdist::weights::testing
