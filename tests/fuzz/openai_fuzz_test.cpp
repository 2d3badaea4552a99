// Bodies of the OpenAI API, and the texts that answers are made of.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"
#include "tests/runtime/api/openai/request_samples.hpp"

#include "runtime/api/openai/chat_request.hpp"
#include "runtime/api/openai/chunk_writer.hpp"
#include "runtime/api/openai/completion_request.hpp"
#include "runtime/api/openai/tokenize_request.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using namespace vdist::api::openai;
using nlohmann::ordered_json;

namespace {

/// Trees of JSON: a body, and each object and list in it.
constexpr heap_bound bound{.fixed = std::size_t{32} << 10U, .times = 256};

constexpr std::string_view words[] = {
    "\"prompt\"", "\"n\"", "\"stop\"", "\"x\"", "\"tools\"", "\"content\"", "\\\"", "\xEF\xBB\xBF"};

/// A refusal is an OpenAI error that a client can read: one line, valid JSON.
judgement judge_refusal(const api_error& cause) {
  if (cause.status != 400 && cause.status != 404) {
    return wrong("status " + std::to_string(cause.status));
  }
  if (cause.message.empty() || cause.message.find('\n') != std::string::npos) {
    return wrong("not one line: " + cause.message);
  }
  std::string text;
  append_error(text, cause);
  return ordered_json::accept(text) ? refused() : wrong("no json: " + text);
}

/// Parses within the bound and twice the same; `is_sound` says what is wrong with a request that was taken.
template <class Parse, class Sound>
subject bodies(std::string name, material from, Parse parse, Sound is_sound) {
  return {.name = std::move(name),
          .from = std::move(from),
          .judge = [parse, is_sound](std::span<const std::byte> input) {
            const auto before = heap_bytes();
            const auto request = parse(text_of(input));
            const auto taken = heap_bytes() - before;
            if (taken > bound.of(input.size())) {
              return wrong("it asked the heap for " + std::to_string(taken) + " bytes");
            }
            if (!request) {
              return judge_refusal(request.error());
            }
            return is_sound(*request) ? accepted() : wrong("what it took is not sound");
          }};
}

material bodies_of(std::initializer_list<std::string_view> texts) {
  material from{.pieces = json_pieces(words)};
  for (const auto text : texts) {
    from.specimens.push_back(text_specimen(text));
  }
  return from;
}

bool is_sound(const chat_prompt& prompt) {
  const auto variables = ordered_json::parse(template_variables(prompt), nullptr, false);
  return variables.is_object() && variables["messages"].size() == prompt.messages.size()
         && !prompt.messages.empty()
         && !(prompt.add_generation_prompt && prompt.continue_final_message);
}

constexpr std::string_view tokens_body = R"({"model":"tiny","tokens":[1,306,2]})";

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_openai)

BOOST_AUTO_TEST_CASE(bodies_of_completions) { // Q-3
  run(bodies(
      "completion request",
      bodies_of(
          {completion_body,
           R"({"model":"tiny","prompt":["a","\u00e9"],"n":2,"stop":["x"],"logprobs":3,"seed":7})",
           R"({"model":"tiny","prompt":[[1,2],[3]],"stream":true,"stream_options":{"include_usage":true},
                            "logit_bias":{"3":1.5},"top_p":0.5,"user":"u","suffix":null,"min_tokens":1})"}),
      [](std::string_view body) { return parse_completion_request(body, sample_limits(), {}); },
      [](const completion_request& request) {
        return api::validate(request.params).has_value() && !request.prompts.empty()
               && (request.is_stream || request.streaming == stream_options{});
      }));
}

BOOST_AUTO_TEST_CASE(bodies_of_chats) { // Q-3, P-1
  run(bodies(
      "chat request",
      bodies_of(
          {chat_body,
           R"({"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"logprobs":true,
               "top_logprobs":2,"max_completion_tokens":7,"chat_template_kwargs":{"b":{"y":1.0},"a":"\n"}})",
           R"({"model":"tiny","messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":
               {"name":"f","arguments":"{\"a\":[1]}"}}]},{"role":"tool","tool_call_id":"c","content":"4"}],
               "tools":[{"type":"function","function":{"name":"f","parameters":{"z":{},"a":1}}}],"tool_choice":"auto"})"}),
      [](std::string_view body) { return parse_chat_request(body, sample_limits(), {}); },
      [](const chat_request& request) {
        return api::validate(request.params).has_value() && is_sound(request.prompt);
      }));
}

BOOST_AUTO_TEST_CASE(bodies_of_tokenizers) {
  run(bodies(
      "tokenize request",
      bodies_of({R"({"prompt":"Once","return_token_strs":true})", chat_body}),
      [](std::string_view body) { return parse_tokenize_request(body, sample_limits()); },
      [](const tokenize_request& request) {
        return request.prompt.has_value() != request.chat.has_value()
               && (!request.chat || is_sound(*request.chat));
      }));
  run(bodies(
      "detokenize request",
      bodies_of({tokens_body}),
      [](std::string_view body) { return parse_detokenize_request(body, sample_limits()); },
      [](const detokenize_request& request) { return request.model.starts_with("tiny"); }));
}

BOOST_AUTO_TEST_CASE(texts_of_models) { // A-1
  subject texts{.name = "chunk of a model's text",
                .from = bodies_of({"Once \xc3\xa9\n\"upon\"", "\xf0\x9f\x99\x82 a\\"})};
  texts.judge = [](std::span<const std::byte> input) {
    const std::string text(text_of(input));
    const std::vector<api::position_logprobs> positions{
        {{1, text, -1.5F}, {{1, text, -1.5F}, {2, "x", -2}}}};
    for (const auto kind : {chunk_writer::kind::chat, chunk_writer::kind::completion}) {
      const chunk_writer writer(kind, {.id = text, .model = text}, {.include_usage = true});
      std::string chunk;
      writer.add(chunk,
                 {.text = text,
                  .logprobs = positions,
                  .reason = protocol::finish_reason::stop,
                  .stopped_by = std::string_view(text)},
                 {});
      if (chunk.find('\n') != std::string::npos || !ordered_json::accept(chunk)) {
        return wrong("not one line of json: " + chunk);
      }
    }
    return text.size() % 2 == 0 ? accepted() : refused(); // both are fine; a run wants to see both
  };
  texts.takes_specimens = false;
  run(texts);
}

BOOST_AUTO_TEST_SUITE_END()
