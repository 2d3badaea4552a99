// A small trained model, as float32, bfloat16 and float16 files: cuts of it against the bytes of
// the file itself.
#include "tests/model/weights/expected_error.hpp"
#include "tests/model/weights/toy_models.hpp"
#include "tests/support/test_data.hpp"

#include "model/weights/checkpoint.hpp"
#include "model/weights/load_weights.hpp"
#include "model/weights/model_config.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <fstream>
#include <iterator>
#include <memory>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using kernels::dtype;

constexpr std::array<std::string_view, 1> supported{"llama"};

struct aligned_delete {
  void operator()(std::byte* memory) const {
    ::operator delete(memory, std::align_val_t(weight_alignment));
  }
};

struct loaded_model {
  weight_plan plan;
  std::unique_ptr<std::byte, aligned_delete> memory;

  [[nodiscard]] std::vector<float> values(std::string_view name) const {
    const weight* held = plan.find(name);
    BOOST_REQUIRE(held != nullptr);
    return decoded(
        memory.get() + held->offset, static_cast<std::size_t>(held->shape.elements()), held->type);
  }
};

toy_sizes sizes_of(const model_config& config) {
  return {.layers = config.layers,
          .hidden = config.hidden,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .intermediate = config.intermediate,
          .vocabulary = config.vocabulary};
}

loaded_model
load(const std::filesystem::path& folder, dtype held, std::int32_t rank, std::int32_t size) {
  const auto config = read_model_config(folder, supported);
  BOOST_REQUIRE_MESSAGE(config.has_value(), error_of(config).context);
  const auto source = checkpoint::open(folder);
  BOOST_REQUIRE_MESSAGE(source.has_value(), error_of(source).context);
  loaded_model model{llama_plan(sizes_of(*config), held, rank, size), {}};
  model.memory.reset(static_cast<std::byte*>(
      ::operator new(model.plan.bytes, std::align_val_t(weight_alignment))));
  const auto outcome = load_weights(model.plan, *source, {model.memory.get(), model.plan.bytes});
  BOOST_REQUIRE_MESSAGE(outcome.has_value(), error_of(outcome).context);
  return model;
}

/// A tensor's elements, read with a plain stream at the place that the header states.
std::vector<float> naive(const std::filesystem::path& folder, std::string_view name) {
  const auto source = checkpoint::open(folder);
  const checkpoint::stored_tensor* stored = source->find(name);
  BOOST_REQUIRE(stored != nullptr);
  std::ifstream file(folder / "model.safetensors", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::size_t data =
      8 + static_cast<unsigned char>(bytes[0]) + 256U * static_cast<unsigned char>(bytes[1]);
  const std::size_t count =
      (stored->entry.end - stored->entry.begin) / kernels::size_of(*stored->entry.type);
  return decoded(reinterpret_cast<const std::byte*>(bytes.data()) + data + stored->entry.begin,
                 count,
                 *stored->entry.type);
}

} // namespace

BOOST_AUTO_TEST_SUITE(real_weights, *vdist::testing::needs_test_data())

BOOST_AUTO_TEST_CASE(stories_260K_loads_in_all_three_types_at_every_split) {
  const auto base = *vdist::testing::test_data_dir() / "weights" / "stories260K";
  for (const auto& folder : {base, base / "bf16", base / "fp16"}) {
    const auto down = naive(folder, "model.layers.4.mlp.down_proj.weight");   // [64, 172]
    const auto key = naive(folder, "model.layers.0.self_attn.k_proj.weight"); // [32, 64]
    const auto table = naive(folder, "model.embed_tokens.weight");
    for (const std::int32_t size : {1, 2, 4}) {
      for (std::int32_t rank = 0; rank < size; ++rank) {
        const loaded_model model = load(folder, dtype::float32, rank, size);
        const auto ours = model.values("layers.4.mlp.down");
        const auto width = static_cast<std::size_t>(172 / size);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < ours.size(); ++i) {
          wrong +=
              ours[i] == down[i / width * 172 + static_cast<std::size_t>(rank) * width + i % width]
                  ? 0
                  : 1;
        }
        const auto qkv = model.values("layers.0.attention.qkv");
        const auto kv = static_cast<std::size_t>(32 / size * 64); // elements of this rank's keys
        for (std::size_t i = 0; i < kv; ++i) {
          wrong += qkv[2 * kv + i] == key[static_cast<std::size_t>(rank) * kv + i] ? 0 : 1;
        }
        // Tied: the head's second name is the embedding.
        const auto head = model.values("lm_head");
        BOOST_TEST(head == model.values("embedding"));
        wrong += head.front() == table[static_cast<std::size_t>(rank) * head.size()] ? 0 : 1;
        BOOST_TEST(wrong == 0U, folder.string() << " rank " << rank << " of " << size);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_narrow_file_and_a_narrowed_wide_file_agree) {
  const auto base = *vdist::testing::test_data_dir() / "weights" / "stories260K";
  const loaded_model narrow = load(base / "bf16", dtype::bfloat16, 1, 2);
  const loaded_model narrowed = load(base, dtype::bfloat16, 1, 2);
  const loaded_model half = load(base / "fp16", dtype::float16, 1, 2);
  const loaded_model halved = load(base, dtype::float16, 1, 2);
  for (const char* name :
       {"embedding", "layers.0.attention.qkv", "layers.2.mlp.gate_up", "layers.4.mlp.down"}) {
    BOOST_TEST(narrow.values(name) == narrowed.values(name), name);
    BOOST_TEST(half.values(name) == halved.values(name), name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
