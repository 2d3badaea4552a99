// The search itself: decoders with known defects, which it has to find, to name and to shrink.
#include "tests/fuzz/fuzz_run.hpp"

#include "tests/fuzz/text_material.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <stdexcept>

using namespace vdist;
using namespace vdist::testing::fuzz;

namespace {

constexpr std::uint64_t inputs = 20'000;

/// A decoder of texts whose inputs with an 'x' in them are the bad ones.
subject with_defect(std::function<judgement()> defect) {
  return {.name = "defect",
          .from = {.specimens = {text_specimen("a few words of no meaning, and yet more of them")},
                   .pieces = {bytes_of("x")}},
          .judge = [defect = std::move(defect)](std::span<const std::byte> input) {
            return text_of(input).find('x') == std::string_view::npos ? accepted() : defect();
          }};
}

void check_found(const subject& one,
                 std::string_view cause,
                 std::chrono::milliseconds patience = std::chrono::seconds(20)) {
  const auto found = search(one, 1, inputs, patience).found;
  BOOST_REQUIRE(found.has_value());
  BOOST_TEST(found->cause.starts_with(cause), found->cause);
  BOOST_TEST(text_of(found->input).find('x') != std::string_view::npos);
  BOOST_TEST((input_of(one.from, found->seed) == found->input)); // M-1
  if (cause.find("hangs") == std::string_view::npos) {
    BOOST_TEST(text_of(found->shrunk) == "x");
    BOOST_TEST(found->result == found->cause);
  }
}

codec<std::string> text_codec() {
  return {.decode = [](std::span<const std::byte> input) -> result<std::string> {
            if (input.empty() || input.size() > 20) {
              return fail(errc::corrupt, "text: too long");
            }
            return std::string(text_of(input));
          },
          .encode = [](const std::string& text) { return bytes_of(text); },
          .is_same =
              [](const std::string& a, const std::string& b) {
                return a == b;
              }};
}

/// What the search says of the codec.
std::string cause_of(codec<std::string> under_test) {
  const auto all =
      search(subject_of<std::string>(
                 "text", {.specimens = {text_specimen("a few words")}}, std::move(under_test)),
             1,
             inputs);
  return all.found ? all.found->cause : "";
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_search)

BOOST_AUTO_TEST_CASE(a_crash_a_hang_and_an_exception_are_found_with_their_bytes) { // F-1
  check_found(with_defect([] { return wrong("a complaint"); }), "a complaint");
  check_found(with_defect([]() -> judgement { std::abort(); }), "it crashes: Aborted");
  check_found(with_defect([]() -> judgement { throw std::runtime_error("thrown"); }),
              "an exception left it: thrown");
  check_found(with_defect([]() -> judgement {
                for (volatile bool is_endless = true; is_endless;) {
                }
                return accepted();
              }),
              "it hangs",
              std::chrono::milliseconds(500));
}

BOOST_AUTO_TEST_CASE(a_codec_that_breaks_a_rule_is_found) { // F-2, F-3, F-4
  BOOST_TEST(cause_of(text_codec()).empty());
  auto bad = text_codec();
  bad.refusal = errc::invalid_argument;
  BOOST_TEST(cause_of(bad) == "another error code: corrupt");
  bad = text_codec();
  bad.decode = [](std::span<const std::byte> input) {
    return result<std::string>(std::string(100'000 + input.size(), 'a'));
  };
  BOOST_TEST(cause_of(bad).starts_with("it asked the heap for 10"));
  bad = text_codec();
  bad.encode = [](const std::string& text) {
    return bytes_of(text.substr(0, text.find('w')) + "w");
  };
  BOOST_TEST(cause_of(bad).starts_with("decode(encode(x)) is not x"));
  bad = text_codec();
  bad.encode = [](const std::string& text) {
    return bytes_of(text + "and more than 20 bytes");
  };
  BOOST_TEST(cause_of(bad).starts_with("what it accepted is refused once encoded"));
}

BOOST_AUTO_TEST_CASE(what_it_searches_through_is_the_same_every_time) { // M-1
  const auto from = with_defect(accepted).from;
  const auto sum = [&from] {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      for (const auto one : input_of(from, seed)) {
        hash = (hash ^ std::to_integer<std::uint64_t>(one)) * 0x100000001b3;
      }
    }
    return hash;
  };
  BOOST_TEST(sum() == sum());
  BOOST_TEST(hex(bytes_of("\x01\xfe")) == "01fe");
}

BOOST_AUTO_TEST_SUITE_END()
