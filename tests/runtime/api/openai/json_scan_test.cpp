#include "runtime/api/openai/json_scan.hpp"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>
#include <random>

using namespace vdist::api::openai;
using nlohmann::ordered_json;

namespace {

/// Any tree, with strings that have what the scanner looks for.
ordered_json any_value(std::mt19937_64& random, int depth) {
  const auto text = [&random] {
    constexpr std::string_view letters = "a\"\\{}[],: \n\xc3";
    std::string made;
    for (auto left = random() % 6; left > 0; --left) {
      const char letter = letters[random() % letters.size()];
      made += letter;
      made += letter == '\xc3' ? "\xa9" : "";
    }
    return made;
  };
  switch (random() % (depth > 0 ? 7 : 5)) {
  case 0:
    return text();
  case 1:
    return random() % 2 == 0;
  case 2:
    return nullptr;
  case 3:
    return static_cast<std::int64_t>(random());
  case 4:
    return 0.1 * static_cast<double>(random() % 1000);
  case 5: {
    auto list = ordered_json::array();
    for (auto left = random() % 5; left > 0; --left) {
      list.push_back(any_value(random, depth - 1));
    }
    return list;
  }
  default: {
    auto object = ordered_json::object();
    for (auto left = random() % 5; left > 0; --left) {
      object[text()] = any_value(random, depth - 1);
    }
    return object;
  }
  }
}

std::size_t widest(const ordered_json& value) {
  std::size_t found = value.is_object() ? value.size() : 0;
  for (const auto& entry : value) {
    found = value.is_structured() ? std::max(found, widest(entry)) : found;
  }
  return found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(json_scan)

BOOST_AUTO_TEST_CASE(members_come_in_their_order_and_as_they_were_written) {
  const std::string_view text =
      R"( {"b" : 1.0 , "\u0061": {"z":[1,{"}":"]"}],"y":0}, "c":[ ], "d":"\"," , "e":true} )";
  const auto members = json_members(text);
  BOOST_REQUIRE(members.size() == 5U);
  BOOST_TEST((members[0] == json_member("b", "1.0")));
  BOOST_TEST((members[1] == json_member("a", R"({"z":[1,{"}":"]"}],"y":0})")));
  BOOST_TEST((members[2] == json_member("c", "[ ]")));
  BOOST_TEST((members[3] == json_member("d", R"("\",")")));
  BOOST_TEST((members[4] == json_member("e", "true")));
  BOOST_TEST(json_member_of(text, "c") == "[ ]");
  BOOST_TEST(json_member_of(text, "f") == "");
  BOOST_TEST(json_members("{ }").empty());
  BOOST_TEST(json_elements("[\n]").empty());
}

BOOST_AUTO_TEST_CASE(finds_what_the_library_finds) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    ordered_json object = ordered_json::object();
    object["v"] = any_value(random, 4);
    object["\"w"] = any_value(random, 4);
    const auto text = object.dump(static_cast<int>(random() % 4) - 1);
    const auto members = json_members(text);
    BOOST_REQUIRE(members.size() == object.size());
    std::size_t at = 0;
    for (const auto& [name, value] : object.items()) {
      BOOST_REQUIRE(members[at].first == name);
      BOOST_REQUIRE(ordered_json::parse(members[at].second) == value);
      if (value.is_array()) {
        const auto elements = json_elements(members[at].second);
        BOOST_REQUIRE(elements.size() == value.size());
        for (std::size_t e = 0; e < elements.size(); ++e) {
          BOOST_REQUIRE(ordered_json::parse(elements[e]) == value[e]);
        }
      }
      ++at;
    }
    BOOST_REQUIRE(widest_object(text) == widest(object));
  }
}

BOOST_AUTO_TEST_SUITE_END()
