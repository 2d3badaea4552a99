// The forward pass against Hugging Face transformers (tests/golden/models/record.py) and against a
// model that was really trained. Logits: relative error (norm of the difference over the norm)
// within the bound of the element type. Tokens: float32 generates freely and must repeat all 64
// tokens; the recorder chose models whose margins allow that. bfloat16 and float16 are fed the
// reference's tokens, and every sampled token must be the reference's wherever the reference's own
// margin between its two best logits is above twice the error bound: below it the reference is as
// uncertain as we are.
#include "tests/support/model_driver.hpp"
#include "tests/support/test_data.hpp"

#include "model/weights/checkpoint.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace vdist {

namespace {

using testing::driven_sequence;
using testing::model_driver;

struct golden_case {
  const char* model;
  const char* type;
};

std::ostream& operator<<(std::ostream& out, const golden_case& one) {
  return out << one.model << " in " << one.type;
}

kernels::dtype type_of(const std::string& name) {
  return name == "float32"    ? kernels::dtype::float32
         : name == "bfloat16" ? kernels::dtype::bfloat16
                              : kernels::dtype::float16;
}

/// Greatest relative error of a row of logits.
double bound_of(const std::string& type) {
  return type == "float32" ? 1e-4 : type == "bfloat16" ? 2e-2 : 4e-3;
}

std::filesystem::path golden_folder(const std::string& model) {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / model;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  BOOST_REQUIRE_MESSAGE(file, "cannot read " << path);
  return nlohmann::json::parse(file);
}

/// The recorded logits of a prompt's last positions, [positions][vocabulary].
std::vector<std::vector<float>> read_logits(const std::filesystem::path& file,
                                            const std::string& name,
                                            std::size_t positions,
                                            std::size_t vocabulary) {
  std::ifstream in(file, std::ios::binary);
  std::uint64_t header_bytes = 0;
  in.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string text(header_bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(header_bytes));
  const auto offset =
      nlohmann::json::parse(text).at(name).at("data_offsets").at(0).get<std::uint64_t>();
  in.seekg(static_cast<std::streamoff>(sizeof(header_bytes) + header_bytes + offset));
  std::vector<std::vector<float>> rows(positions, std::vector<float>(vocabulary));
  for (auto& row : rows) {
    in.read(reinterpret_cast<char*>(row.data()),
            static_cast<std::streamsize>(vocabulary * sizeof(float)));
  }
  BOOST_REQUIRE_MESSAGE(in, "cannot read " << name << " of " << file);
  return rows;
}

/// Every recorded model in every element type.
std::vector<golden_case> make_cases() {
  std::vector<golden_case> cases;
  for (const auto* model : {"llama2_mha",
                            "llama3_gqa",
                            "llama32_tied",
                            "llama_bias",
                            "gpt2",
                            "mistral_window",
                            "qwen2_tied",
                            "qwen2_window",
                            "qwen3",
                            "opt",
                            "opt_post_norm",
                            "phi3_short",
                            "phi3_long"}) {
    for (const auto* type : {"float32", "bfloat16", "float16"}) {
      cases.push_back({model, type});
    }
  }
  return cases;
}

const std::vector<golden_case> all_cases = make_cases();

struct recorded {
  std::vector<std::vector<token_id>> prompts;
  std::vector<std::vector<token_id>> greedy;
  std::vector<std::vector<double>> margins; // in standard deviations of the logits
};

recorded read_recorded(const golden_case& one) {
  const auto json = read_json(golden_folder(one.model) / "expected.json");
  recorded made;
  made.prompts = json.at("prompts").get<std::vector<std::vector<token_id>>>();
  for (const auto& run : json.at("cases").at(one.type)) {
    made.greedy.push_back(run.at("greedy").get<std::vector<token_id>>());
    made.margins.push_back(run.at("margins").get<std::vector<double>>());
  }
  return made;
}

constexpr exec::runner_limits story_limits{.max_batch_tokens = 64,
                                           .max_sequences = 8,
                                           .max_positions = 512,
                                           .blocks = 128,
                                           .block_size = 16};

/// The stories model in a half-precision folder repeats the reference's greedy tokens of that type.
void check_story_in(const std::string& type) {
  const auto folder = *testing::test_data_dir() / "weights" / "stories260K";
  const auto tokens =
      read_json(folder / "reference.json").at(type + "_greedy_ids").get<std::vector<token_id>>();
  model_driver driver({.folder = folder / type, .limits = story_limits});
  auto sequence = driver.add({tokens.front()});
  driven_sequence* const one_sequence[] = {&sequence};
  driver.generate(one_sequence, static_cast<std::int32_t>(tokens.size() - 1));
  BOOST_TEST(sequence.sampled == std::vector<token_id>(tokens.begin() + 1, tokens.end()),
             boost::test_tools::per_element());
}

} // namespace

BOOST_AUTO_TEST_SUITE(golden)

BOOST_DATA_TEST_CASE(logits_agree_with_transformers, boost::unit_test::data::make(all_cases), one) {
  model_driver driver({.folder = golden_folder(one.model), .type = type_of(one.type)});
  const auto expected = read_recorded(one);
  double worst = 0;
  for (std::size_t i = 0; i < expected.prompts.size(); ++i) {
    const auto& prompt = expected.prompts[i];
    const auto positions = std::min<std::size_t>(prompt.size(), 4);
    const auto rows = read_logits(golden_folder(one.model) / "expected.safetensors",
                                  "logits_" + std::string(one.type) + "_" + std::to_string(i),
                                  positions,
                                  static_cast<std::size_t>(driver.model().vocabulary));
    // The last positions are fed one by one, so that each of them is sampled.
    const auto fed = static_cast<std::ptrdiff_t>(prompt.size() - positions + 1);
    auto sequence = driver.add({prompt.begin(), prompt.begin() + fed});
    driven_sequence* const one_sequence[] = {&sequence};
    driver.generate(one_sequence,
                    static_cast<std::int32_t>(positions),
                    0,
                    {{prompt.begin() + fed, prompt.end()}});
    worst = std::max(worst, testing::relative_error(sequence.logits, rows));
  }
  BOOST_TEST_MESSAGE(one << ": relative error of the logits " << worst);
  BOOST_TEST(worst <= bound_of(one.type));
}

BOOST_DATA_TEST_CASE(greedy_tokens_agree_with_transformers,
                     boost::unit_test::data::make(all_cases),
                     one) {
  model_driver driver({.folder = golden_folder(one.model), .type = type_of(one.type)});
  const auto expected = read_recorded(one);
  std::vector<driven_sequence> sequences;
  std::vector<driven_sequence*> batch;
  sequences.reserve(expected.prompts.size());
  for (const auto& prompt : expected.prompts) {
    sequences.push_back(driver.add(prompt));
    batch.push_back(&sequences.back());
  }
  const bool is_free = std::string(one.type) == "float32";
  driver.generate(batch, 64, 0, is_free ? std::vector<std::vector<token_id>>{} : expected.greedy);
  std::size_t uncertain = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    for (std::size_t step = 0; step < 64; ++step) {
      if (!is_free && expected.margins[i][step] <= 2 * bound_of(one.type)) {
        ++uncertain;
        continue;
      }
      BOOST_TEST_INFO("prompt " << i << " step " << step << " margin "
                                << expected.margins[i][step]);
      BOOST_TEST(sequences[i].sampled[step] == expected.greedy[i][step]);
    }
  }
  BOOST_TEST_MESSAGE(one << ": " << uncertain << " of " << 64 * sequences.size()
                         << " tokens not compared");
  BOOST_TEST(uncertain <= 64U);
}

BOOST_AUTO_TEST_CASE(a_trained_model_tells_its_story, *testing::needs_test_data()) {
  const auto folder = *testing::test_data_dir() / "weights" / "stories260K";
  const auto reference = read_json(folder / "reference.json");
  model_driver driver({.folder = folder, .limits = story_limits});
  for (const auto& story : reference.at("cases")) {
    const auto prompt = story.at("prompt_ids").get<std::vector<token_id>>();
    const auto tokens =
        story.at("greedy_ids").get<std::vector<token_id>>(); // the prompt, then the continuation
    auto sequence = driver.add(prompt);
    driven_sequence* const one_sequence[] = {&sequence};
    const auto steps = static_cast<std::int32_t>(tokens.size() - prompt.size());
    driver.generate(one_sequence, steps);
    BOOST_TEST(sequence.sampled
                   == std::vector<token_id>(
                       tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end()),
               boost::test_tools::per_element());
    const auto first = story.at("first_logits").get<std::vector<float>>();
    BOOST_TEST(testing::relative_error({sequence.logits.front()}, {first}) <= 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(a_trained_model_in_bfloat16_tells_the_reference_story,
                     *testing::needs_test_data()) {
  check_story_in("bf16");
}

BOOST_AUTO_TEST_CASE(a_trained_model_in_float16_tells_the_reference_story,
                     *testing::needs_test_data()) {
  check_story_in("fp16");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
