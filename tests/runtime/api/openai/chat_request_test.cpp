#include "runtime/api/openai/chat_request.hpp"

#include "tests/runtime/api/openai/request_samples.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::api;
using namespace vdist::api::openai;

namespace {

answer<chat_request> parse(std::string_view body) {
  return parse_chat_request(body, sample_limits(), {});
}

chat_request accepted(std::string_view body) {
  auto request = parse(body);
  BOOST_REQUIRE_MESSAGE(request.has_value(), (request ? "" : request.error().message));
  return std::move(request).value();
}

std::string chat_of(std::string_view messages) {
  return fmt::format(R"({{"model":"tiny","messages":{}}})", messages);
}

constexpr std::string_view tools =
    R"([{"type":"function","function":{"name":"f","parameters":{"z":1.0,"a":{"b":[1,2]}}}}])";

} // namespace

BOOST_AUTO_TEST_SUITE(chat_requests)

BOOST_AUTO_TEST_CASE(a_short_request_gets_the_defaults) {
  const auto request = accepted(chat_body);
  BOOST_TEST((request.params == sampling_params{})); // max_tokens: the rest of the context
  BOOST_TEST(!request.add_special_tokens);
  BOOST_TEST(!request.is_stream);
  BOOST_TEST((request.prompt == chat_prompt{.messages = {{.role = "user", .content = "Hello"}}}));
  BOOST_TEST(template_variables(request.prompt)
             == R"({"messages":[{"role":"user","content":"Hello"}],"add_generation_prompt":true})");
}

BOOST_AUTO_TEST_CASE(the_template_sees_what_the_client_wrote_in_its_order) {
  auto body = chat_of(R"([
    {"content":"be \"brief\"","role":"system","name":"boss"},
    {"role":"user","content":[{"type":"text","text":"one"},{"text":"two","type":"text"}]},
    {"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[
       {"type":"function","function":{"arguments":"{\"z\": 1, \"a\": [2.0]}","name":"f"},"id":"c1"},
       {"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},
    {"role":"tool","tool_call_id":"c1","content":"4"}])");
  body = with(body, "tools", tools);
  body = with(body, "tool_choice", R"("auto")");
  body = with(body, "documents", R"([{"title":"t","doc":1e2}])");
  body = with(body, "chat_template_kwargs", R"({"thinking":true, "b":{"y":1,"x":2}})");
  const auto request = accepted(body);
  BOOST_TEST(request.prompt.messages[1].content.value() == "one\ntwo");
  BOOST_TEST(request.prompt.tools == tools);
  BOOST_TEST(
      template_variables(request.prompt)
      == R"({"messages":[{"role":"system","content":"be \"brief\"","name":"boss"},)"
         R"({"role":"user","content":"one\ntwo"},)"
         R"({"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[)"
         R"({"id":"c1","type":"function","function":{"name":"f","arguments":{"z": 1, "a": [2.0]}}},)"
         R"({"id":"c2","type":"function","function":{"name":"g","arguments":{}}}]},)"
         R"({"role":"tool","content":"4","tool_call_id":"c1"}],"add_generation_prompt":true,"tools":)"
             + std::string(tools)
             + R"(,"tool_choice":"auto","documents":[{"title":"t","doc":1e2}],)"
               R"("thinking":true,"b":{"y":1,"x":2}})");
}

BOOST_AUTO_TEST_CASE(numbers_of_tokens_have_two_names) {
  const auto max_tokens = [](std::string_view more) {
    return accepted(fmt::format(R"({},{}}})", chat_body.substr(0, chat_body.size() - 1), more))
        .params.max_tokens;
  };
  BOOST_TEST(max_tokens(R"("max_tokens":7)").value() == 7);
  BOOST_TEST(max_tokens(R"("max_completion_tokens":8)").value() == 8);
  BOOST_TEST(max_tokens(R"("max_completion_tokens":8,"max_tokens":8)").value() == 8);
  BOOST_TEST(max_tokens(R"("max_completion_tokens":8,"max_tokens":null)").value() == 8);
  BOOST_TEST(!max_tokens(R"("max_tokens":null)").has_value());
}

BOOST_AUTO_TEST_CASE(log_probabilities_are_a_flag_and_a_number) {
  const auto logprobs = [](std::string_view more) {
    return accepted(fmt::format(R"({},{}}})", chat_body.substr(0, chat_body.size() - 1), more))
        .params.logprobs;
  };
  BOOST_TEST(!logprobs(R"("logprobs":false)").has_value());
  BOOST_TEST(logprobs(R"("logprobs":true)").value() == 0);
  BOOST_TEST(logprobs(R"("logprobs":true,"top_logprobs":0)").value() == 0);
  BOOST_TEST(logprobs(R"("logprobs":true,"top_logprobs":20)").value() == 20);
}

BOOST_AUTO_TEST_CASE(every_bad_value_names_its_parameter) {
  check_bad_values(chat_body, bad_shared_values, parse);
  constexpr auto own = std::to_array<bad_value>({
      {"logprobs", "1"},
      {"top_logprobs", "3"}, // without logprobs
      {"top_logprobs", "21"},
      {"top_logprobs", "-1"},
      {"top_logprobs", "true"},
      {"max_completion_tokens", "0"},
      {"max_completion_tokens", "\"many\""},
      {"metadata", "[]"},
      {"safety_identifier", "1"},
      {"tools", "{}"},
      {"tools", "[1]", "unsupported_parameter", "tools[0]"},
      {"tools",
       R"([{"type":"custom","custom":{"name":"x"}}])",
       "unsupported_parameter",
       "tools[0]"},
      {"tools", R"([{"type":"function"}])", "invalid_value", "tools[0].function.name"},
      {"tools",
       R"([{"type":"function","function":{"name":"f","strict":true}}])",
       "unsupported_parameter",
       "tools[0].function.strict"},
      {"tool_choice", "\"required\"", "unsupported_parameter"},
      {"tool_choice", R"({"type":"function","function":{"name":"f"}})", "unsupported_parameter"},
      {"documents", "[1]", "invalid_value", "documents[0]"},
      {"documents", "7"},
      {"chat_template_kwargs", "[]"},
      {"chat_template_kwargs", R"({"tools":[]})", "invalid_value", "chat_template_kwargs.tools"},
      {"chat_template_kwargs",
       R"({"chat_template":"x"})",
       "invalid_value",
       "chat_template_kwargs.chat_template"},
      {"add_generation_prompt", "1"},
      {"continue_final_message", "\"x\""},
      {"chat_template", "\"x\"", "unsupported_parameter"},
      {"echo", "true", "unsupported_parameter"},
      {"store", "true", "unsupported_parameter"},
      {"parallel_tool_calls", "false", "unsupported_parameter"},
      {"modalities", R"(["text","audio"])", "unsupported_parameter"},
      {"reasoning_effort", "\"low\"", "unsupported_parameter"},
      {"service_tier", "\"flex\"", "unsupported_parameter"},
      {"functions", "[]", "unsupported_parameter"},
      {"prompt", "\"x\"", "unknown_parameter"},
      {"best_of", "1", "unknown_parameter"},
  });
  check_bad_values(chat_body, own, parse);
  const auto both = parse(with(with(chat_body, "max_tokens", "7"), "max_completion_tokens", "8"));
  BOOST_REQUIRE(!both.has_value());
  check_refusal(both.error(), "max_tokens", "invalid_value");
}

BOOST_AUTO_TEST_CASE(every_bad_message_names_its_path) {
  const auto check = [](std::string_view message,
                        std::string_view param,
                        std::string_view code = "invalid_value") {
    BOOST_TEST_CONTEXT(message) {
      const auto request =
          parse(chat_of(fmt::format(R"([{{"role":"user","content":"a"}},{}])", message)));
      BOOST_REQUIRE(!request.has_value());
      check_refusal(request.error(), "messages[1]" + std::string(param), code);
    }
  };
  check("7", "");
  check("{}", ".role");
  check(R"({"role":"wizard","content":"a"})", ".role");
  check(R"({"role":7,"content":"a"})", ".role");
  check(R"({"role":"user"})", ".content", "missing_required_parameter");
  check(R"({"role":"user","content":null})", ".content", "missing_required_parameter");
  check(R"({"role":"assistant","tool_calls":[]})", ".content", "missing_required_parameter");
  check(R"({"role":"user","content":7})", ".content");
  check(R"({"role":"user","content":[]})", ".content");
  check(R"({"role":"user","content":["a"]})", ".content[0]");
  check(R"({"role":"user","content":[{"text":"a"}]})", ".content[0].type");
  check(R"({"role":"user","content":[{"type":"text"}]})", ".content[0].text");
  check(R"({"role":"user","content":[{"type":"text","text":"a","x":1}]})",
        ".content[0].x",
        "unknown_parameter");
  check(R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]})",
        ".content[0].type",
        "unsupported_parameter");
  check(R"({"role":"user","content":"a","name":7})", ".name");
  check(R"({"role":"user","content":"a","weight":1})", ".weight", "unknown_parameter");
  check(R"({"role":"user","content":"a","tool_calls":[]})", ".tool_calls");
  check(R"({"role":"user","content":"a","tool_call_id":"x"})", ".tool_call_id");
  check(R"({"role":"tool","content":"a"})", ".tool_call_id", "missing_required_parameter");
  check(R"({"role":"assistant","content":"a","audio":{"id":"x"}})",
        ".audio",
        "unsupported_parameter");
  check(
      R"({"role":"assistant","content":"a","refusal":"no"})", ".refusal", "unsupported_parameter");
  check(R"({"role":"assistant","tool_calls":{}})", ".tool_calls");
  check(R"({"role":"assistant","tool_calls":[7]})", ".tool_calls[0]");
  check(R"({"role":"assistant","tool_calls":[{"type":"function"}]})", ".tool_calls[0].id");
  check(R"({"role":"assistant","tool_calls":[{"id":"x","type":"custom"}]})",
        ".tool_calls[0].type",
        "unsupported_parameter");
  check(R"({"role":"assistant","tool_calls":[{"id":"x","type":"function"}]})",
        ".tool_calls[0].function");
  check(
      R"({"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{"}}]})",
      ".tool_calls[0].function.arguments");
  check(
      R"({"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":{}}}]})",
      ".tool_calls[0].function.arguments");
  for (const auto* messages : {"[]", "7", "{}"}) {
    check_refusal(parse(chat_of(messages)).error(), "messages", "invalid_value");
  }
  check_refusal(parse(R"({"model":"tiny"})").error(), "messages", "missing_required_parameter");
  auto limits = sample_limits();
  limits.messages_max = 1;
  const auto two = parse_chat_request(
      chat_of(R"([{"role":"user","content":"a"},{"role":"user","content":"b"}])"), limits, {});
  check_refusal(two.error(), "messages", "invalid_value");
}

BOOST_AUTO_TEST_CASE(the_last_message_is_continued_or_answered) { // P-1, P-2
  const auto body = chat_of(R"([{"role":"assistant","content":"Once"}])");
  const auto continued = accepted(with(body, "continue_final_message", "true"));
  BOOST_TEST(continued.prompt.continue_final_message);
  BOOST_TEST(!continued.prompt.add_generation_prompt);
  BOOST_TEST(!accepted(with(body, "add_generation_prompt", "false")).prompt.add_generation_prompt);
  const auto both =
      parse(with(with(body, "continue_final_message", "true"), "add_generation_prompt", "true"));
  check_refusal(both.error(), "continue_final_message", "invalid_value");
  const auto call = parse(with(
      chat_of(
          R"([{"role":"assistant","content":"x","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]}])"),
      "continue_final_message",
      "true"));
  BOOST_REQUIRE(!call.has_value());
  BOOST_TEST(call.error().param.value() == "continue_final_message");
}

BOOST_AUTO_TEST_CASE(objects_for_the_template_are_bounded) { // P-3
  const auto object_of = [](std::size_t members) {
    std::string object = "{";
    for (std::size_t i = 0; i < members; ++i) {
      object += fmt::format("{}\"k{}\":0", i == 0 ? "" : ",", i);
    }
    return object + "}";
  };
  const auto kwargs = [&object_of](std::size_t members) {
    return parse(with(chat_body, "chat_template_kwargs", R"({"o":)" + object_of(members) + "}"));
  };
  BOOST_TEST(kwargs(template_members_max).has_value());
  check_refusal(kwargs(template_members_max + 1).error(), "chat_template_kwargs", "invalid_value");
  const auto wide = object_of(template_members_max + 1);
  const auto tool = R"([{"type":"function","function":{"name":"f","parameters":)" + wide + "}}]";
  check_refusal(parse(with(chat_body, "tools", tool)).error(), "tools", "invalid_value");
  const auto call = fmt::format(
      R"([{{"role":"assistant","tool_calls":[{{"id":"x","type":"function","function":{{"name":"f","arguments":{}}}}}]}}])",
      nlohmann::json(wide).dump());
  check_refusal(parse(chat_of(call)).error(),
                "messages[0].tool_calls[0].function.arguments",
                "invalid_value");
}

BOOST_AUTO_TEST_SUITE_END()
