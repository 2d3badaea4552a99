#include "runtime/api/openai/tokenize_request.hpp"

#include "tests/runtime/api/openai/request_samples.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::api::openai;

namespace {

answer<tokenize_request> parse(std::string_view body) {
  return parse_tokenize_request(body, sample_limits());
}

answer<detokenize_request> parse_tokens(std::string_view body) {
  return parse_detokenize_request(body, sample_limits());
}

template <class T>
T accepted(answer<T> request) {
  BOOST_REQUIRE_MESSAGE(request.has_value(), (request ? "" : request.error().message));
  return std::move(request).value();
}

} // namespace

BOOST_AUTO_TEST_SUITE(tokenize_requests)

BOOST_AUTO_TEST_CASE(a_text_or_a_chat_is_tokenized) {
  const auto text = accepted(parse(R"({"prompt":"Once","return_token_strs":true})"));
  BOOST_TEST(text.model == "tiny"); // the first one
  BOOST_TEST(text.prompt.value() == "Once");
  BOOST_TEST(!text.chat.has_value());
  BOOST_TEST(text.add_special_tokens);
  BOOST_TEST(text.return_token_strs);
  const auto chat = accepted(parse(
      R"({"model":"tiny-chat","prompt":null,"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":false})"));
  BOOST_TEST(chat.model == "tiny-chat");
  BOOST_TEST(!chat.prompt.has_value());
  BOOST_TEST(chat.chat->messages.at(0).content.value() == "Hi");
  BOOST_TEST(!chat.chat->add_generation_prompt);
  BOOST_TEST(!chat.add_special_tokens);
  BOOST_TEST(accepted(parse(R"({"prompt":""})")).prompt.value().empty());
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named) {
  constexpr auto of_text = std::to_array<bad_value>({
      {"messages", "[]", "invalid_value", "prompt"},
      {"add_special_tokens", "1"},
      {"return_token_strs", "\"x\""},
      {"tools", "[]", "unknown_parameter"},
      {"add_generation_prompt", "true", "unknown_parameter"},
      {"temperature", "1", "unknown_parameter"},
  });
  check_bad_values(R"({"prompt":"a"})", of_text, parse);
  constexpr auto of_chat = std::to_array<bad_value>({
      {"temperature", "1", "unknown_parameter"},
      {"tools", "7"},
      {"continue_final_message", "1"},
  });
  check_bad_values(chat_body, of_chat, parse);
  check_refusal(parse("{}").error(), "prompt", "missing_required_parameter");
  check_refusal(parse(R"({"prompt":7})").error(), "prompt", "invalid_value");
  BOOST_TEST(parse(R"({"prompt":"a","model":"x"})").error().status == 404);
}

BOOST_AUTO_TEST_CASE(tokens_are_detokenized) {
  const auto request = accepted(parse_tokens(R"({"tokens":[1,306]})"));
  BOOST_TEST((request.tokens == std::vector<token_id>{1, 306}));
  BOOST_TEST(request.model == "tiny");
  BOOST_TEST(accepted(parse_tokens(R"({"model":"tiny","tokens":[]})")).tokens.empty());
  check_refusal(parse_tokens("{}").error(), "tokens", "missing_required_parameter");
  check_refusal(parse_tokens(R"({"tokens":[-1]})").error(), "tokens", "invalid_value");
  check_refusal(parse_tokens(R"({"tokens":"a"})").error(), "tokens", "invalid_value");
  check_refusal(
      parse_tokens(R"({"tokens":[1],"prompt":"a"})").error(), "prompt", "unknown_parameter");
}

BOOST_AUTO_TEST_SUITE_END()
