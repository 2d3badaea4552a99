#include "runtime/api/request_file.hpp"

#include <boost/test/unit_test.hpp>

#include <sstream>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::api;

namespace {

file_request accepted(std::string_view text, const sampling_params& base = {}) {
  const auto request = parse_request_line(text, "r.jsonl", 7, base);
  BOOST_REQUIRE_MESSAGE(request.has_value(),
                        (request.has_value() ? std::string() : request.error().context));
  return *request;
}

std::string refused(std::string_view text) {
  const auto request = parse_request_line(text, "r.jsonl", 7, {});
  BOOST_REQUIRE_MESSAGE(!request.has_value(), "was accepted: " << text);
  BOOST_TEST((request.error().code == errc::invalid_argument));
  return request.error().context;
}

} // namespace

BOOST_AUTO_TEST_SUITE(request_lines)

BOOST_AUTO_TEST_CASE(reads_every_field) {
  const file_request r =
      accepted(R"({"id": "a", "prompt": "Hé", "temperature": 0.5, "top_p": 0.75, "top_k": 3,
    "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 1,
    "logit_bias": {"9": -100, "3": 5}, "seed": 18446744073709551615, "stop": ["x", "y"], "stop_token_ids": [4, 5],
    "include_stop_str_in_output": true, "min_tokens": 1, "max_tokens": 9, "ignore_eos": true, "n": 2, "logprobs": 4,
    "skip_special_tokens": false, "priority": -3})");
  sampling_params expected;
  expected.temperature = 0.5F;
  expected.top_p = 0.75F;
  expected.top_k = 3;
  expected.min_p = 0.25F;
  expected.repetition_penalty = 1.5F;
  expected.presence_penalty = -1;
  expected.frequency_penalty = 1;
  expected.logit_bias = {{3, 5.0F}, {9, -100.0F}};
  expected.seed = 18446744073709551615U;
  expected.stop = {"x", "y"};
  expected.stop_token_ids = {4, 5};
  expected.include_stop_str_in_output = true;
  expected.min_tokens = 1;
  expected.max_tokens = 9;
  expected.ignore_eos = true;
  expected.n = 2;
  expected.logprobs = 4;
  expected.skip_special_tokens = false;
  expected.priority = -3;
  BOOST_TEST((r.params == expected));
  BOOST_TEST(r.id == "a");
  BOOST_TEST(r.prompt == "H\xc3\xa9");
  BOOST_TEST(r.line == 7U);
  BOOST_TEST(!r.is_tokenized());
}

BOOST_AUTO_TEST_CASE(what_a_line_does_not_name_comes_from_the_base) {
  sampling_params base;
  base.temperature = 0.125F;
  base.max_tokens = 33;
  base.seed = 5;
  base.stop = {"end"};
  const file_request r =
      accepted(R"({"token_ids": [1, 2], "top_k": 4, "max_tokens": null, "seed": -1})", base);
  BOOST_TEST(r.params.temperature == 0.125F);
  BOOST_TEST(r.params.max_tokens.value() == 33); // null leaves it
  BOOST_TEST(!r.params.seed.has_value());        // -1 takes it away
  BOOST_TEST(r.params.top_k == 4);
  BOOST_TEST(r.params.stop.at(0) == "end");
  BOOST_TEST(r.token_ids.size() == 2U);
  BOOST_TEST(r.is_tokenized());
}

BOOST_AUTO_TEST_CASE(an_id_is_a_text_or_a_number_or_else_the_line) {
  BOOST_TEST(accepted(R"({"prompt": "a"})").id == "7");
  BOOST_TEST(accepted(R"({"prompt": "a", "id": 12345678901234567890})").id
             == "12345678901234567890");
  BOOST_TEST(accepted(R"({"prompt": "a", "id": -3})").id == "-3");
  BOOST_TEST(refused(R"({"prompt": "a", "id": 1.5})")
             == "r.jsonl:7: id must be a string or an integer (got 1.5)");
  BOOST_TEST(refused(R"({"prompt": "a", "id": ""})")
             == "r.jsonl:7: id has a wrong length (bytes=0); legal: 1 to 512");
}

BOOST_AUTO_TEST_CASE(a_mistake_names_file_line_and_field) {
  const std::vector<std::pair<std::string, std::string>> mistakes{
      {R"({"prompt": "a", "temprature": 1})", "unknown field temprature"},
      {R"({"prompt": "a", "max_tokens": 1, "max_tokens": 2})", "field max_tokens is there twice"},
      {R"({"prompt": "a", "token_ids": [1]})",
       "exactly one of prompt and token_ids must be given (given=2)"},
      {R"({"id": "x"})", "exactly one of prompt and token_ids must be given (given=0)"},
      {R"({"prompt": ""})", "prompt must be a text that is not empty (got \"\")"},
      {R"({"prompt": ["a"]})", "prompt must be a text that is not empty (got a list of 1)"},
      {R"({"token_ids": []})", "token_ids must not be empty"},
      {R"({"token_ids": [1, 2.5]})", "token_ids must be an integer of 32 bits (got 2.5)"},
      {R"({"token_ids": [-1]})", "token_ids must be a list of token ids, none negative (got -1)"},
      {R"({"token_ids": "1"})", "token_ids must be a list of token ids (got \"1\")"},
      {R"({"prompt": "a", "max_tokens": 1.0})",
       "max_tokens must be an integer of 32 bits (got 1.0)"},
      {R"({"prompt": "a", "max_tokens": 4294967297})",
       "max_tokens must be an integer of 32 bits (got 4294967297)"},
      {R"({"prompt": "a", "max_tokens": 18446744073709551615})",
       "max_tokens must be an integer of 32 bits (got 18446744073709551615)"},
      {R"({"prompt": "a", "top_k": -2147483649})",
       "top_k must be an integer of 32 bits (got -2147483649)"},
      {R"({"prompt": "a", "temperature": "1"})", "temperature must be a number (got \"1\")"},
      {R"({"prompt": "a", "temperature": 1e300})",
       "temperature must be a number that fits 32 bits (got 1e+300)"},
      {R"({"prompt": "a", "temperature": 3})",
       "sampling: temperature is out of range (temperature=3); legal: 0 to 2, 0 is greedy"},
      {R"({"prompt": "a", "ignore_eos": 1})", "ignore_eos must be true or false (got 1)"},
      {R"({"prompt": "a", "stop": 1})", "stop must be a string or a list of strings (got 1)"},
      {R"({"prompt": "a", "stop": ["a", 1]})",
       "stop must be a string or a list of strings (got a list of 2)"},
      {R"({"prompt": "a", "stop": ["a", "b", "c", "d", "e"]})",
       "stop must be a list of at most 4 strings (got a list of 5)"},
      {R"({"prompt": "a", "seed": -2})",
       "seed must be an integer from 0 to 18446744073709551615, or -1 for none (got -2)"},
      {R"({"prompt": "a", "logit_bias": [1]})",
       "logit_bias must be an object of token id to bias (got a list of 1)"},
      {R"({"prompt": "a", "logit_bias": {"x": 1}})",
       "logit_bias must have token ids as names (got \"x\")"},
      {R"({"prompt": "a", "logit_bias": {"": 1}})",
       "logit_bias must have token ids as names (got \"\")"},
      {R"({"prompt": "a", "logit_bias": {"01": 1, "1": 2}})", "logit_bias names token id 1 twice"},
      {R"({"prompt": "a", "logit_bias": {"1": "x"}})", "logit_bias must be a number (got \"x\")"},
      {R"({"prompt": {"a": {"b": {}}}})", "nested too deep; legal: 3 levels"},
      {"[1]", "must be a json object (got a list of 1)"},
      {"{\"prompt\": \"\xc3\"}", "not valid utf-8 (byte=13)"},
      {R"({"prompt": "a")", "not valid json (byte=15)"},
      {"prompt", "not valid json (byte=1)"},
  };
  for (const auto& [text, message] : mistakes) {
    BOOST_TEST(refused(text) == "r.jsonl:7: " + message);
  }
}

BOOST_AUTO_TEST_CASE(reads_a_file_line_by_line) {
  std::istringstream in("\xEF\xBB\xBF{\"prompt\": \"a\"}\r\n\n  \t\n{\"prompt\": \"b\", \"id\": "
                        "\"x\"}\n{\"prompt\": \"c\"}");
  request_reader reader(in, "r.jsonl", {});
  std::vector<std::string> ids;
  while (true) {
    const auto next = reader.next();
    BOOST_REQUIRE(next.has_value());
    if (!*next) {
      break;
    }
    ids.push_back((*next)->id);
  }
  BOOST_TEST(ids == (std::vector<std::string>{"1", "x", "5"}), boost::test_tools::per_element());
  BOOST_TEST(!reader.next().value().has_value());
}

BOOST_AUTO_TEST_CASE(goes_on_behind_a_bad_line_and_refuses_an_id_that_was_used) {
  std::istringstream in("{\"prompt\": \"a\", \"id\": 3}\n{oops}\n{\"prompt\": \"b\"}\n{\"prompt\": "
                        "\"c\", \"id\": 4}\n");
  request_reader reader(in, "r.jsonl", {});
  BOOST_TEST(reader.next().has_value());
  BOOST_TEST(reader.next().error().context.starts_with("r.jsonl:2: not valid json"));
  BOOST_TEST(reader.next().error().context == "r.jsonl:3: id was used before (id=3, line=1)");
  BOOST_TEST(reader.next().value()->id == "4");
  BOOST_TEST(reader.line() == 4U);
}

BOOST_AUTO_TEST_CASE(a_line_without_end_is_bounded) {
  std::istringstream in(std::string(line_bytes_max + 10, 'x') + "\n{\"prompt\": \"a\"}\n");
  request_reader reader(in, "r.jsonl", {});
  BOOST_TEST(reader.next().error().context
             == "r.jsonl:1: line is too long; legal: at most 16777216 bytes");
  BOOST_TEST(reader.next().value()->id == "2");
}

BOOST_AUTO_TEST_SUITE_END()
