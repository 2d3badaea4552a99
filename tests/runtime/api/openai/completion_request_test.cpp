#include "runtime/api/openai/completion_request.hpp"

#include "tests/runtime/api/openai/request_samples.hpp"

#include "runtime/api/openai/passive_fields.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::api;
using namespace vdist::api::openai;

namespace {

answer<completion_request> parse(std::string_view body) {
  return parse_completion_request(body, sample_limits(), {});
}

completion_request accepted(std::string_view body) {
  auto request = parse(body);
  BOOST_REQUIRE_MESSAGE(request.has_value(), (request ? "" : request.error().message));
  return std::move(request).value();
}

api_error refused(std::string_view body) {
  const auto request = parse(body);
  BOOST_REQUIRE_MESSAGE(!request.has_value(), body << " is accepted");
  return request.error();
}

} // namespace

BOOST_AUTO_TEST_SUITE(completion_requests)

BOOST_AUTO_TEST_CASE(a_short_request_gets_the_defaults) {
  const auto request = accepted(completion_body);
  BOOST_TEST(request.model == "tiny");
  BOOST_REQUIRE(request.prompts.size() == 1U);
  BOOST_TEST(request.prompts[0].text == "Once");
  BOOST_TEST(!request.prompts[0].is_tokenized());
  BOOST_TEST(!request.echo);
  BOOST_TEST(!request.is_stream);
  BOOST_TEST(request.add_special_tokens);
  BOOST_TEST((request.streaming == stream_options{}));
  sampling_params expected;
  expected.max_tokens = 16;
  BOOST_TEST((request.params == expected));
}

BOOST_AUTO_TEST_CASE(every_parameter_is_taken) {
  const auto request = accepted(
      R"({"model":"tiny-chat","prompt":[1,2,3],"max_tokens":7,"temperature":0.5,"top_p":0.25,"top_k":3,"min_p":0.125,
          "repetition_penalty":1.5,"presence_penalty":-1,"frequency_penalty":2,"logit_bias":{"5":-100,"3":1.5},"seed":9,
          "stop":["a","b"],"stop_token_ids":[4],"include_stop_str_in_output":true,"min_tokens":2,"ignore_eos":true,"n":2,
          "logprobs":3,"skip_special_tokens":false,"priority":-5,"stream":true,"add_special_tokens":false,
          "stream_options":{"include_usage":true,"continuous_usage_stats":true,"include_obfuscation":false},
          "user":"u","best_of":1,"suffix":null,"echo":false})");
  const sampling_params expected{.temperature = 0.5F,
                                 .top_p = 0.25F,
                                 .top_k = 3,
                                 .min_p = 0.125F,
                                 .repetition_penalty = 1.5F,
                                 .presence_penalty = -1,
                                 .frequency_penalty = 2,
                                 .logit_bias = {{3, 1.5F}, {5, -100.0F}},
                                 .seed = 9,
                                 .stop = {"a", "b"},
                                 .stop_token_ids = {4},
                                 .include_stop_str_in_output = true,
                                 .min_tokens = 2,
                                 .max_tokens = 7,
                                 .ignore_eos = true,
                                 .n = 2,
                                 .logprobs = 3,
                                 .skip_special_tokens = false,
                                 .priority = -5};
  BOOST_TEST((request.params == expected));
  BOOST_TEST(request.model == "tiny-chat");
  BOOST_TEST(request.is_stream);
  BOOST_TEST(!request.add_special_tokens);
  BOOST_TEST(request.streaming.include_usage);
  BOOST_TEST(request.streaming.continuous_usage_stats);
  BOOST_TEST((request.prompts[0].token_ids == std::vector<token_id>{1, 2, 3}));
}

BOOST_AUTO_TEST_CASE(a_prompt_has_four_forms) {
  const auto prompts = [](std::string_view prompt) {
    return accepted(fmt::format(R"({{"model":"tiny","prompt":{}}})", prompt)).prompts;
  };
  BOOST_TEST((prompts(R"("")") == std::vector<prompt_input>{{}}));
  BOOST_TEST((prompts(R"(["a","b"])") == std::vector<prompt_input>{{"a", {}}, {"b", {}}}));
  BOOST_TEST((prompts("[7,8]") == std::vector<prompt_input>{{"", {7, 8}}}));
  BOOST_TEST((prompts("[[7],[8,9]]") == std::vector<prompt_input>{{"", {7}}, {"", {8, 9}}}));
}

BOOST_AUTO_TEST_CASE(a_bad_prompt_is_named) {
  const auto check = [](std::string_view prompt, std::string_view param) {
    BOOST_TEST_CONTEXT(prompt) {
      check_refusal(refused(fmt::format(R"({{"model":"tiny","prompt":{}}})", prompt)),
                    param,
                    "invalid_value");
    }
  };
  check("[]", "prompt");
  check("7", "prompt");
  check("{}", "prompt");
  check("[null]", "prompt");
  check("[1,\"a\"]", "prompt");
  check("[-1]", "prompt");
  check("[1.5]", "prompt");
  check("[\"a\",1]", "prompt[1]");
  check("[[1],[]]", "prompt[1]");
  check("[[1],[[2]]]", "prompt[1]");
  check("[[1],\"a\"]", "prompt[1]");
  auto limits = sample_limits();
  limits.prompts_max = 2;
  const auto request =
      parse_completion_request(R"({"model":"tiny","prompt":["a","b","c"]})", limits, {});
  BOOST_REQUIRE(!request.has_value());
  check_refusal(request.error(), "prompt", "invalid_value");
}

BOOST_AUTO_TEST_CASE(what_must_be_there_is_named) {
  check_refusal(refused(R"({"prompt":"a"})"), "model", "missing_required_parameter");
  check_refusal(refused(R"({"model":null,"prompt":"a"})"), "model", "missing_required_parameter");
  check_refusal(refused(R"({"model":"tiny"})"), "prompt", "missing_required_parameter");
  check_refusal(
      refused(R"({"model":"tiny","prompt":null})"), "prompt", "missing_required_parameter");
}

BOOST_AUTO_TEST_CASE(a_model_that_is_not_served_is_404) {
  const auto cause = refused(R"({"model":"gpt-9","prompt":"a"})");
  BOOST_TEST(cause.status == 404);
  BOOST_TEST(cause.code == "model_not_found");
  BOOST_TEST(cause.param.value() == "model");
  BOOST_TEST(cause.message.find("gpt-9") != std::string::npos);
  check_refusal(refused(R"({"model":7,"prompt":"a"})"), "model", "invalid_value");
}

BOOST_AUTO_TEST_CASE(every_bad_value_names_its_parameter) {
  check_bad_values(completion_body, bad_shared_values, parse);
  constexpr auto own = std::to_array<bad_value>({
      {"logprobs", "21"},
      {"logprobs", "-1"},
      {"logprobs", "true"},
      {"echo", "\"yes\""},
      {"best_of", "2", "unsupported_parameter"},
      {"suffix", "\"x\"", "unsupported_parameter"},
      {"prompt_embeds", "\"x\"", "unsupported_parameter"},
      {"messages", "[]", "unknown_parameter"},
      {"top_logprobs", "1", "unknown_parameter"},
      {"max_completion_tokens", "1", "unknown_parameter"},
      {"tools", "[]", "unknown_parameter"},
      {"store", "false", "unknown_parameter"},
  });
  check_bad_values(completion_body, own, parse);
}

BOOST_AUTO_TEST_CASE(parameters_that_contradict_each_other_are_named) {
  const auto check = [](std::string_view more, std::string_view param, std::string_view code) {
    BOOST_TEST_CONTEXT(more) {
      check_refusal(
          refused(fmt::format(R"({{"model":"tiny","prompt":"a",{}}})", more)), param, code);
    }
  };
  check(R"("echo":true,"logprobs":1)", "echo", "unsupported_parameter");
  check(R"("temperature":0,"n":2)", "n", "invalid_value");
  check(R"("min_tokens":9,"max_tokens":8)", "min_tokens", "invalid_value");
  check(R"("stream":true,"stream_options":{"continuous_usage_stats":true})",
        "stream_options.continuous_usage_stats",
        "invalid_value");
  check(R"("stream":true,"stream_options":{"usage":true})",
        "stream_options.usage",
        "unknown_parameter");
  check(R"("stream":true,"stream_options":{"include_usage":1})",
        "stream_options.include_usage",
        "invalid_value");
}

BOOST_AUTO_TEST_CASE(null_is_the_same_as_nothing) { // Q-2
  const auto plain = accepted(completion_body);
  for (const auto* field : {"temperature", "top_p",      "top_k",
                            "min_p",       "max_tokens", "logprobs",
                            "n",           "seed",       "stop",
                            "echo",        "stream",     "stream_options",
                            "logit_bias",  "min_tokens", "stop_token_ids",
                            "user",        "best_of",    "suffix",
                            "priority",    "ignore_eos", "add_special_tokens",
                            "bad_words"}) {
    BOOST_TEST_INFO(field);
    BOOST_TEST((accepted(with(completion_body, field, "null")) == plain));
  }
}

BOOST_AUTO_TEST_CASE(the_model_gives_defaults_below_the_users_values) {
  sampling_params defaults;
  defaults.temperature = 0.25F;
  defaults.top_k = 50;
  const auto request =
      parse_completion_request(with(completion_body, "top_k", "7"), sample_limits(), defaults);
  BOOST_REQUIRE(request.has_value());
  BOOST_TEST(request->params.temperature == 0.25F);
  BOOST_TEST(request->params.top_k == 7);
}

BOOST_AUTO_TEST_CASE(a_body_that_is_no_object_is_refused_without_a_parameter) {
  for (const std::string& bad :
       {std::string(),
        std::string("null"),
        std::string("[]"),
        std::string("{"),
        std::string(R"({"model":"tiny","prompt":"a"} x)"),
        std::string("{\"model\":\"\xff\"}"),
        std::string(R"({"a":)") + std::string(100, '[') + std::string(100, ']') + "}"}) {
    const auto cause = refused(bad);
    BOOST_TEST(cause.status == 400);
    BOOST_TEST(!cause.param.has_value());
  }
  const auto doubled = refused(R"({"model":"tiny","prompt":"a","prompt":"b"})");
  BOOST_TEST(doubled.message.find("prompt is there twice") != std::string::npos);
  BOOST_TEST(accepted("\xEF\xBB\xBF" + std::string(completion_body)).model == "tiny");
}

BOOST_AUTO_TEST_CASE(a_body_beyond_the_bound_is_413) {
  auto limits = sample_limits();
  limits.body_bytes_max = completion_body.size();
  BOOST_TEST(parse_completion_request(completion_body, limits, {}).has_value());
  const auto request = parse_completion_request(std::string(completion_body) + " ", limits, {});
  BOOST_REQUIRE(!request.has_value());
  BOOST_TEST(request.error().status == 413);
  BOOST_TEST(request.error().code == "body_too_long");
}

BOOST_AUTO_TEST_CASE(the_table_of_passive_fields_does_what_it_says) { // Q-1
  for (const auto& field : passive_fields()) {
    BOOST_TEST_INFO(field.name);
    BOOST_TEST(!field.reason.empty());
    BOOST_TEST((field.value.empty() == (field.values != harmless::one_value)));
    const auto where = field.where == endpoint::chat ? endpoint::chat : endpoint::completions;
    BOOST_TEST(check_passive(where, field.name, nullptr).has_value());
    if (field.values == harmless::one_value) {
      const auto value = nlohmann::json::parse(field.value);
      BOOST_TEST(check_passive(where, field.name, value).has_value());
    }
    BOOST_TEST(check_passive(where, field.name, "s").has_value()
               == (field.values == harmless::any_string));
    BOOST_TEST(check_passive(where, field.name, {{"a", "b"}}).has_value()
               == (field.values == harmless::any_object));
    if (field.where != endpoint::both) {
      const auto other = where == endpoint::chat ? endpoint::completions : endpoint::chat;
      const auto elsewhere = check_passive(other, field.name, nullptr);
      BOOST_REQUIRE(!elsewhere.has_value());
      BOOST_TEST(elsewhere.error().code == "unknown_parameter");
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
