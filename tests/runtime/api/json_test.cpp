#include "runtime/api/json.hpp"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::api;

namespace {

std::string refused(std::string_view text, std::size_t depth_max = 3) {
  const auto value = parse_object(text, depth_max);
  BOOST_REQUIRE(!value.has_value());
  BOOST_TEST((value.error().code == errc::invalid_argument));
  return value.error().context;
}

/// UTF-8 of one code point, also where it is not legal.
std::string encoded(std::uint32_t c) {
  if (c < 0x80) {
    return {static_cast<char>(c)};
  }
  const auto tail = [c](int shift) {
    return static_cast<char>(0x80 | ((c >> shift) & 0x3f));
  };
  if (c < 0x800) {
    return {static_cast<char>(0xc0 | (c >> 6)), tail(0)};
  }
  if (c < 0x10000) {
    return {static_cast<char>(0xe0 | (c >> 12)), tail(6), tail(0)};
  }
  return {static_cast<char>(0xf0 | (c >> 18)), tail(12), tail(6), tail(0)};
}

} // namespace

BOOST_AUTO_TEST_SUITE(strict_json)

BOOST_AUTO_TEST_CASE(every_code_point_is_valid_except_surrogates_and_what_lies_beyond) {
  std::size_t wrong = 0;
  for (std::uint32_t c = 0; c < 0x120000; ++c) {
    const bool is_legal = (c < 0xd800 || c > 0xdfff) && c <= 0x10ffff;
    wrong += invalid_utf8_at(encoded(c)).has_value() == is_legal ? 1 : 0;
  }
  BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_CASE(broken_sequences_are_found_where_they_begin) {
  for (const std::string& bad : std::vector<std::string>{"\x80",
                                                         "\xc0\x80",
                                                         "\xc1\xbf",
                                                         "\xe0\x80\x80",
                                                         "\xf0\x80\x80\x80",
                                                         "\xf5\x80\x80\x80",
                                                         "\xe2\x82",
                                                         "\xe2\x28\xa1",
                                                         "\xff"}) {
    BOOST_TEST(invalid_utf8_at(bad).value() == 0U);
    BOOST_TEST(invalid_utf8_at("ab\xc3\xa9" + bad).value() == 4U);
  }
}

BOOST_AUTO_TEST_CASE(refuses_what_the_parser_alone_would_take) {
  BOOST_TEST(refused(R"({"a": 1, "a": 2})") == "field a is there twice");
  BOOST_TEST(refused(R"({"a": {"b": 1, "b": 2}})") == "field b is there twice");
  BOOST_TEST(refused(R"({"a": [[[1]]]})") == "nested too deep; legal: 3 levels");
  BOOST_TEST(refused("{\"a\": \"\xff\"}") == "not valid utf-8 (byte=8)");
  BOOST_TEST(refused("{} {}").starts_with("not valid json (byte="));
  BOOST_TEST(refused(R"({"a": 1e999})").starts_with("not valid json"));
  BOOST_TEST(refused(R"({"a": "\ud800"})").starts_with("not valid json"));
  BOOST_TEST(refused("").starts_with("not valid json"));
  BOOST_TEST(refused("3") == "must be a json object (got 3)");
  BOOST_TEST(refused(std::string(1 << 20, '[')) == "nested too deep; legal: 3 levels");
  BOOST_TEST(refused("[[[").starts_with("not valid json"));
  BOOST_TEST(parse_object(R"({"a": {"x": 1}, "b": {"x": 1}})", 3).has_value());
}

BOOST_AUTO_TEST_CASE(a_tree_is_what_the_library_makes_of_the_text) {
  for (const char* text :
       {R"({})",
        R"({"b":[],"a":{"x":null,"y":[true,false,-1,1,1.0,1e2,18446744073709551615]},"":""})",
        R"( {"a" : [[1],[2,[3]],{"b":{}},"\u00e9\n"] , "b":-0.0 } )"}) {
    const auto value = parse_object(text, 4);
    BOOST_REQUIRE(value.has_value());
    BOOST_TEST(value->dump() == nlohmann::json::parse(text).dump());
  }
}

BOOST_AUTO_TEST_CASE(long_lists_of_objects_take_time_in_proportion) {
  std::string text = R"({"a":[{})"; // a minute and more if each object looked at those before it
  for (int i = 0; i < 300'000; ++i) {
    text += ",{}";
  }
  const auto value = parse_object(text + "]}", 3);
  BOOST_REQUIRE(value.has_value());
  BOOST_TEST((*value)["a"].size() == 300'001U);
}

BOOST_AUTO_TEST_CASE(shown_text_is_short_one_line_and_valid) {
  const std::string text = shown_text("a\nb" + std::string(200, 'x'));
  BOOST_TEST(text.starts_with("a bxx"));
  BOOST_TEST(text.size() <= shown_bytes_max + 3);
  for (std::size_t pad = 0; pad < 4; ++pad) {
    std::string long_text(pad, 'x');
    for (int i = 0; i < 50; ++i) {
      long_text += "\xf0\x9f\x99\x82";
    }
    BOOST_TEST(!invalid_utf8_at(shown_text(long_text)).has_value());
  }
}

BOOST_AUTO_TEST_CASE(strings_are_written_as_the_library_writes_them) {
  std::mt19937_64 random(20261128);
  const auto written = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  const auto expected = [](const std::string& text) {
    auto line = dump_line(text);
    line.pop_back();
    return line;
  };
  for (std::uint32_t c = 0; c < 0x120000; c += c < 0x3000 ? 1 : 37) {
    const auto text = "a" + encoded(c) + "b";
    BOOST_REQUIRE(written(text) == expected(text));
  }
  // Bytes that begin, continue and break characters, more often than chance would have it.
  const std::string_view bytes =
      "ab\"\\\n\x01\x7f\x80\xbf\xc3\xe0\xa0\xed\x9f\xe2\x82\xac\xf0\x90\xf4\x8f\xff";
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    for (auto left = random() % 12; left > 0; --left) {
      text += bytes[random() % bytes.size()];
    }
    BOOST_REQUIRE_MESSAGE(written(text) == expected(text),
                          written(text) << " of " << expected(text));
    const auto parsed = nlohmann::json::parse(written(text)).get<std::string>();
    BOOST_REQUIRE(!invalid_utf8_at(parsed).has_value());
    BOOST_REQUIRE(count_characters(text) == count_characters(parsed));
  }
}

BOOST_AUTO_TEST_CASE(characters_are_counted_and_not_bytes) {
  BOOST_TEST(count_characters("") == 0U);
  BOOST_TEST(count_characters("h\xc3\xa9\xf0\x9f\x99\x82") == 3U);
  BOOST_TEST(count_characters("\xe2\x82") == 1U); // the start of one
  BOOST_TEST(count_characters("\xe2\x82x\xff") == 3U);
}

BOOST_AUTO_TEST_SUITE_END()
