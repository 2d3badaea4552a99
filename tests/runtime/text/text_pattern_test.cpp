#include "runtime/text/text_pattern.hpp"

#include <boost/test/unit_test.hpp>

namespace vdist::text {
namespace {

std::string matches_of(const text_pattern& pattern, std::string_view text) {
  std::vector<text_span> spans;
  BOOST_REQUIRE(pattern.find_all(text, spans).has_value());
  std::string out;
  for (const text_span& span : spans) {
    out += "[" + std::string(text.substr(span.begin, span.end - span.begin)) + "]";
  }
  return out;
}

text_pattern regex(std::string_view source) {
  auto pattern = text_pattern::regex(source);
  BOOST_REQUIRE_MESSAGE(pattern.has_value(), (pattern ? "" : pattern.error().context));
  return *pattern;
}

} // namespace

BOOST_AUTO_TEST_CASE(finds_literals_without_overlap) {
  BOOST_TEST(matches_of(text_pattern::literal("aa"), "aaaaa") == "[aa][aa]");
  BOOST_TEST(matches_of(text_pattern::literal(""), "abc") == "");
  BOOST_TEST(text_pattern::literal(" ").replace_all(" a b", "__").value() == "__a__b");
}

BOOST_AUTO_TEST_CASE(understands_the_escapes_of_ruby_syntax) {
  BOOST_TEST(matches_of(regex(R"(\s+)"),
                        "a \xC2\xA0\xC2\x85"
                        "b\xE1\xA0\x8E")
             == "[ \xC2\xA0\xC2\x85]"); // U+180E is none
  BOOST_TEST(matches_of(regex(R"([\s,]+)"), "a ,b") == "[ ,]");
  BOOST_TEST(matches_of(regex(R"(\S+)"), "ab c") == "[ab][c]");
  BOOST_TEST(matches_of(regex(R"(\h+)"), "xBEEFz") == "[BEEF]");
  BOOST_TEST(matches_of(regex(R"([\u4e00-\u9fa5]+)"), "a\xE4\xB8\xAD\xE6\x96\x87")
             == "[\xE4\xB8\xAD\xE6\x96\x87]");
  BOOST_TEST(matches_of(regex(R"(\w+)"), "e\xCC\x81 b")
             == "[e\xCC\x81][b]"); // a combining mark is a word character
  BOOST_TEST(matches_of(regex(R"([\]\[a]+)"), "x[a]y") == "[[a]]");
  BOOST_TEST(matches_of(regex("^a$"), "a\nb\na") == "[a][a]"); // anchors work line by line
}

BOOST_AUTO_TEST_CASE(skips_an_empty_match_behind_a_match) {
  BOOST_TEST(matches_of(regex("a*"), "baac\xC3\xA9") == "[][aa][][]");
}

BOOST_AUTO_TEST_CASE(refuses_what_it_cannot_express) {
  for (const char* source :
       {"[a&&b]", "[a[b]]", "(", R"(\u12)", R"(\p{NoSuchScript})", R"([\H])"}) {
    const auto pattern = text_pattern::regex(source);
    BOOST_REQUIRE_MESSAGE(!pattern.has_value(), source);
    BOOST_TEST((pattern.error().code == errc::unsupported));
  }
}

BOOST_AUTO_TEST_CASE(bounds_a_pattern_that_backtracks_without_end) {
  std::vector<text_span> spans;
  const auto found = regex("(a+)+[bc]").find_all(std::string(64, 'a'), spans);
  BOOST_REQUIRE(!found.has_value());
  BOOST_TEST((found.error().code == errc::resource_exhausted));
}

} // namespace vdist::text
