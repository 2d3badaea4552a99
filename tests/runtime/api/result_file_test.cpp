#include "runtime/api/result_file.hpp"

#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

using namespace vdist;
using namespace vdist::api;

namespace {

file_result result_of(std::string id, std::string text) {
  file_result r;
  r.id = std::move(id);
  r.text = std::move(text);
  r.token_ids = {5, 6};
  r.prompt_tokens = 3;
  r.times = {1.25, 0.5, 2.0};
  return r;
}

finished_requests read(const std::string& bytes) {
  const testing::temporary_folder folder;
  const auto finished = read_finished(folder.write("out.jsonl", bytes));
  BOOST_REQUIRE_MESSAGE(finished.has_value(),
                        (finished.has_value() ? std::string() : finished.error().context));
  return *finished;
}

} // namespace

BOOST_AUTO_TEST_SUITE(result_lines)

BOOST_AUTO_TEST_CASE(a_result_is_one_line_with_its_fields_in_order) {
  BOOST_TEST(to_line(result_of("a", "hi\n"))
             == "{\"id\":\"a\",\"text\":\"hi\\n\",\"token_ids\":[5,6],\"finish_reason\":\"stop\","
                "\"prompt_tokens\":3,"
                "\"timings\":{\"ttft_ms\":1.25,\"tpot_ms\":0.5,\"total_ms\":2.0}}\n");
}

BOOST_AUTO_TEST_CASE(logprobs_and_index_are_written_when_set) {
  file_result r = result_of("a", "x");
  r.index = 1;
  r.reason = protocol::finish_reason::length;
  r.logprobs = {
      {{5, "x", -0.5F}, {{5, "x", -0.5F}, {9, "y", -std::numeric_limits<float>::infinity()}}}};
  const auto json = nlohmann::json::parse(to_line(r));
  BOOST_TEST(json["index"] == 1);
  BOOST_TEST(json["finish_reason"] == "length");
  BOOST_TEST(json["logprobs"][0]["id"] == 5);
  BOOST_TEST(json["logprobs"][0]["logprob"] == -0.5);
  BOOST_TEST(json["logprobs"][0]["top"][1]["text"] == "y");
  BOOST_TEST(json["logprobs"][0]["top"][1]["logprob"] == -9999.0);
}

BOOST_AUTO_TEST_CASE(bytes_that_are_not_utf8_become_replacement_characters) {
  for (const std::string& bad : {std::string("ok\xff"),
                                 std::string("\xe2\x82"),
                                 std::string("\xc0\x80z"),
                                 std::string("\xed\xa0\x80")}) {
    file_result r = result_of("a\xfe", bad);
    r.logprobs = {{{5, bad, 0.0F}, {}}};
    const std::string line = to_line(r);
    const auto json = nlohmann::json::parse(line);
    BOOST_TEST(json["text"].get<std::string>().find("\xef\xbf\xbd") != std::string::npos);
    BOOST_TEST(line.find('\n') == line.size() - 1);
  }
  BOOST_TEST(nlohmann::json::parse(to_line(result_of("a", "h\xc3\xa9")))["text"] == "h\xc3\xa9");
}

BOOST_AUTO_TEST_CASE(an_error_names_code_and_message) {
  BOOST_TEST(
      error_line("a", fail(errc::invalid_argument, "no \"x\""))
      == "{\"id\":\"a\",\"error\":{\"code\":\"invalid_argument\",\"message\":\"no \\\"x\\\"\"}}\n");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(resume)

BOOST_AUTO_TEST_CASE(a_file_that_does_not_exist_is_empty) {
  const auto finished = read_finished("/no/such/output.jsonl");
  BOOST_REQUIRE(finished.has_value());
  BOOST_TEST(finished->indices.empty());
  BOOST_TEST(finished->valid_bytes == 0U);
}

BOOST_AUTO_TEST_CASE(finds_what_is_finished) {
  file_result second = result_of("b", "x");
  second.index = 1;
  const std::string bytes = to_line(result_of("a", "x")) + to_line(second)
                            + error_line("c", fail(errc::timed_out, "t"))
                            + error_line("d", fail(errc::timed_out, "t"), 0);
  const finished_requests f = read(bytes);
  BOOST_TEST(f.valid_bytes == bytes.size());
  BOOST_TEST(f.is_finished("a", 1));
  BOOST_TEST(!f.is_finished("a", 2));
  BOOST_TEST(!f.is_finished("b", 2));
  BOOST_TEST(f.has("b", 1));
  BOOST_TEST(!f.has("b", 0));
  BOOST_TEST(f.is_finished("c", 5)); // the whole request failed
  BOOST_TEST(f.is_finished("d", 1));
  BOOST_TEST(!f.is_finished("d", 2));
  BOOST_TEST(!f.is_finished("z", 1));
}

BOOST_AUTO_TEST_CASE(a_file_cut_anywhere_keeps_its_whole_lines) {
  const std::string lines[] = {to_line(result_of("a", "one")),
                               to_line(result_of("b", "tw\xc3\xb6")),
                               to_line(result_of("c", "x"))};
  const std::string bytes = lines[0] + lines[1] + lines[2];
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const finished_requests f = read(bytes.substr(0, cut));
    std::uint64_t whole = 0;
    std::size_t count = 0;
    for (const std::string& line : lines) {
      if (whole + line.size() <= cut) {
        whole += line.size();
        ++count;
      } else {
        break;
      }
    }
    BOOST_TEST(f.valid_bytes == whole);
    BOOST_TEST(f.indices.size() == count);
  }
}

BOOST_AUTO_TEST_CASE(a_last_line_of_garbage_is_cut_and_one_in_the_middle_is_refused) {
  const std::string good = to_line(result_of("a", "x"));
  const finished_requests f = read(good + std::string(100, '\0') + "\n");
  BOOST_TEST(f.valid_bytes == good.size());
  const testing::temporary_folder folder;
  for (const std::string& bad :
       {std::string("{\"id\": \"b\"}\n"), std::string("oops\n"), std::string("\n")}) {
    const auto refused = read_finished(folder.write("out.jsonl", good + bad + good));
    BOOST_REQUIRE(!refused.has_value());
    BOOST_TEST((refused.error().code == errc::corrupt));
    BOOST_TEST(refused.error().context.find("line=2") != std::string::npos);
  }
}

BOOST_AUTO_TEST_SUITE_END()
