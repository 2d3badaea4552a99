// Answers and requests against OpenAI's own document, openai/openapi.json of the test data.
#include "tests/runtime/api/openai/request_samples.hpp"
#include "tests/runtime/api/openai/response_samples.hpp"
#include "tests/support/json_schema.hpp"
#include "tests/support/test_data.hpp"

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/chat_request.hpp"
#include "runtime/api/openai/chunk_writer.hpp"
#include "runtime/api/openai/completion_request.hpp"
#include "runtime/api/openai/whole_response.hpp"

#include <boost/test/unit_test.hpp>

#include <fstream>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::api::openai;
using nlohmann::json;

namespace {

constexpr std::uint64_t answers = 300; // at random, for each schema

/// The document, and one schema that it lacks: chunks of completions, which it says have the shape of whole ones. What the
/// API sends, and its text describes, is null in them until the end.
const json_schema& schemas() {
  static const json_schema loaded = [] {
    auto schema = json_schema::load(*test_data_dir() / "openai" / "openapi.json");
    auto& all = schema.document()["components"]["schemas"];
    all["CompletionChunk"] = all["CreateCompletionResponse"];
    auto& chunk = all["CompletionChunk"]["properties"];
    chunk["choices"]["items"]["properties"]["finish_reason"]["nullable"] = true;
    chunk["usage"]["nullable"] = true;
    return schema;
  }();
  return loaded;
}

const json& all_schemas() {
  return schemas().document()["components"]["schemas"];
}

void check(const std::string& text, std::string_view schema) {
  const auto found = schemas().problems(json::parse(text), schema);
  BOOST_REQUIRE_MESSAGE(found.empty(), schema << ": " << found.front() << "\n  of " << text);
}

/// Ends of whole answers: there is one.
choice_text ended(choice_text choice) {
  choice.reason = choice.reason == protocol::finish_reason::none ? protocol::finish_reason::stop
                                                                 : choice.reason;
  return choice;
}

} // namespace

BOOST_AUTO_TEST_SUITE(openai_schemas, *needs_test_data())

BOOST_AUTO_TEST_CASE(whole_answers_are_valid) { // A-2
  for (std::uint64_t seed = 0; seed < answers; ++seed) {
    any_answer any(seed);
    const choice_text choices[] = {ended(any.choice()), ended(any.choice())};
    std::string chat;
    append_chat(chat, sample_head(), choices, any.usage());
    check(chat, "CreateChatCompletionResponse");
    std::string completion;
    append_completion(completion, sample_head(), choices, any.usage());
    check(completion, "CreateCompletionResponse");
  }
}

BOOST_AUTO_TEST_CASE(chunks_are_valid) { // A-2
  for (std::uint64_t seed = 0; seed < answers; ++seed) {
    for (const auto options :
         {stream_options{},
          stream_options{.include_usage = true},
          stream_options{.include_usage = true, .continuous_usage_stats = true}}) {
      any_answer any(seed);
      const chunk_writer chat(chunk_writer::kind::chat, sample_head(), options);
      const chunk_writer completion(chunk_writer::kind::completion, sample_head(), options);
      const auto choice = any.choice();
      std::string chunk;
      chat.begin(chunk, 3, any.usage());
      check(chunk, "CreateChatCompletionStreamResponse");
      chunk.clear();
      chat.add(chunk, choice, any.usage());
      check(chunk, "CreateChatCompletionStreamResponse");
      chunk.clear();
      completion.add(chunk, choice, any.usage());
      check(chunk, "CompletionChunk");
      if (options.include_usage) {
        chunk.clear();
        chat.finish(chunk, any.usage());
        check(chunk, "CreateChatCompletionStreamResponse");
        chunk.clear();
        completion.finish(chunk, any.usage());
        check(chunk, "CreateCompletionResponse");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(models_and_errors_are_valid) { // A-2
  const model_entry models[] = {{"a", 1, 2048}, {"b", 2, 4096}};
  std::string text;
  append_models(text, models);
  check(text, "ListModelsResponse");
  text.clear();
  append_model(text, models[0]);
  check(text, "Model");
  for (const auto& cause : {invalid_value("top_p", "x"),
                            invalid_value({}, "x"),
                            model_not_found("x"),
                            of_engine(fail(errc::queue_full, "x"))}) {
    text.clear();
    append_error(text, cause);
    check(text, "ErrorResponse");
  }
}

BOOST_AUTO_TEST_CASE(every_parameter_of_the_document_is_known) { // Q-1
  const auto names = [](const char* schema) {
    std::vector<std::string> found;
    std::vector<json> left{all_schemas()[schema]};
    while (!left.empty()) {
      const auto one = left.back();
      left.pop_back();
      const auto properties = one.value("properties", json::object());
      for (const auto& [name, unused] : properties.items()) {
        found.push_back(name);
      }
      for (const auto& part : one.value("allOf", json::array())) {
        left.push_back(part.contains("$ref")
                           ? all_schemas()[part["$ref"].get<std::string>().substr(21)]
                           : part);
      }
    }
    return found;
  };
  std::size_t checked = 0;
  for (const auto& name : names("CreateCompletionRequest")) {
    const auto request = parse_completion_request(
        with(R"({"model":"tiny","prompt":"a"})", name, "null"), sample_limits(), {});
    ++checked;
    BOOST_TEST_INFO(name);
    BOOST_TEST((request.has_value() || name == "model" || name == "prompt"));
  }
  for (const auto& name : names("CreateChatCompletionRequest")) {
    const auto request = parse_chat_request(with(chat_body, name, "null"), sample_limits(), {});
    ++checked;
    BOOST_TEST_INFO(name);
    BOOST_TEST((request.has_value() || name == "model" || name == "messages"));
  }
  BOOST_TEST(checked > 50U);
}

BOOST_AUTO_TEST_CASE(examples_of_requests_are_taken) {
  const std::string names[] = {"meta-llama/Meta-Llama-3-8B-Instruct"};
  std::ifstream in(*test_data_dir() / "openai" / "vllm_openai_example_batch.jsonl");
  std::size_t taken = 0;
  for (std::string line; std::getline(in, line);) {
    const auto body = json::parse(line)["body"];
    BOOST_TEST(schemas().problems(body, "CreateChatCompletionRequest").empty());
    const auto request = parse_chat_request(body.dump(), {.models = names}, {});
    BOOST_REQUIRE_MESSAGE(request.has_value(), (request ? "" : request.error().message));
    BOOST_TEST(request->params.max_tokens.value() == 1000);
    BOOST_TEST(request->prompt.messages.size() == 2U);
    ++taken;
  }
  BOOST_TEST(taken == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
