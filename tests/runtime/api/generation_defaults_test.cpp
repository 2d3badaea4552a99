#include "runtime/api/generation_defaults.hpp"

#include "tests/support/test_data.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

using namespace vdist;
using namespace vdist::api;

namespace {

generation_defaults parsed(std::string_view text) {
  const auto defaults = parse_generation_config(text, "g.json");
  BOOST_REQUIRE_MESSAGE(defaults.has_value(),
                        (defaults.has_value() ? std::string() : defaults.error().context));
  return *defaults;
}

std::string refused(std::string_view text) {
  const auto defaults = parse_generation_config(text, "g.json");
  BOOST_REQUIRE(!defaults.has_value());
  BOOST_TEST((defaults.error().code == errc::corrupt));
  return defaults.error().context;
}

} // namespace

BOOST_AUTO_TEST_SUITE(generation)

BOOST_AUTO_TEST_CASE(reads_values_and_ignores_what_other_tools_keep_there) {
  const generation_defaults d =
      parsed(R"({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05,
    "do_sample": true, "eos_token_id": [128001, 128009], "bos_token_id": 128000, "max_new_tokens": 64,
    "transformers_version": "4.42.3", "watermarking_config": {"a": [1]}})");
  BOOST_TEST(d.temperature.value() == 0.6F);
  BOOST_TEST(d.top_p.value() == 0.9F);
  BOOST_TEST(d.top_k.value() == 20);
  BOOST_TEST(d.repetition_penalty.value() == 1.05F);
  BOOST_TEST(d.eos_ids == (std::vector<token_id>{128001, 128009}),
             boost::test_tools::per_element());
  BOOST_TEST(d.bos_id.value() == 128000);
  BOOST_TEST(d.max_new_tokens.value() == 64);
  BOOST_TEST(!d.min_p.has_value());
}

BOOST_AUTO_TEST_CASE(one_eos_id_is_a_list_of_one_and_null_is_unset) {
  BOOST_TEST(parsed(R"({"eos_token_id": 2})").eos_ids.size() == 1U);
  BOOST_TEST((parsed(R"({"eos_token_id": null, "top_k": null})") == generation_defaults{}));
  BOOST_TEST((parsed("{}") == generation_defaults{}));
}

BOOST_AUTO_TEST_CASE(lays_the_model_s_values_over_neutral_ones) {
  const sampling_params p = default_params(parsed(R"({"temperature": 0.25, "top_k": 7})"));
  BOOST_TEST(p.temperature == 0.25F);
  BOOST_TEST(p.top_k == 7);
  BOOST_TEST(p.top_p == 1.0F);
  BOOST_TEST(!p.max_tokens.has_value());
  BOOST_TEST((default_params({}) == sampling_params{}));
}

BOOST_AUTO_TEST_CASE(a_mistake_names_file_and_key) {
  BOOST_TEST(refused(R"({"temperature": "hot"})")
             == "g.json: temperature must be a number (got \"hot\")");
  BOOST_TEST(refused(R"({"top_p": 1.5})")
                 .starts_with("g.json: sampling: top_p is out of range (top_p=1.5)"));
  BOOST_TEST(refused(R"({"max_new_tokens": 0})").find("max_tokens=0") != std::string::npos);
  BOOST_TEST(refused(R"({"eos_token_id": [1, -1]})").starts_with("g.json: eos_token_id must be"));
  BOOST_TEST(refused("[]") == "g.json: must be a json object (got a list of 0)");
  BOOST_TEST(refused("{").starts_with("g.json: not valid json (byte="));
}

BOOST_AUTO_TEST_CASE(reads_the_files_of_real_models, *testing::needs_test_data()) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(*testing::test_data_dir())) {
    if (entry.path().filename() == "generation_config.json") {
      std::ifstream in(entry.path());
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      const auto defaults = parse_generation_config(text, entry.path().string());
      BOOST_TEST(defaults.has_value(),
                 (defaults.has_value() ? std::string() : defaults.error().context));
      ++files;
    }
  }
  BOOST_TEST(files > 0);
}

BOOST_AUTO_TEST_SUITE_END()
