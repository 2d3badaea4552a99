// Bits that must not change: with the number of ranks, the chunks of a prompt, the company in a
// batch, the block size and the epoch (kernels/backend.hpp N-1 … N-3, model/exec/rank_model.hpp
// Logits and tokens are compared bit by bit with one rank that computes each prompt
// alone and whole.
#include "tests/support/model_driver.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <string>
#include <vector>

namespace vdist {

namespace {

using testing::driven_sequence;
using testing::driver_config;
using testing::model_driver;

constexpr std::int32_t steps = 6;

std::filesystem::path model_folder(const std::string& model) {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / model;
}

std::vector<std::vector<token_id>> prompts(const model_driver& driver) {
  const auto vocabulary = static_cast<std::size_t>(driver.model().vocabulary);
  std::vector<std::vector<token_id>> made(3);
  for (std::size_t i = 0; i < made.size(); ++i) {
    for (std::size_t t = 0; t < 5 + 12 * i; ++t) {
      made[i].push_back(static_cast<token_id>((t * 37 + i * 101 + 3) % vocabulary));
    }
  }
  return made;
}

struct generated {
  std::vector<token_id> tokens;
  std::vector<std::vector<float>> logits;
};

/// Every prompt by itself, on a fresh sequence of one driver.
std::vector<generated> generate_alone(model_driver& driver, std::int32_t chunk_tokens = 0) {
  std::vector<generated> made;
  for (const auto& prompt : prompts(driver)) {
    auto sequence = driver.add(prompt);
    driven_sequence* const one[] = {&sequence};
    driver.generate(one, steps, chunk_tokens);
    made.push_back({sequence.sampled, sequence.logits});
  }
  return made;
}

std::vector<generated> generate_together(model_driver& driver, std::int32_t chunk_tokens) {
  std::vector<driven_sequence> sequences;
  std::vector<driven_sequence*> batch;
  for (const auto& prompt : prompts(driver)) {
    sequences.push_back(driver.add(prompt));
  }
  for (auto& sequence : sequences) {
    batch.push_back(&sequence);
  }
  driver.generate(batch, steps, chunk_tokens);
  std::vector<generated> made;
  for (const auto& sequence : sequences) {
    made.push_back({sequence.sampled, sequence.logits});
  }
  return made;
}

/// How many logits differ in any bit.
std::size_t different_bits(const std::vector<generated>& a, const std::vector<generated>& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    BOOST_TEST_REQUIRE(a[i].logits.size() == b[i].logits.size());
    for (std::size_t row = 0; row < a[i].logits.size(); ++row) {
      for (std::size_t v = 0; v < a[i].logits[row].size(); ++v) {
        count +=
            std::memcmp(&a[i].logits[row][v], &b[i].logits[row][v], sizeof(float)) != 0 ? 1U : 0U;
      }
    }
  }
  return count;
}

void check_same(const std::vector<generated>& got, const std::vector<generated>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    BOOST_TEST(got[i].tokens == expected[i].tokens, boost::test_tools::per_element());
  }
  BOOST_TEST(different_bits(got, expected) == 0U);
}

struct split {
  const char* model;
  std::int32_t tensor;
  std::vector<std::int32_t> stage_layers;
};

std::ostream& operator<<(std::ostream& out, const split& one) {
  out << one.model << " tensor " << one.tensor << " layers";
  for (const auto layers : one.stage_layers) {
    out << ' ' << layers;
  }
  return out;
}

const std::vector<split> splits = {
    {"llama2_mha", 1, {2, 2}},
    {"llama2_mha", 1, {1, 1, 1, 1}},
    {"llama2_mha", 2, {4}},
    {"llama2_mha", 2, {3, 1}},
    {"llama2_mha", 4, {4}},
    {"llama2_mha", 4, {1, 3}},
    {"llama2_mha", 8, {4}},
    {"llama2_mha", 8, {2, 2}},
    {"llama2_mha", 2, {1, 1, 1, 1}},
    {"llama2_mha", 8, {1, 1, 1, 1}},
    {"llama3_gqa", 2, {3}},
    {"llama3_gqa", 4, {2, 1}},
    {"llama3_gqa", 8, {3}},
    {"llama32_tied", 2, {1, 1}},
    {"llama32_tied", 8, {2}},
    {"llama_bias", 4, {1, 1}},
    {"llama_bias", 8, {2}},
    {"gpt2", 2, {1, 1}},
    {"gpt2", 4, {2}},
    {"gpt2", 8, {1, 1}},
    {"mistral_window", 2, {1, 1}},
    {"mistral_window", 4, {2}},
    {"qwen2_tied", 1, {1, 1}},
    {"qwen2_tied", 2, {2}},
    {"qwen2_tied", 4, {1, 1}},
    {"qwen2_window", 2, {2, 1}},
    {"qwen2_window", 4, {1, 1, 1}},
    {"qwen3", 2, {2}},
    {"qwen3", 4, {1, 1}},
    {"opt", 2, {1, 1}},
    {"opt", 4, {2}},
    {"opt_post_norm", 1, {1, 1}},
    {"opt_post_norm", 2, {2}},
    {"opt_post_norm", 4, {1, 1}},
    {"phi3_short", 2, {2}},
    {"phi3_short", 4, {1, 1}},
    {"phi3_long", 2, {1, 1}},
    {"phi3_long", 4, {2}},
};

} // namespace

BOOST_AUTO_TEST_SUITE(invariance)

BOOST_DATA_TEST_CASE(every_split_gives_the_bits_of_one_rank,
                     boost::unit_test::data::make(splits),
                     one) {
  model_driver alone({.folder = model_folder(one.model)});
  model_driver split_up(
      {.folder = model_folder(one.model), .tensor = one.tensor, .stage_layers = one.stage_layers});
  check_same(generate_together(split_up, 5), generate_alone(alone));
}

BOOST_DATA_TEST_CASE(chunks_of_a_prompt_change_no_bit,
                     boost::unit_test::data::make({1, 3, 7}),
                     chunk_tokens) {
  for (const auto* model : {"llama3_gqa", "gpt2", "mistral_window", "qwen3", "opt_post_norm"}) {
    model_driver whole({.folder = model_folder(model)});
    model_driver chunked({.folder = model_folder(model)});
    check_same(generate_alone(chunked, chunk_tokens), generate_alone(whole));
  }
}

BOOST_AUTO_TEST_CASE(company_in_a_batch_changes_no_bit) {
  for (const auto* model :
       {"llama3_gqa", "llama2_mha", "gpt2", "mistral_window", "qwen3", "opt_post_norm"}) {
    model_driver alone({.folder = model_folder(model)});
    model_driver together({.folder = model_folder(model)});
    check_same(generate_together(together, 0), generate_alone(alone));
  }
}

BOOST_AUTO_TEST_CASE(the_block_size_changes_no_bit) {
  model_driver large({.folder = model_folder("llama3_gqa")});
  driver_config small{.folder = model_folder("llama3_gqa")};
  small.limits.block_size = 4;
  small.limits.blocks = 384;
  model_driver fine(small);
  check_same(generate_together(fine, 7), generate_together(large, 0));
}

BOOST_AUTO_TEST_CASE(threads_of_a_rank_change_no_bit) {
  model_driver one({.folder = model_folder("llama3_gqa")});
  model_driver two({.folder = model_folder("llama3_gqa"), .backend_threads = 2});
  check_same(generate_together(two, 0), generate_together(one, 0));
}

BOOST_AUTO_TEST_CASE(a_new_epoch_continues_with_the_same_tokens) {
  for (const std::int32_t tensor : {1, 2}) {
    const driver_config config{
        .folder = model_folder("llama3_gqa"), .tensor = tensor, .stage_layers = {2, 1}};
    model_driver undisturbed(config);
    const auto expected = generate_alone(undisturbed);
    model_driver disturbed(config);
    auto sequence = disturbed.add(prompts(disturbed)[1]);
    driven_sequence* const one[] = {&sequence};
    disturbed.generate(one, 3, 4);
    disturbed.start_epoch();
    sequence.is_announced = false; // the KV of `computed` tokens is still in the blocks
    disturbed.generate(one, steps, 4);
    check_same({{sequence.sampled, sequence.logits}}, {expected[1]});
  }
}

BOOST_AUTO_TEST_CASE(a_new_incarnation_takes_over_weights_and_kv) {
  const driver_config config{.folder = model_folder("llama3_gqa"), .tensor = 2};
  model_driver undisturbed(config);
  const auto expected = generate_alone(undisturbed);
  auto first = std::make_unique<model_driver>(config);
  auto sequence = first->add(prompts(*first)[1]);
  driven_sequence* const one[] = {&sequence};
  first->generate(one, 3);
  const auto memory = first->memory();
  const auto epoch = first->current_epoch();
  first.reset();
  model_driver second(config, memory, epoch);
  BOOST_TEST(second.load_reports() == second.ranks());
  sequence.is_announced = false;
  sequence.blocks_sent = 0;
  second.generate(one, steps);
  check_same({{sequence.sampled, sequence.logits}}, {expected[1]});
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
