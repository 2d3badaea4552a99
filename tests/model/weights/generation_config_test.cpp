#include "model/weights/generation_config.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/test_data.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;

} // namespace

BOOST_AUTO_TEST_CASE(reads_every_setting_and_leaves_the_others_unset) {
  const auto config = parse_generation_config(
      R"({"do_sample":true,"temperature":0.7,"top_p":0.8,"top_k":20,"min_p":0.05,"repetition_penalty":1.1,
          "bos_token_id":1,"eos_token_id":[2,3],"max_length":7,"pad_token_id":null})",
      "g.json");
  BOOST_REQUIRE(config.has_value());
  BOOST_TEST(config->do_sample.value());
  BOOST_TEST(config->temperature.value() == 0.7);
  BOOST_TEST(config->top_p.value() == 0.8);
  BOOST_TEST(config->top_k.value() == 20);
  BOOST_TEST(config->min_p.value() == 0.05);
  BOOST_TEST(config->repetition_penalty.value() == 1.1);
  BOOST_TEST(config->bos.value() == 1);
  BOOST_TEST(config->eos == std::vector<token_id>({2, 3}));
  const auto empty = parse_generation_config(R"({"temperature":null})", "g.json");
  BOOST_REQUIRE(empty.has_value());
  BOOST_TEST(!empty->temperature.has_value());
  BOOST_TEST(empty->eos.empty());
}

BOOST_AUTO_TEST_CASE(an_illegal_setting_names_file_key_and_legal_values) {
  for (const char* text :
       {R"({"temperature":-1})", R"({"temperature":"warm"})", R"({"temperature":1e999})"}) {
    BOOST_TEST((error_of(parse_generation_config(text, "g.json")).code == errc::corrupt));
  }
  BOOST_TEST(says(error_of(parse_generation_config(R"({"top_p":1.5})", "g.json")),
                  errc::corrupt,
                  {"g.json", "key=top_p", "value=1.5", "legal=number from 1e-09 to 1"}));
  BOOST_TEST(says(error_of(parse_generation_config(R"({"top_k":-1})", "g.json")),
                  errc::corrupt,
                  {"key=top_k"}));
  BOOST_TEST(says(error_of(parse_generation_config(R"({"eos_token_id":[1,"2"]})", "g.json")),
                  errc::corrupt,
                  {"key=eos_token_id", "or a list of them"}));
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_an_empty_configuration) {
  const vdist::testing::temporary_folder folder;
  const auto config = read_generation_config(folder.path());
  BOOST_REQUIRE(config.has_value());
  BOOST_TEST(!config->do_sample.has_value());
}

BOOST_AUTO_TEST_CASE(every_real_file_is_read, *vdist::testing::needs_test_data()) {
  int files = 0;
  const auto configs = *vdist::testing::test_data_dir() / "configs";
  for (const auto& entry : std::filesystem::directory_iterator(configs)) {
    if (std::filesystem::exists(entry.path() / "generation_config.json")) {
      const auto config = read_generation_config(entry.path());
      BOOST_TEST(config.has_value(), entry.path().string());
      BOOST_TEST(!config->eos.empty(), entry.path().string());
      ++files;
    }
  }
  const auto llama = read_generation_config(configs / "Llama-3.1-8B-Instruct");
  BOOST_TEST(llama->eos == std::vector<token_id>({128001, 128008, 128009}));
  BOOST_TEST(llama->temperature.value() == 0.6);
  BOOST_TEST(files > 3);
}
