// The validator itself, and the examples of OpenAI's document against OpenAI's schemas.
#include "tests/support/json_schema.hpp"

#include "tests/support/test_data.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist::testing;
using nlohmann::json;

namespace {

std::size_t problems(const char* schema, const char* value) {
  const json_schema checked(json{
      {"components",
       {{"schemas",
         {{"t", json::parse(schema)}, {"name", {{"type", "string"}, {"enum", {"a", "b"}}}}}}}}});
  return checked.problems(json::parse(value), "t").size();
}

} // namespace

BOOST_AUTO_TEST_SUITE(schema_validator)

BOOST_AUTO_TEST_CASE(each_keyword_can_fail) {
  struct row {
    const char* schema;
    const char* good;
    const char* bad;
  };

  for (const row& one : std::initializer_list<row>{
           {R"({"type":"integer"})", "1", "1.5"},
           {R"({"type":"number"})", "1", "\"1\""},
           {R"({"type":["string","null"]})", "null", "1"},
           {R"({"type":"string","nullable":true})", "null", "1"},
           {R"({"$ref":"#/components/schemas/name","nullable":true})", "null", "1"},
           {R"({"$ref":"#/components/schemas/name"})", "\"a\"", "\"c\""},
           {R"({"enum":[1,2]})", "2", "3"},
           {R"({"const":1})", "1", "2"},
           {R"({"required":["a"]})", R"({"a":1})", R"({"b":1})"},
           {R"({"properties":{"a":{"type":"string"}}})", R"({"a":"x","b":1})", R"({"a":1})"},
           {R"({"additionalProperties":{"type":"number"}})", R"({"a":1})", R"({"a":"x"})"},
           {R"({"properties":{"a":{}},"additionalProperties":false})", R"({"a":1})", R"({"b":1})"},
           {R"({"items":{"type":"string"}})", R"(["a"])", R"(["a",1])"},
           {R"({"anyOf":[{"type":"string"},{"type":"null"}]})", "null", "1"},
           {R"({"oneOf":[{"type":"number"},{"type":"integer"}]})", "1.5", "1"},
           {R"({"allOf":[{"type":"number"},{"type":"integer"}]})", "1", "1.5"},
           {R"({"minimum":2})", "2", "1"},
           {R"({"maximum":2})", "2", "3"},
           {R"({"minItems":1})", "[1]", "[]"},
           {R"({"maxItems":1})", "[1]", "[1,2]"},
           {R"({"minLength":1})", "\"a\"", "\"\""},
           {R"({"maxLength":1})", "\"a\"", "\"ab\""},
           {R"({"description":"x","x-y":1})", "1", nullptr},
           {R"({"patternProperties":{}})", nullptr, "1"}}) {
    BOOST_TEST_INFO(one.schema);
    BOOST_TEST((one.good == nullptr || problems(one.schema, one.good) == 0U));
    BOOST_TEST((one.bad == nullptr || problems(one.schema, one.bad) > 0U));
  }
}

BOOST_AUTO_TEST_CASE(the_examples_of_the_document_are_valid, *needs_test_data()) {
  auto schema = json_schema::load(*test_data_dir() / "openai" / "openapi.json");
  for (const auto* name : {"CreateCompletionResponse", "CreateChatCompletionResponse"}) {
    const auto example =
        schema.document()["components"]["schemas"][name]["x-oaiMeta"]["example"].get<std::string>();
    const auto found = schema.problems(json::parse(example), name);
    BOOST_TEST_INFO((found.empty() ? "" : found.front()));
    BOOST_TEST(found.empty());
  }
}

BOOST_AUTO_TEST_SUITE_END()
