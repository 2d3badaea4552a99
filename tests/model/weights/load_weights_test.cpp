// Every cut of two toy models against the definitions of tensor parallelism, written out element by
// element.
#include "model/weights/load_weights.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/model/weights/toy_models.hpp"
#include "tests/support/safetensors_writer.hpp"
#include "tests/support/temporary_folder.hpp"

#include "model/weights/checkpoint.hpp"
#include "model/weights/random_source.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using kernels::dtype;
using vdist::testing::temporary_folder;

constexpr dtype all_types[] = {dtype::float32, dtype::bfloat16, dtype::float16};
constexpr std::int32_t all_sizes[] = {1, 2, 4, 8};

/// An aligned region, full of garbage with a canary behind it.
class region {
public:
  explicit region(std::size_t bytes)
      : bytes_(bytes), memory_(static_cast<std::byte*>(::operator new(bytes + 1, alignment))) {
    std::memset(memory_, 0xA5, bytes + 1);
  }

  region(const region&) = delete;
  region& operator=(const region&) = delete;

  ~region() { ::operator delete(memory_, alignment); }

  [[nodiscard]] std::span<std::byte> span() { return {memory_, bytes_}; }

  [[nodiscard]] bool is_canary_alive() const { return memory_[bytes_] == std::byte{0xA5}; }

  [[nodiscard]] std::vector<float> values(const weight& held) const {
    return decoded(
        memory_ + held.offset, static_cast<std::size_t>(held.shape.elements()), held.type);
  }

private:
  static constexpr std::align_val_t alignment{weight_alignment};
  std::size_t bytes_;
  std::byte* memory_;
};

/// Where a rank's element comes from, straight from the definition; nullptr: padding.
struct origin {
  const toy_tensor* tensor = nullptr;
  std::int64_t row = 0;
  std::int64_t column = 0;
};

using origin_of = std::function<origin(std::int64_t row, std::int64_t column)>;

void check_weight(const region& memory,
                  const weight_plan& plan,
                  const std::string& name,
                  dtype stored,
                  const origin_of& from) {
  const weight* held = plan.find(name);
  BOOST_REQUIRE_MESSAGE(held != nullptr, name << " is not in the plan");
  const std::vector<float> values = memory.values(*held);
  std::size_t wrong = 0;
  for (std::int64_t row = 0; row < held->shape.rows; ++row) {
    for (std::int64_t column = 0; column < held->shape.width(); ++column) {
      const origin source = from(row, column);
      const float expected =
          source.tensor == nullptr
              ? 0.0F
              : rounded(source.tensor->at(source.row, source.column), stored, held->type);
      const float value = values[static_cast<std::size_t>(row * held->shape.width() + column)];
      wrong += value == expected ? 0 : 1;
    }
  }
  BOOST_TEST(wrong == 0U, name << ": " << wrong << " wrong elements");
}

/// Rank's rows of a stack of column-parallel tensors: rank r holds the r-th of `parts` equal parts
/// of each.
struct stacked {
  const toy_tensor* tensor;
  std::int64_t first; // first row of the rank's part
  std::int64_t rows;
};

origin_of from_stack(std::vector<stacked> parts) {
  return [parts](std::int64_t row, std::int64_t column) {
    for (const stacked& part : parts) {
      if (row < part.rows) {
        return origin{part.tensor, part.first + row, column};
      }
      row -= part.rows;
    }
    return origin{};
  };
}

origin_of from_columns(const toy_tensor& tensor, std::int64_t first) {
  return [&tensor, first](std::int64_t row, std::int64_t column) {
    return origin{&tensor, row, first + column};
  };
}

origin_of from_words(const toy_tensor& tensor, std::int32_t rank, std::int32_t size) {
  const std::int64_t share = (tensor.shape.rows + size - 1) / size;
  return [&tensor, first = rank * share](std::int64_t row, std::int64_t column) {
    return first + row < tensor.shape.rows ? origin{&tensor, first + row, column} : origin{};
  };
}

void check_llama(const region& memory,
                 const weight_plan& plan,
                 const toy_checkpoint& full,
                 dtype stored,
                 std::int32_t rank,
                 std::int32_t size) {
  const toy_sizes& s = toy_llama_sizes;
  const std::int64_t q = s.heads * s.head_dim / size;
  // With 2 KV heads, 4 ranks hold them as 0 0 1 1 and 8 ranks as 0 0 0 0 1 1 1 1.
  const std::int64_t kv = size <= s.kv_heads ? s.kv_heads * s.head_dim / size : s.head_dim;
  const std::int64_t kv_first =
      size <= s.kv_heads ? rank * kv : rank * s.kv_heads / size * s.head_dim;
  const std::int64_t inner = s.intermediate / size;
  check_weight(memory,
               plan,
               "embedding",
               stored,
               from_words(full.at("model.embed_tokens.weight"), rank, size));
  check_weight(memory, plan, "lm_head", stored, from_words(full.at("lm_head.weight"), rank, size));
  check_weight(memory, plan, "norm", stored, from_columns(full.at("model.norm.weight"), 0));
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string ours = "layers." + std::to_string(layer) + ".";
    const auto tensor = [&full, &ours](const char* name) {
      return &full.at("model." + ours + name);
    };
    check_weight(memory,
                 plan,
                 ours + "attention.qkv",
                 stored,
                 from_stack({{tensor("self_attn.q_proj.weight"), rank * q, q},
                             {tensor("self_attn.k_proj.weight"), kv_first, kv},
                             {tensor("self_attn.v_proj.weight"), kv_first, kv}}));
    check_weight(memory,
                 plan,
                 ours + "attention.out",
                 stored,
                 from_columns(*tensor("self_attn.o_proj.weight"), rank * q));
    check_weight(memory,
                 plan,
                 ours + "mlp.gate_up",
                 stored,
                 from_stack({{tensor("mlp.gate_proj.weight"), rank * inner, inner},
                             {tensor("mlp.up_proj.weight"), rank * inner, inner}}));
    check_weight(memory,
                 plan,
                 ours + "mlp.down",
                 stored,
                 from_columns(*tensor("mlp.down_proj.weight"), rank * inner));
    check_weight(memory,
                 plan,
                 ours + "attention_norm",
                 stored,
                 from_columns(*tensor("input_layernorm.weight"), 0));
    check_weight(memory,
                 plan,
                 ours + "mlp_norm",
                 stored,
                 from_columns(*tensor("post_attention_layernorm.weight"), 0));
  }
}

void check_gpt2(const region& memory,
                const weight_plan& plan,
                const toy_checkpoint& full,
                const std::string& prefix,
                dtype stored,
                std::int32_t rank,
                std::int32_t size) {
  const toy_sizes& s = toy_gpt2_sizes;
  const std::int64_t part = s.hidden / size;
  const auto tensor = [&full, &prefix](const char* name) {
    return &full.at(prefix + name);
  };
  const auto fused = [part, rank, &s](const toy_tensor* qkv) {
    return from_stack({{qkv, rank * part, part},
                       {qkv, s.hidden + rank * part, part},
                       {qkv, 2 * s.hidden + rank * part, part}});
  };
  check_weight(memory, plan, "embedding", stored, from_words(*tensor("wte.weight"), rank, size));
  check_weight(memory, plan, "positions", stored, from_columns(*tensor("wpe.weight"), 0));
  check_weight(
      memory, plan, "layers.0.attention.qkv", stored, fused(tensor("h.0.attn.c_attn.weight")));
  check_weight(
      memory, plan, "layers.0.attention.qkv.bias", stored, fused(tensor("h.0.attn.c_attn.bias")));
  check_weight(memory,
               plan,
               "layers.0.attention.out",
               stored,
               from_columns(*tensor("h.0.attn.c_proj.weight"), rank * part));
  check_weight(memory,
               plan,
               "layers.0.attention.out.bias",
               stored,
               from_columns(*tensor("h.0.attn.c_proj.bias"), 0));
  check_weight(
      memory, plan, "layers.0.attention_norm", stored, from_columns(*tensor("h.0.ln_1.weight"), 0));
  check_weight(memory,
               plan,
               "layers.0.attention_norm.bias",
               stored,
               from_columns(*tensor("h.0.ln_1.bias"), 0));
}

void require_loaded(const result<void>& loaded) {
  BOOST_REQUIRE_MESSAGE(loaded.has_value(), (loaded ? std::string() : loaded.error().context));
}

result<checkpoint> opened(const temporary_folder& folder) {
  return checkpoint::open(folder.path());
}

} // namespace

BOOST_AUTO_TEST_CASE(every_llama_shard_holds_its_part_of_every_tensor_in_every_type) {
  const toy_checkpoint full = toy_llama(toy_llama_sizes);
  for (const dtype stored : all_types) {
    const temporary_folder folder;
    folder.write("model.safetensors", safetensors_of(full, stored));
    const auto source = opened(folder);
    BOOST_REQUIRE(source.has_value());
    for (const dtype held : all_types) {
      for (const std::int32_t size : all_sizes) {
        for (std::int32_t rank = 0; rank < size; ++rank) {
          BOOST_TEST_CONTEXT(kernels::to_string(stored) << " to " << kernels::to_string(held)
                                                        << ", rank " << rank << " of " << size) {
            const weight_plan plan = llama_plan(toy_llama_sizes, held, rank, size);
            region memory(plan.bytes);
            require_loaded(load_weights(plan, *source, memory.span()));
            check_llama(memory, plan, full, stored, rank, size);
            BOOST_TEST(memory.is_canary_alive());
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_gpt2_shard_is_transposed_and_cut_under_both_name_styles) {
  for (const std::string& prefix : {std::string("transformer."), std::string()}) {
    const toy_checkpoint full = toy_gpt2(toy_gpt2_sizes, prefix);
    for (const dtype stored : all_types) {
      const temporary_folder folder;
      folder.write("model.safetensors", safetensors_of(full, stored));
      const auto source = opened(folder);
      BOOST_REQUIRE(source.has_value());
      for (const dtype held : all_types) {
        for (const std::int32_t size : all_sizes) {
          for (std::int32_t rank = 0; rank < size; ++rank) {
            BOOST_TEST_CONTEXT(kernels::to_string(stored) << " to " << kernels::to_string(held)
                                                          << ", rank " << rank << " of " << size) {
              const weight_plan plan = gpt2_plan(toy_gpt2_sizes, held, rank, size);
              region memory(plan.bytes);
              require_loaded(load_weights(plan, *source, memory.span()));
              check_gpt2(memory, plan, full, prefix, stored, rank, size);
            }
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_generated_model_is_the_same_full_model_for_every_split) {
  const random_source source(9);
  // The full tensors, each read in one run, stand for the checkpoint.
  toy_checkpoint llama = toy_llama(toy_llama_sizes);
  toy_checkpoint gpt2 = toy_gpt2(toy_gpt2_sizes, "transformer.");
  for (toy_checkpoint* full : {&llama, &gpt2}) {
    for (auto& [name, tensor] : *full) {
      const weight_role role = name.ends_with(".bias")    ? weight_role::bias
                               : tensor.shape.is_vector() ? weight_role::norm
                                                          : weight_role::matrix;
      const auto reader = source.open({.names = {name}, .shape = tensor.shape}, role);
      std::vector<float> stored(tensor.values.size());
      BOOST_REQUIRE((*reader)->read(
          {.count = tensor.shape.elements()},
          {.data = reinterpret_cast<std::byte*>(stored.data()), .type = dtype::float32}));
      for (std::int64_t i = 0; i < tensor.shape.elements(); ++i) {
        const bool is_transposed = tensor.stored == storage::transposed;
        const std::int64_t row = is_transposed ? i % tensor.shape.rows : i / tensor.shape.width();
        const std::int64_t column =
            is_transposed ? i / tensor.shape.rows : i % tensor.shape.width();
        tensor.values[static_cast<std::size_t>(row * tensor.shape.width() + column)] =
            stored[static_cast<std::size_t>(i)];
      }
    }
  }
  for (const dtype held : all_types) {
    for (const std::int32_t size : all_sizes) {
      for (std::int32_t rank = 0; rank < size; ++rank) {
        const weight_plan first = llama_plan(toy_llama_sizes, held, rank, size);
        region memory(first.bytes);
        require_loaded(load_weights(first, source, memory.span()));
        check_llama(memory, first, llama, dtype::float32, rank, size);
        const weight_plan second = gpt2_plan(toy_gpt2_sizes, held, rank, size);
        region other(second.bytes);
        require_loaded(load_weights(second, source, other.span()));
        check_gpt2(other, second, gpt2, "transformer.", dtype::float32, rank, size);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_region_depends_on_plan_and_source_only_and_progress_rises_to_the_end) {
  const weight_plan plan = gpt2_plan(toy_gpt2_sizes, dtype::bfloat16, 1, 2);
  const random_source source(3);
  region reference(plan.bytes);
  require_loaded(load_weights(plan, source, reference.span()));
  for (const std::int32_t threads : {1, 2, 5}) {
    region memory(plan.bytes);
    std::size_t last = 0;
    bool is_rising = true;
    const auto progress = [&last, &is_rising, &plan](std::size_t done, std::size_t total) {
      is_rising = is_rising && done >= last && done <= total && total == plan.bytes;
      last = done;
    };
    require_loaded(
        load_weights(plan, source, memory.span(), {.threads = threads, .progress = progress}));
    BOOST_TEST(is_rising);
    BOOST_TEST(last == plan.bytes);
    BOOST_TEST(std::memcmp(memory.span().data(), reference.span().data(), plan.bytes) == 0);
  }
}

BOOST_AUTO_TEST_CASE(the_gaps_behind_odd_sizes_are_zero) {
  weight_plan_builder builder(dtype::bfloat16);
  builder.add("a", weight_role::matrix, {whole({.names = {"a"}, .shape = {3, 5}})});
  builder.add("b", weight_role::norm, {whole({.names = {"b"}, .shape = {17}})});
  const weight_plan plan = std::move(builder).build();
  region memory(plan.bytes);
  require_loaded(load_weights(plan, random_source(1), memory.span()));
  for (std::size_t at = 0; at < plan.bytes; ++at) {
    const bool is_gap = (at >= 30 && at < 64) || at >= 64 + 68;
    BOOST_TEST((!is_gap || memory.span()[at] == std::byte{0}));
  }
}

BOOST_AUTO_TEST_CASE(a_single_weight_loads_as_it_does_with_its_plan) {
  const weight_plan plan = llama_plan(toy_llama_sizes, dtype::float16, 1, 4);
  const random_source source(3);
  region all(plan.bytes);
  require_loaded(load_weights(plan, source, all.span()));
  for (const weight& held : plan.weights) {
    region one(held.bytes());
    require_loaded(load_weight(held, source, one.span()));
    BOOST_TEST(std::memcmp(one.span().data(), all.span().data() + held.offset, held.bytes()) == 0);
    BOOST_TEST(one.is_canary_alive());
  }
  region small(plan.weights[0].bytes() - 1);
  BOOST_TEST(
      (load_weight(plan.weights[0], source, small.span()).error().code == errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(a_region_that_is_too_small_or_misaligned_is_refused) {
  const weight_plan plan = llama_plan(toy_llama_sizes, dtype::float16, 0, 1);
  const random_source source(3);
  region memory(plan.bytes + weight_alignment);
  const auto load = [&](std::size_t first, std::size_t count, std::int32_t threads) {
    return load_weights(plan, source, memory.span().subspan(first, count), {.threads = threads})
        .error()
        .context;
  };
  BOOST_TEST(load(0, plan.bytes - 1, 1).find("too small") != std::string::npos);
  BOOST_TEST(load(2, plan.bytes, 1).find("not aligned") != std::string::npos);
  BOOST_TEST(load(0, plan.bytes, 0).find("legal=1 to 64") != std::string::npos);
}

namespace {

/// Loads one weight from a checkpoint that holds one tensor; returns the error.
error load_one(std::string_view name,
               std::string_view type,
               const std::vector<std::int64_t>& shape,
               std::string_view bytes,
               const tensor_ref& wanted,
               dtype held) {
  const temporary_folder folder;
  vdist::testing::safetensors_writer writer;
  writer.add(name, type, shape, bytes);
  folder.write("model.safetensors", writer.file());
  const auto source = opened(folder);
  BOOST_REQUIRE_MESSAGE(source.has_value(), (source ? std::string() : source.error().context));
  weight_plan_builder builder(held);
  builder.add("w", weight_role::matrix, {whole(wanted)});
  const weight_plan plan = std::move(builder).build();
  region memory(plan.bytes);
  return error_of(load_weights(plan, *source, memory.span(), {.threads = 2}));
}

} // namespace

BOOST_AUTO_TEST_CASE(a_checkpoint_that_does_not_fit_the_plan_is_an_error_that_names_both) {
  const std::string zeros(48, '\0');
  const tensor_ref wanted{.names = {"a.b", "b"}, .shape = {3, 4}};
  BOOST_TEST(says(load_one("b", "F32", {3, 4}, zeros, wanted, dtype::bfloat16), errc::ok));
  BOOST_TEST(says(load_one("c", "F32", {3, 4}, zeros, wanted, dtype::bfloat16),
                  errc::not_found,
                  {"a.b, b", "vdist_test_"}));
  BOOST_TEST(says(load_one("b", "F32", {4, 3}, zeros, wanted, dtype::bfloat16),
                  errc::corrupt,
                  {"model.safetensors", "tensor=b", "shape=[4, 3]", "expected=[3, 4]"}));
  BOOST_TEST(
      says(load_one("b", "F32", {12}, zeros, wanted, dtype::bfloat16), errc::corrupt, {"[12]"}));
  BOOST_TEST(says(load_one("b", "I32", {3, 4}, zeros, wanted, dtype::bfloat16),
                  errc::unsupported,
                  {"tensor=b", "dtype=I32", "F32 BF16 F16"}));
  BOOST_TEST(says(load_one("b", "F8_E4M3", {3, 4}, zeros.substr(12 * 3), wanted, dtype::bfloat16),
                  errc::unsupported,
                  {"dtype=F8_E4M3"}));
  const std::string large = encoded({1, 2, 1e6F, 4}, dtype::bfloat16);
  BOOST_TEST(says(load_one("v", "BF16", {4}, large, {.names = {"v"}, .shape = {4}}, dtype::float16),
                  errc::unsupported,
                  {"tensor=v", "dtype=float16"}));
}

BOOST_AUTO_TEST_CASE(the_pieces_of_a_large_transposed_matrix_meet_exactly) {
  // More rows than the transposition buffer holds, more columns than a piece.
  const tensor_ref stored{.names = {"t"}, .shape = {2'100, 1'300}, .stored = storage::transposed};
  const index_range columns{37, 1'231};
  const random_source source(5);
  std::vector<float> all(2'100 * 1'300);
  BOOST_REQUIRE(
      (*source.open(stored, weight_role::matrix))
          ->read({.count = 2'100 * 1'300},
                 {.data = reinterpret_cast<std::byte*>(all.data()), .type = dtype::float32}));
  for (const dtype held : {dtype::float32, dtype::bfloat16}) {
    weight_plan_builder builder(held);
    builder.add("t", weight_role::matrix, {columns_of(stored, columns)});
    const weight_plan plan = std::move(builder).build();
    region memory(plan.bytes);
    require_loaded(load_weights(plan, source, memory.span(), {.threads = 3}));
    const std::vector<float> values = memory.values(plan.weights[0]);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i) / columns.count;
      const auto column = columns.first + static_cast<std::int64_t>(i) % columns.count;
      const float expected = all[static_cast<std::size_t>(column * 2'100 + row)];
      wrong += values[i] == rounded(expected, dtype::float32, held) ? 0 : 1;
    }
    BOOST_TEST(wrong == 0U);
    BOOST_TEST(memory.is_canary_alive());
  }
}

namespace {

/// Every read waits until `wanted` threads are reading.
class meeting_source final : public weight_source {
public:
  explicit meeting_source(int wanted) : wanted_(wanted) {}

  result<std::unique_ptr<tensor_reader>> open(const tensor_ref& /*tensor*/,
                                              weight_role /*role*/) const override {
    return std::unique_ptr<tensor_reader>(std::make_unique<reader>(*this));
  }

private:
  struct reader final : tensor_reader {
    explicit reader(const meeting_source& meeting) : source(meeting) {}

    result<void> read(const tensor_block& /*block*/, const block_target& /*target*/) override {
      std::unique_lock lock(source.mutex_);
      ++source.reading_;
      source.changed_.notify_all();
      const bool met = source.changed_.wait_for(
          lock, std::chrono::seconds(20), [this] { return source.reading_ >= source.wanted_; });
      return met ? result<void>() : fail(errc::timed_out, "alone");
    }

    const meeting_source& source;
  };

  int wanted_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int reading_ = 0; // never falls: the first `wanted_` reads are by different threads
};

/// Fails from its `good` + 1st read on.
class failing_source final : public weight_source {
public:
  explicit failing_source(int good) : good_(good) {}

  result<std::unique_ptr<tensor_reader>> open(const tensor_ref& /*tensor*/,
                                              weight_role /*role*/) const override {
    ++opened;
    return std::unique_ptr<tensor_reader>(std::make_unique<reader>(opened <= good_));
  }

  mutable std::atomic<int> opened = 0;

private:
  struct reader final : tensor_reader {
    explicit reader(bool is_good) : good(is_good) {}

    result<void> read(const tensor_block& /*block*/, const block_target& /*target*/) override {
      return good ? result<void>() : fail(errc::io_failed, "read x: broken (tensor=t)");
    }

    bool good;
  };

  int good_;
};

/// One matrix of 7 pieces.
weight_plan one_large_matrix() {
  weight_plan_builder builder(dtype::float32);
  builder.add("t", weight_role::matrix, {whole({.names = {"t"}, .shape = {7 * 1'024, 1'024}})});
  return std::move(builder).build();
}

} // namespace

BOOST_AUTO_TEST_CASE(L_1_one_large_tensor_keeps_all_threads_busy) {
  const weight_plan plan = one_large_matrix();
  region memory(plan.bytes);
  require_loaded(load_weights(plan, meeting_source(5), memory.span(), {.threads = 5}));
}

BOOST_AUTO_TEST_CASE(the_first_failed_read_ends_the_load_with_its_error) {
  const weight_plan plan = one_large_matrix();
  region memory(plan.bytes);
  const failing_source source(2);
  BOOST_TEST(says(error_of(load_weights(plan, source, memory.span())),
                  errc::io_failed,
                  {"read x: broken (tensor=t)"}));
  BOOST_TEST(source.opened == 3);
}
