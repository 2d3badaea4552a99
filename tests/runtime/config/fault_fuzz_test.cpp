// Fault scripts and rules of any bytes: a value or one line that says what is wrong. The short form is of every build;
// VDIST_TEST_ROUNDS says how many cases a long one has.
#include "runtime/config/fault_script.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::config;

namespace {

constexpr int rounds_short = 20'000;

int rounds() {
  const char* const wanted = std::getenv("VDIST_TEST_ROUNDS");
  return wanted == nullptr ? rounds_short : std::max(1, std::atoi(wanted));
}

const std::string whole_script = R"(seed = 7
[[fault]]
at = { point = "worker.step_begin", replica = 0, stage = 1, rank = 2, step = 40, request = 9, nth = 3 }
action = "50%2*delay(20)->0*throw->kill9"
count = 5
[[fault]]
rule = "executor.before_send step=60 kill_actor"
[[fault]]
every_ms = 20
choose = ["kill9 worker", "stop(500) worker 3"]
[expect]
altered = 1
stall_ms_max = 1000
)";
const std::string whole_rule =
    "worker.step_begin replica=0 rank=1 step=40 nth=2 12.50%3*delay(20)->0*stop(7)->kill9";

const std::vector<std::string> pieces{
    "->",     "%",           "*",
    "(",      ")",           "=",
    "\"",     "[[fault]]\n", "0*",
    "1%",     "\n",          "\\n",
    "-1",     "1e9",         "99999",
    "rank",   "kill9",       "slow(2)",
    "[",      "every",       "4294967296",
    "\xff",   "\\u0001",     "wait",
    "\t",     "}",           "choose = []\n",
    ",",      ".",           "nan",
    "expect", "count",       "drop",
    "inf",    "#",           "9223372036854775808",
};

std::string mutated(std::string text, std::mt19937_64& random) {
  const auto below = [&random](std::size_t n) {
    return static_cast<std::size_t>(random() % n);
  };
  for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
    const std::size_t at = below(text.size());
    switch (below(5)) {
    case 0:
      text[at] = static_cast<char>(random() % 256);
      break;
    case 1:
      text.erase(at, 1 + below(12));
      break;
    case 2:
      text.insert(at, pieces[below(pieces.size())]);
      break;
    case 3:
      text.insert(at, text.substr(below(text.size()), below(40)));
      break;
    default:
      if (below(8) == 0) {
        text.resize(at);
      }
      break;
    }
  }
  return text;
}

bool is_one_line(const std::string& text) {
  return text.find('\n') == std::string::npos && !text.empty();
}

} // namespace

BOOST_AUTO_TEST_SUITE(fault_fuzz)

BOOST_AUTO_TEST_CASE(a_mutated_rule_is_what_it_says_or_an_error) {
  std::mt19937_64 random(11);
  int accepted = 0;
  for (int i = 0; i < rounds(); ++i) {
    const auto text = mutated(whole_rule, random);
    const auto rule = parse_fault_rule(text, fault_victims(random() % 2 == 0));
    if (!rule) {
      BOOST_REQUIRE(rule.error().code == errc::invalid_argument);
      BOOST_REQUIRE_MESSAGE(is_one_line(rule.error().context), text);
      continue;
    }
    ++accepted;
    const auto again = parse_fault_rule(to_string(*rule));
    BOOST_REQUIRE_MESSAGE(again.has_value(), text << " became " << to_string(*rule));
    BOOST_REQUIRE_MESSAGE(*again == *rule, text);
  }
  BOOST_TEST(accepted > 0);
}

/// Reading TOML is dear: a tenth of the rounds.
BOOST_AUTO_TEST_CASE(a_mutated_script_is_read_or_an_error) {
  std::mt19937_64 random(12);
  int accepted = 0;
  for (int i = 0; i < std::max(1, rounds() / 10); ++i) {
    const auto text = mutated(whole_script, random);
    const auto script = parse_fault_script(text, "f.toml", fault_victims(random() % 2 == 0));
    if (!script) {
      BOOST_REQUIRE(script.error().code == errc::bad_configuration);
      BOOST_REQUIRE_MESSAGE(is_one_line(script.error().context), script.error().context);
      BOOST_REQUIRE(script.error().context.starts_with("f.toml"));
      continue;
    }
    ++accepted;
    for (const auto& rule : script->rules) {
      BOOST_REQUIRE_MESSAGE(parse_fault_rule(to_string(rule)).has_value(), to_string(rule));
    }
  }
  BOOST_TEST(accepted > 0);
}

BOOST_AUTO_TEST_SUITE_END()
