// Rules and scripts of faults: what is accepted is read the same from the words that it is shown in.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"

#include "runtime/config/fault_script.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>

using namespace vdist;
using namespace vdist::testing::fuzz;
using config::fault_script;

namespace {

/// Error texts name every legal word.
constexpr heap_bound rule_bound{.fixed = std::size_t{32} << 10U, .times = 64};
/// And a tree of TOML, each of its nodes with a place in the file.
constexpr heap_bound script_bound{.fixed = std::size_t{64} << 10U, .times = 1024};

const std::vector<std::string_view> fault_pieces{
    "->",         "%",         "*",         "(",
    ")",          "=",         "\"",        "[[fault]]\n",
    "0*",         "1%",        "\n",        "\\n",
    "-1",         "1e9",       "99999",     "rank",
    "kill9",      "slow(2)",   "[",         "every_s",
    "\xff",       "\xc3\xa8",  "\\u0001",   "wait(1)",
    "4294967296", "\t",        "}",         "choose = []\n",
    ",",          ".",         "nan",       "[expect]\n",
    "count",      "drop",      "inf",       "#",
    " request=1", "0x7f",      "hang",      "9223372036854775808",
    "0.01%",      "99.99%",    "100%",      " nth=2",
    "\"\"\"",     "stop(500)", "1979-05-27"};

constexpr std::string_view whole_script = R"(seed = 7
[[fault]]
at = { point = "worker.step_begin", replica = 0, stage = 1, rank = 2, step = 40, request = 9, nth = 3 }
action = "50%2*delay(20)->0*throw->kill9"
count = 5
[[fault]]
rule = "executor.before_send step=60 kill_actor"
[[fault]]
every_ms = 20
choose = ["kill9 worker", "stop(500) worker 3", "12.5%kill_actor executor", "kill9 node"]
count = 3
[expect]
altered = 1
stall_ms_max = 1000
)";

std::string shown(const config::nemesis_choice& choice) {
  // The words of a rule are its point, which has none here, and its action.
  const failpoint_rule rule{.action = choice.link.action,
                            .argument = choice.link.argument,
                            .count = choice.link.count,
                            .chance = choice.link.chance};
  return fmt::format("{} {}{}",
                     action_text(rule),
                     config::facts_of(choice.what).name,
                     choice.rank ? fmt::format(" {}", *choice.rank) : "");
}

bytes shown(const fault_script& script) {
  std::string text = fmt::format("seed = {}\n", script.seed);
  for (const auto& rule : script.rules) {
    text += fmt::format("[[fault]]\nrule = \"{}\"\n", to_string(rule));
  }
  for (const auto& nemesis : script.nemeses) {
    text += fmt::format(
        "[[fault]]\nevery_ms = {}\ncount = {}\nchoose = [", nemesis.every_ms, nemesis.count);
    for (const auto& choice : nemesis.choices) {
      text += fmt::format("\"{}\", ", shown(choice));
    }
    text += "]\n";
  }
  const auto& expect = script.expect;
  text += fmt::format("[expect]\nlost = {}\naltered = {}\ndoubled = {}\n",
                      expect.lost,
                      expect.altered,
                      expect.doubled);
  text += expect.stall_ms_max ? fmt::format("stall_ms_max = {}\n", *expect.stall_ms_max) : "";
  text += expect.restarts_max ? fmt::format("restarts_max = {}\n", *expect.restarts_max) : "";
  text += expect.prefilled_again_max
              ? fmt::format("prefilled_again_max = {}\n", *expect.prefilled_again_max)
              : "";
  return bytes_of(text);
}

bool same_nemesis(const config::nemesis& a, const config::nemesis& b) {
  return a.every_ms == b.every_ms && a.choices == b.choices && a.count == b.count;
}

bool same_script(const fault_script& a, const fault_script& b) {
  return a.seed == b.seed && a.rules == b.rules
         && std::equal(
             a.nemeses.begin(), a.nemeses.end(), b.nemeses.begin(), b.nemeses.end(), same_nemesis)
         && a.expect.lost == b.expect.lost && a.expect.altered == b.expect.altered
         && a.expect.doubled == b.expect.doubled && a.expect.stall_ms_max == b.expect.stall_ms_max
         && a.expect.restarts_max == b.expect.restarts_max
         && a.expect.prefilled_again_max == b.expect.prefilled_again_max;
}

/// Who may be killed says which rules are refused, never how one is read.
void search_rules(config::fault_victims victims) {
  material from{.pieces = text_pieces(fault_pieces)};
  for (const auto rule :
       {"worker.step_begin replica=0 rank=1 step=40 nth=2 12.50%3*delay(20)->0*stop(7)->kill9",
        "channel.plans stage=1 request=9 corrupt",
        "worker.step_end 3*slow(10)",
        "worker.load 99.99%wait(2)->throw"}) {
    if (config::parse_fault_rule(rule, victims)) {
      from.specimens.push_back(text_specimen(rule));
    }
  }
  BOOST_TEST_REQUIRE(from.specimens.size() >= 3U);
  run(subject_of<failpoint_rule>(
      "fault rule",
      std::move(from),
      {.decode =
           [victims](std::span<const std::byte> input) {
             return config::parse_fault_rule(text_of(input), victims);
           },
       .encode = [](const failpoint_rule& rule) { return bytes_of(to_string(rule)); },
       .is_same = [](const failpoint_rule& a, const failpoint_rule& b) { return a == b; },
       .refusal = errc::invalid_argument,
       .bound = rule_bound}));
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_faults)

BOOST_AUTO_TEST_CASE(rules_of_one_line) {
  search_rules(config::fault_victims::processes);
}

BOOST_AUTO_TEST_CASE(rules_where_workers_are_threads) {
  search_rules(config::fault_victims::threads);
}

BOOST_AUTO_TEST_CASE(scripts) {
  material from{.specimens = {text_specimen(whole_script)}, .pieces = text_pieces(fault_pieces)};
  auto scripts =
      subject_of<fault_script>("fault script",
                               std::move(from),
                               {.decode =
                                    [](std::span<const std::byte> input) {
                                      return config::parse_fault_script(text_of(input), "f.toml");
                                    },
                                .encode = [](const fault_script& script) { return shown(script); },
                                .is_same = same_script,
                                .refusal = errc::bad_configuration,
                                .bound = script_bound});
  run(scripts);
}

BOOST_AUTO_TEST_SUITE_END()
