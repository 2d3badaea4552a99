// Mutates request lines and output files with a fixed seed: a value or one error of the right kind,
// never anything else.
#include "tests/fuzz/text_material.hpp"
#include "tests/support/temporary_folder.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/request_file.hpp"
#include "runtime/api/result_file.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace vdist;
using namespace vdist::api;
using namespace vdist::testing::fuzz;

namespace {

constexpr int mutations = 600;

const std::vector<std::string> lines{
    R"({"id": "a1", "prompt": "Once upon a time", "max_tokens": 64, "temperature": 0.7})",
    R"({"id": 17, "token_ids": [1, 306, 471], "n": 2, "logprobs": 3, "seed": 5, "stop": ["a", "b"]})",
    R"({"prompt": "h\u00e9", "logit_bias": {"3": 1.5, "4": -100}, "stop_token_ids": [1], "ignore_eos": true})"};

const std::vector<std::string_view> pieces{
    "{",          "}",     "[",    "]",           "\"",      ":",       ",",    "null",
    "-1",         "1e999", "1.5",  "99999999999", "\\u0000", "\\ud800", "\xff", "\xed\xa0\x80",
    "\"id\": 3,", "\n",    "true", "{\"a\":"};

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz)

BOOST_AUTO_TEST_CASE(mutated_request_lines_give_a_valid_request_or_one_clear_error) {
  const auto from = text_material(lines, pieces);
  int accepted = 0;
  for (int i = 0; i < mutations; ++i) {
    const std::string text = text_input(from, i);
    const auto request = parse_request_line(text, "f.jsonl", 1, {});
    BOOST_TEST_INFO("mutation " << i);
    if (request) {
      ++accepted;
      BOOST_TEST(validate(request->params).has_value());
      BOOST_TEST(request->prompt.empty() == request->is_tokenized());
      BOOST_TEST(!invalid_utf8_at(request->prompt + request->id).has_value());
    } else {
      BOOST_TEST((request.error().code == errc::invalid_argument));
      BOOST_TEST(request.error().context.starts_with("f.jsonl:1: "));
      BOOST_TEST(request.error().context.find('\n') == std::string::npos);
      BOOST_TEST(!invalid_utf8_at(request.error().context).has_value());
    }
  }
  BOOST_TEST_MESSAGE(accepted << " of " << mutations << " mutated lines were accepted");
  BOOST_TEST(accepted > 0);
  BOOST_TEST(accepted < mutations);
}

BOOST_AUTO_TEST_CASE(mutated_output_files_never_claim_more_bytes_than_they_have) {
  std::string bytes;
  for (const char* id : {"a", "b", "c"}) {
    file_result r;
    r.id = id;
    r.text = "text";
    r.token_ids = {1, 2};
    bytes += to_line(r);
  }
  const auto from = text_material(std::array{bytes}, pieces);
  const testing::temporary_folder folder;
  for (int i = 0; i < mutations / 2; ++i) {
    const std::string text = text_input(from, i);
    const auto finished = read_finished(folder.write("out.jsonl", text));
    BOOST_TEST_INFO("mutation " << i);
    if (finished) {
      BOOST_TEST(finished->valid_bytes <= text.size());
      BOOST_TEST((finished->valid_bytes == 0 || text[finished->valid_bytes - 1] == '\n'));
    } else {
      BOOST_TEST((finished.error().code == errc::corrupt));
    }
  }
}

BOOST_AUTO_TEST_CASE(any_bytes_are_written_as_valid_json) {
  std::mt19937_64 random(5);
  for (int i = 0; i < mutations; ++i) {
    file_result r;
    r.id = "a";
    for (std::size_t n = random() % 40; n > 0; --n) {
      r.text.push_back(static_cast<char>(random() % 256));
    }
    BOOST_TEST(nlohmann::json::accept(to_line(r)));
  }
}

BOOST_AUTO_TEST_SUITE_END()
