#include "runtime/text/stop_matcher.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <random>

namespace vdist::text {
namespace {

struct outcome {
  std::string text;
  std::optional<std::size_t> match;
};

/// The definition, on the whole text: the stop that is complete first, of several the longest.
outcome
naive(const std::vector<std::string>& stops, const std::string& text, stop_string_output output) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      if (std::string_view(text).substr(0, end).ends_with(stops[i])
          && (!best || stops[i].size() > stops[*best].size())) {
        best = i;
      }
    }
    if (best) {
      const bool is_kept = output == stop_string_output::include;
      return {text.substr(0, end - (is_kept ? 0 : stops[*best].size())), best};
    }
  }
  return {text, std::nullopt};
}

/// Longest end of `text` that begins a stop string.
std::size_t naive_held(const std::vector<std::string>& stops, const std::string& text) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) {
    for (std::size_t n = 1; n < stop.size(); ++n) {
      if (text.ends_with(stop.substr(0, n))) {
        longest = std::max(longest, n);
      }
    }
  }
  return longest;
}

std::string random_text(std::mt19937& random, std::size_t length) {
  std::string out(length, 'a');
  std::generate(
      out.begin(), out.end(), [&random] { return static_cast<char>('a' + random() % 3); });
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(s1_s2_any_cutting_gives_what_a_search_of_the_whole_text_gives) {
  std::mt19937 random(11);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) {
      stop = random_text(random, 1 + random() % 5);
    }
    const std::string text = random_text(random, random() % 30);
    const auto output =
        random() % 2 == 0 ? stop_string_output::include : stop_string_output::exclude;
    auto matcher = stop_matcher::make(stops, output);
    BOOST_REQUIRE(matcher.has_value());
    const outcome expected = naive(stops, text, output);
    std::string got;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = 1 + random() % 4;
      got += matcher->push(std::string_view(text).substr(at, count));
      at += count;
      if (!matcher->match()) {
        const std::string seen = text.substr(0, at);
        BOOST_REQUIRE_EQUAL(got.size(), seen.size() - naive_held(stops, seen));
      }
      BOOST_REQUIRE(expected.text.starts_with(got));
    }
    got += matcher->flush();
    BOOST_REQUIRE_EQUAL(got, expected.text);
    BOOST_REQUIRE(matcher->match().has_value() == expected.match.has_value());
    if (expected.match) {
      BOOST_REQUIRE_EQUAL(stops[*matcher->match()], stops[*expected.match]);
    }
  }
}

BOOST_AUTO_TEST_CASE(nothing_follows_a_match) {
  auto matcher = stop_matcher::make({"\n\n"}, stop_string_output::exclude);
  BOOST_REQUIRE(matcher.has_value());
  BOOST_TEST(matcher->push("one\n") == "one");
  BOOST_TEST(matcher->push("\ntwo") == "");
  BOOST_TEST(matcher->match().value() == 0u);
  BOOST_TEST(matcher->push("three") == "");
  BOOST_TEST(matcher->flush() == "");
}

BOOST_AUTO_TEST_CASE(text_passes_untouched_without_stop_strings) {
  auto matcher = stop_matcher::make({}, stop_string_output::exclude);
  BOOST_REQUIRE(matcher.has_value());
  BOOST_TEST(matcher->push("abc") == "abc");
  BOOST_TEST(!matcher->match().has_value());
}

BOOST_AUTO_TEST_CASE(refuses_empty_and_oversized_stop_strings) {
  BOOST_TEST(!stop_matcher::make({"a", ""}, stop_string_output::exclude).has_value());
  BOOST_TEST(!stop_matcher::make(std::vector<std::string>(stop_matcher::stops_max + 1, "a"),
                                 stop_string_output::exclude)
                  .has_value());
  BOOST_TEST(!stop_matcher::make({std::string(stop_matcher::stop_bytes_max + 1, 'a')},
                                 stop_string_output::exclude)
                  .has_value());
}

} // namespace vdist::text
