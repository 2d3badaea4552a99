#include "runtime/text/added_tokens.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <random>

namespace vdist::text {
namespace {

std::string split_of(const added_token_matcher& matcher, std::string_view text) {
  std::vector<text_fragment> fragments;
  matcher.split(text, fragments);
  std::string out;
  for (const text_fragment& f : fragments) {
    out += f.token < 0 ? "(" + std::string(f.text) + ")"
                       : "[" + std::to_string(f.token) + ":" + std::string(f.text) + "]";
  }
  return out;
}

/// Leftmost-longest by trying every token at every place.
std::string naive_split(const std::vector<added_token>& tokens, std::string_view text) {
  std::string out;
  std::string plain;
  const auto end_plain = [&out, &plain] {
    out += plain.empty() ? "" : "(" + plain + ")";
    plain.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const added_token* best = nullptr;
    for (const added_token& token : tokens) {
      if (text.substr(at).starts_with(token.content)
          && (best == nullptr || token.content.size() > best->content.size())) {
        best = &token;
      }
    }
    if (best == nullptr) {
      plain += text[at++];
      continue;
    }
    end_plain();
    out += "[" + std::to_string(best->id) + ":" + best->content + "]";
    at += best->content.size();
  }
  end_plain();
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(finds_the_leftmost_longest_token) {
  std::mt19937 random(7);
  const auto word = [&random](std::size_t length_max) {
    std::string out(1 + random() % length_max, 'a');
    std::generate(
        out.begin(), out.end(), [&random] { return static_cast<char>('a' + random() % 2); });
    return out;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<added_token> tokens;
    for (token_id id = 0; id < 4; ++id) {
      tokens.push_back({.content = word(4) + (random() % 2 == 0 ? "c" : ""), .id = id});
    }
    const std::string text = word(20) + "c" + word(5);
    BOOST_REQUIRE_EQUAL(split_of(added_token_matcher(tokens), text), naive_split(tokens, text));
  }
}

BOOST_AUTO_TEST_CASE(strips_white_space_beside_a_token) {
  const added_token_matcher left({{.content = "<m>", .id = 1, .lstrip = true}});
  BOOST_TEST(split_of(left, "a \n<m> b") == "(a)[1: \n<m>]( b)");
  const added_token_matcher right({{.content = "<m>", .id = 1, .rstrip = true}});
  BOOST_TEST(split_of(right,
                      "a <m> \xE3\x80\x80"
                      "b")
             == "(a )[1:<m> \xE3\x80\x80](b)");
  const added_token_matcher both({{.content = "<m>", .id = 1, .lstrip = true, .rstrip = true}});
  BOOST_TEST(split_of(both, "<m>  <m>") == "[1:<m>  ][1:<m>]");
}

BOOST_AUTO_TEST_CASE(a_single_word_is_not_found_inside_a_word) {
  const added_token_matcher matcher({{.content = "new", .id = 1, .single_word = true}});
  BOOST_TEST(split_of(matcher, "new renew \xC3\xA9new news.new")
             == "[1:new]( renew \xC3\xA9new news.)[1:new]");
}

BOOST_AUTO_TEST_CASE(without_tokens_the_text_is_one_fragment) {
  BOOST_TEST(split_of(added_token_matcher(), "abc") == "(abc)");
  BOOST_TEST(split_of(added_token_matcher(), "") == "");
}

} // namespace vdist::text
