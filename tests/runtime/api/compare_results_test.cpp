#include "runtime/api/compare_results.hpp"

#include "tests/support/temporary_folder.hpp"

#include "runtime/api/result_file.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>

using namespace vdist;
using namespace vdist::api;

namespace {

file_result example(const std::string& id) {
  return {.id = id,
          .text = "so it was",
          .token_ids = {1, 2, 3},
          .reason = protocol::finish_reason::length,
          .prompt_tokens = 4,
          .times = {1, 2, 3}};
}

struct compare_fixture {
  result<results_comparison> compare(const std::string& before, const std::string& after) {
    return compare_results(folder.write("before.jsonl", before),
                           folder.write("after.jsonl", after));
  }

  /// Of one altered result; says how it was described.
  std::string altered(const file_result& before, const file_result& after) {
    const auto found = compare(to_line(before), to_line(after));
    BOOST_REQUIRE(found.has_value());
    BOOST_TEST(found->altered == 1U);
    BOOST_TEST(!found->is_equal());
    return found->examples.empty() ? "" : found->examples.front();
  }

  testing::temporary_folder folder;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(compare_result_files, compare_fixture)

BOOST_AUTO_TEST_CASE(order_and_time_do_not_matter) {
  auto late = example("a");
  late.times = {7, 8, 9};
  const auto found =
      compare(to_line(example("a")) + to_line(example("b")), to_line(example("b")) + to_line(late));
  BOOST_REQUIRE(found.has_value());
  BOOST_TEST(found->compared == 2U);
  BOOST_TEST(found->is_equal());
  BOOST_TEST(found->examples.empty());
}

BOOST_AUTO_TEST_CASE(every_part_of_a_stream_counts) {
  const auto before = example("a");
  auto tokens = before;
  tokens.token_ids = {1, 2, 4, 5};
  BOOST_TEST(altered(before, tokens) == "\"a\": tokens part at 2 (lengths 3 and 4)");
  auto reason = before;
  reason.reason = protocol::finish_reason::stop;
  BOOST_TEST(altered(before, reason) == "\"a\": reason \"length\" became \"stop\"");
  auto text = before;
  text.text += "!";
  BOOST_TEST(altered(before, text) == "\"a\": its text differs");
  auto with = before;
  with.logprobs = {{.chosen = {.id = 1, .text = "so", .logprob = -0.1F}}};
  auto other = with;
  other.logprobs->front().chosen.logprob = std::nextafter(-0.1F, 0.0F); // one bit
  BOOST_TEST(altered(with, other) == "\"a\": its log probabilities differ");
  BOOST_TEST(altered(with, before) == "\"a\": its log probabilities differ");
}

BOOST_AUTO_TEST_CASE(what_is_missing_new_or_twice_is_counted) {
  auto second = example("a");
  second.index = 1;
  const auto found = compare(to_line(example("a")) + to_line(second) + to_line(example("b")),
                             to_line(example("a")) + to_line(example("a")) + to_line(example("c")));
  BOOST_REQUIRE(found.has_value());
  BOOST_TEST(found->lost == 2U);
  BOOST_TEST(found->doubled == 1U);
  BOOST_TEST(found->altered == 1U);
  const std::vector<std::string> examples{
      "\"a\" is there twice", "\"c\" is new", "\"a\" index 1 is lost", "\"b\" is lost"};
  BOOST_TEST((found->examples == examples));
}

BOOST_AUTO_TEST_CASE(an_error_that_was_one_before_is_no_difference) {
  const auto before = error_line("a", fail(errc::invalid_argument, "x"));
  const auto same = compare(before, error_line("a", fail(errc::invalid_argument, "y")));
  BOOST_TEST((same && same->is_equal()));
  const auto other = compare(to_line(example("a")), before);
  BOOST_REQUIRE(other.has_value());
  BOOST_TEST(other->altered == 1U);
  BOOST_TEST(other->examples.front() == "\"a\": error null became \"invalid_argument\"");
}

BOOST_AUTO_TEST_CASE(what_is_no_result_is_an_error_with_its_line) {
  const auto broken = compare(to_line(example("a")), to_line(example("a")) + "{\"id\": 3}\n");
  BOOST_REQUIRE(!broken);
  BOOST_TEST((broken.error().code == errc::corrupt));
  BOOST_TEST(broken.error().context.ends_with("after.jsonl:2: not a result"));
  BOOST_TEST((compare_results(folder.path() / "none", folder.path() / "none").error().code
              == errc::not_found));
}

BOOST_AUTO_TEST_SUITE_END()
