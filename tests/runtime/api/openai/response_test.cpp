#include "tests/runtime/api/openai/response_samples.hpp"

#include "runtime/api/openai/chunk_writer.hpp"
#include "runtime/api/openai/whole_response.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <nlohmann/json.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::api;
using namespace vdist::api::openai;
using nlohmann::json;

namespace {

constexpr usage spent{.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = {}};
constexpr std::string_view chunk_start =
    R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"tiny",)"
    R"("system_fingerprint":"fp_1","choices":[)";

/// What write() appends to a text that is there.
template <class Write>
std::string text_of(Write write) {
  std::string out = "before ";
  write(out);
  BOOST_REQUIRE(out.starts_with("before "));
  return out.substr(7);
}

chunk_writer chat_chunks(stream_options options = {}) {
  return {chunk_writer::kind::chat, sample_head(), options};
}

chunk_writer completion_chunks(stream_options options = {}) {
  return {chunk_writer::kind::completion, sample_head(), options};
}

std::string added(const chunk_writer& writer, const choice_text& choice) {
  return text_of([&](std::string& out) { writer.add(out, choice, spent); });
}

/// é, its first byte, a token without a text, one that cannot occur.
const std::vector<position_logprobs>& positions() {
  static const std::vector<position_logprobs> list{
      {{5, "h\xc3\xa9", -0.5F}, {{5, "h\xc3\xa9", -0.5F}, {6, "\"", -1.25F}}},
      {{7, "\xc3", -1e-5F}, {{8, "\xff", -1.0F}, {9, "x", -INFINITY}}},
      {{1, "", NAN}, {}}};
  return list;
}

} // namespace

BOOST_AUTO_TEST_SUITE(responses)

BOOST_AUTO_TEST_CASE(a_stream_of_a_chat_is_role_deltas_end_and_usage) { // C-1, C-2
  const auto writer = chat_chunks({.include_usage = true});
  BOOST_TEST(text_of([&](std::string& out) { writer.begin(out, 1, spent); })
             == std::string(chunk_start)
                    + R"({"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                      R"("finish_reason":null}],"usage":null})");
  BOOST_TEST(
      added(writer, {.index = 1, .text = "a\n"})
      == std::string(chunk_start)
             + R"({"index":1,"delta":{"content":"a\n"},"logprobs":null,"finish_reason":null}],)"
               R"("usage":null})");
  BOOST_TEST(added(writer, {.index = 1, .reason = protocol::finish_reason::length})
             == std::string(chunk_start)
                    + R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"length",)"
                      R"("stop_reason":null}],"usage":null})");
  BOOST_TEST(text_of([&](std::string& out) { writer.finish(out, spent); })
             == std::string(chunk_start)
                    + R"(],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}})");
  BOOST_TEST(stream_end == "[DONE]");
}

BOOST_AUTO_TEST_CASE(usage_is_in_chunks_as_asked_for) { // C-2
  const auto plain = chat_chunks();
  BOOST_TEST(added(plain, {.text = "a"}).ends_with(R"("finish_reason":null}]})"));
  BOOST_TEST(text_of([&](std::string& out) { plain.finish(out, spent); }) == "");
  const auto continuous = chat_chunks({.include_usage = true, .continuous_usage_stats = true});
  constexpr std::string_view so_far =
      R"(],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}})";
  BOOST_TEST(added(continuous, {.text = "a"}).ends_with(so_far));
  BOOST_TEST(text_of([&](std::string& out) { continuous.begin(out, 0, spent); }).ends_with(so_far));
  const auto cached = text_of([&](std::string& out) {
    continuous.finish(out, {.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 0});
  });
  BOOST_TEST(
      cached.ends_with(R"("completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}})"));
}

BOOST_AUTO_TEST_CASE(a_stream_of_a_completion_has_texts) {
  const auto writer = completion_chunks();
  BOOST_TEST(text_of([&](std::string& out) { writer.begin(out, 0, spent); }) == "");
  BOOST_TEST(
      added(writer, {.index = 2, .text = "a"})
      == R"({"id":"chatcmpl-1","object":"text_completion","created":1700000000,"model":"tiny",)"
         R"("system_fingerprint":"fp_1","choices":[{"index":2,"text":"a","logprobs":null,"finish_reason":null}]})");
}

BOOST_AUTO_TEST_CASE(an_end_says_what_stopped_it) {
  const auto end = [](protocol::finish_reason reason, stop_cause cause) {
    return json::parse(added(chat_chunks(), {.reason = reason, .stopped_by = cause}))["choices"][0];
  };
  using enum protocol::finish_reason;
  BOOST_TEST(end(stop, {})["finish_reason"] == "stop");
  BOOST_TEST(end(stop, {})["stop_reason"].is_null());
  BOOST_TEST(end(stop, token_id{7})["stop_reason"] == 7);
  BOOST_TEST(end(stop, std::string_view("\"END\""))["stop_reason"] == "\"END\"");
  BOOST_TEST(end(length, {})["finish_reason"] == "length");
  BOOST_TEST(end(cancelled, {})["finish_reason"] == "abort");
  BOOST_TEST(end(failed, {})["finish_reason"] == "error");
  BOOST_TEST(!end(none, token_id{7}).contains("stop_reason"));
  // The last text may come with the end.
  const auto last = json::parse(added(chat_chunks(), {.text = "a", .reason = stop}))["choices"][0];
  BOOST_TEST(last["delta"]["content"] == "a");
}

BOOST_AUTO_TEST_CASE(log_probabilities_of_completions_are_lists) {
  const auto text =
      added(completion_chunks(), {.text = "x", .logprobs = positions(), .text_offset = 10});
  const auto logprobs = json::parse(text)["choices"][0]["logprobs"];
  BOOST_TEST(logprobs["tokens"].dump() == "[\"h\xc3\xa9\",\"\xef\xbf\xbd\",\"\"]");
  BOOST_TEST(logprobs["text_offset"].dump() == "[10,12,13]");
  BOOST_TEST(text.find(R"("token_logprobs":[-0.5,-1e-05,-9999.0])") != std::string::npos);
  // The chosen token is among the alternatives; two that are not UTF-8 have one name: the likelier stays.
  BOOST_TEST(text.find("\"top_logprobs\":[{\"h\xc3\xa9\":-0.5,\"\\\"\":-1.25},"
                       "{\"\xef\xbf\xbd\":-1,\"x\":-9999.0},{\"\":-9999.0}]")
             != std::string::npos);
}

BOOST_AUTO_TEST_CASE(log_probabilities_of_chats_have_bytes) {
  const auto logprobs = json::parse(
      added(chat_chunks(), {.text = "x", .logprobs = positions()}))["choices"][0]["logprobs"];
  BOOST_TEST(logprobs["refusal"].is_null());
  BOOST_REQUIRE(logprobs["content"].size() == 3U);
  BOOST_TEST(
      logprobs["content"][0].dump()
      == "{\"bytes\":[104,195,169],\"logprob\":-0.5,\"token\":\"h\xc3\xa9\",\"top_logprobs\":"
         "[{\"bytes\":[104,195,169],\"logprob\":-0.5,\"token\":\"h\xc3\xa9\"},"
         "{\"bytes\":[34],\"logprob\":-1.25,\"token\":\"\\\"\"}]}");
  BOOST_TEST(logprobs["content"][1]["bytes"].dump() == "[195]");
  BOOST_TEST(logprobs["content"][1]["token"] == "\xef\xbf\xbd");
  BOOST_TEST(logprobs["content"][2]["logprob"] == -9999.0);
  const auto none = json::parse(added(
      chat_chunks(), {.logprobs = std::span<const position_logprobs>()}))["choices"][0]["logprobs"];
  BOOST_TEST(none["content"].is_array());
  BOOST_TEST(none["content"].empty());
}

BOOST_AUTO_TEST_CASE(whole_answers_have_all_choices) {
  const choice_text choices[] = {
      {.index = 0, .text = "a", .reason = protocol::finish_reason::stop, .stopped_by = token_id{2}},
      {.index = 1, .text = "b", .reason = protocol::finish_reason::length}};
  BOOST_TEST(
      text_of([&](std::string& out) { append_completion(out, sample_head(), choices, spent); })
      == R"({"id":"chatcmpl-1","object":"text_completion","created":1700000000,"model":"tiny",)"
         R"("system_fingerprint":"fp_1","choices":[{"index":0,"text":"a","logprobs":null,)"
         R"("finish_reason":"stop","stop_reason":2},{"index":1,"text":"b","logprobs":null,)"
         R"("finish_reason":"length","stop_reason":null}],)"
         R"("usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}})");
  auto head = sample_head();
  head.system_fingerprint.clear();
  BOOST_TEST(
      text_of([&](std::string& out) { append_chat(out, head, std::span(choices, 1), spent); })
      == R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"tiny",)"
         R"("choices":[{"index":0,"message":{"role":"assistant","content":"a","refusal":null},)"
         R"("logprobs":null,"finish_reason":"stop","stop_reason":2}],)"
         R"("usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}})");
}

BOOST_AUTO_TEST_CASE(lists_of_models_and_tokens) {
  const model_entry models[] = {{"a", 1, 2048}, {"b\"", 2, 4096}};
  BOOST_TEST(
      text_of([&](std::string& out) { append_models(out, models); })
      == R"({"object":"list","data":[)"
         R"({"id":"a","object":"model","created":1,"owned_by":"vdist","max_model_len":2048},)"
         R"({"id":"b\"","object":"model","created":2,"owned_by":"vdist","max_model_len":4096}]})");
  BOOST_TEST(text_of([](std::string& out) { append_models(out, {}); })
             == R"({"object":"list","data":[]})");
  const token_id tokens[] = {1, 306};
  BOOST_TEST(text_of([&](std::string& out) { append_tokens(out, tokens, 2048, std::nullopt); })
             == R"({"count":2,"max_model_len":2048,"tokens":[1,306],"token_strs":null})");
  BOOST_TEST(text_of([&](std::string& out) {
               append_tokens(out, tokens, 2048, std::vector<std::string>{"<s>", "\xff"});
             })
             == "{\"count\":2,\"max_model_len\":2048,\"tokens\":[1,306],\"token_strs\":[\"<s>\","
                "\"\xef\xbf\xbd\"]}");
  BOOST_TEST(text_of([](std::string& out) { append_detokenized(out, "a\"b"); })
             == R"({"prompt":"a\"b"})");
}

BOOST_AUTO_TEST_CASE(ids_have_their_prefix_and_32_digits) {
  BOOST_TEST(completion_id(1, 0xabc) == "cmpl-00000000000000010000000000000abc");
  BOOST_TEST(chat_id(~std::uint64_t{0}, 0) == "chatcmpl-ffffffffffffffff0000000000000000");
}

BOOST_AUTO_TEST_CASE(what_is_written_is_what_a_tree_would_say) { // A-1
  const auto finite = [](float logprob) {
    return std::isfinite(logprob) ? logprob : -9999.0F;
  };
  const auto cleaned = [](const std::string& text) {
    return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
  };
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    any_answer any(seed);
    const auto choice = any.choice();
    const auto chat = json::parse(added(chat_chunks(), choice))["choices"][0];
    const auto completion = json::parse(added(completion_chunks(), choice))["choices"][0];
    BOOST_REQUIRE(completion["text"] == cleaned(any.text));
    BOOST_REQUIRE(chat["delta"].value("content", json("")) == cleaned(any.text));
    if (!choice.logprobs) {
      BOOST_REQUIRE(chat["logprobs"].is_null());
      BOOST_REQUIRE(completion["logprobs"].is_null());
      continue;
    }
    std::size_t at = 0;
    for (const auto& position : any.positions) {
      const auto& told = chat["logprobs"]["content"][at];
      BOOST_REQUIRE(told["token"] == cleaned(position.chosen.text));
      BOOST_REQUIRE(told["logprob"].get<float>() == finite(position.chosen.logprob));
      BOOST_REQUIRE(told["bytes"].size() == position.chosen.text.size());
      BOOST_REQUIRE(told["top_logprobs"].size() == position.top.size());
      BOOST_REQUIRE(completion["logprobs"]["token_logprobs"][at].get<float>()
                    == finite(position.chosen.logprob));
      BOOST_REQUIRE(completion["logprobs"]["top_logprobs"][at].contains(
          cleaned(position.chosen.text).get<std::string>()));
      ++at;
    }
    BOOST_REQUIRE(chat["logprobs"]["content"].size() == at);
  }
}

BOOST_AUTO_TEST_SUITE_END()
