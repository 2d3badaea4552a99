// The grammar of fault scripts, and every message that a wrong one gets, with its line.
#include "runtime/config/fault_script.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::config;

namespace {

using act = failpoint_action;

fault_script good(const std::string& text) {
  auto script = parse_fault_script(text, "f.toml");
  BOOST_REQUIRE_MESSAGE(script.has_value(), (script ? "" : script.error().context));
  return *script;
}

failpoint_rule good_rule(const std::string& text) {
  auto rule = parse_fault_rule(text);
  BOOST_REQUIRE_MESSAGE(rule.has_value(), text << ": " << (rule ? "" : rule.error().context));
  return *rule;
}

struct bad_script {
  std::string text;
  std::string message; // whole
};

/// A fault of one line at line 2, behind an empty line.
std::string fault(const std::string& action, const std::string& at = "point = \"worker.load\"") {
  return "\n[[fault]]\nat = {" + at + "}\naction = \"" + action + "\"\n";
}

const std::string legal_actions = "throw, kill_actor, delay, exit, kill9, stop, segv, slow, hang, "
                                  "wait, oom, cuda_error, full, drop, dup, reorder, corrupt, "
                                  "truncate, old_epoch, illegal_address, stuck_kernel, "
                                  "stuck_device, stuck_copy, skip_collective, flip_bit, "
                                  "device_lost";
const std::string legal_points =
    "batch.write, channel.commands, channel.events, channel.plans, channel.results, "
    "cluster.reduce, executor.before_send, gateway.event, host.spawn, ledger.accept, "
    "ledger.commit, "
    "router.submit, router.tokens, scheduler.add, slot.commands, slot.events, slot.plans, "
    "slot.results, stage.event, supervisor.event, vault.map, vault.take_over, worker.load, "
    "worker.prepare, "
    "worker.step_begin, "
    "worker.step_end";

} // namespace

BOOST_AUTO_TEST_SUITE(fault_scripts)

BOOST_AUTO_TEST_CASE(reads_a_whole_script) {
  const auto script = good(R"(seed = 7
[[fault]]
at = { point = "worker.step_begin", replica = 0, stage = 1, rank = 2, step = 40, request = 9, nth = 3 }
action = "50%2*delay(20)->0*throw->kill9"
count = 5
[[fault]]
rule = "executor.before_send step=60 kill_actor"
[[fault]]
every_s = 2
choose = ["kill9 worker", "stop(500) worker 3", "kill_actor executor"]
count = 4
[expect]
altered = 1
stall_ms_max = 1000
restarts_max = 6
prefilled_again_max = 9
)");
  BOOST_TEST(script.seed == 7U);
  BOOST_REQUIRE(script.rules.size() == 2U);
  const failpoint_rule first{
      .point = "worker.step_begin",
      .replica = 0,
      .stage = 1,
      .rank = 2,
      .step = 40,
      .action = act::delay,
      .argument = 20,
      .count = 2,
      .chance = 5000,
      .request = 9,
      .nth = 3,
      .seed = 7 * failpoint_rules_max,
      .next = {{.action = act::throw_error, .count = 0}, {.action = act::kill9, .count = 5}}};
  BOOST_TEST((script.rules[0] == first));
  BOOST_TEST(to_string(script.rules[1]) == "executor.before_send step=60 kill_actor");
  BOOST_REQUIRE(script.nemeses.size() == 1U);
  BOOST_TEST(script.nemeses[0].every_ms == 2000);
  BOOST_TEST(script.nemeses[0].count == 4U);
  const std::vector<nemesis_choice> choices{
      {.what = nemesis_choice::target::worker, .link = {.action = act::kill9}},
      {.what = nemesis_choice::target::worker,
       .rank = 3,
       .link = {.action = act::stop, .argument = 500}},
      {.what = nemesis_choice::target::executor, .link = {.action = act::kill_actor}}};
  BOOST_TEST((script.nemeses[0].choices == choices));
  BOOST_TEST(script.expect.lost == 0U);
  BOOST_TEST(script.expect.altered == 1U);
  BOOST_TEST(script.expect.doubled == 0U);
  BOOST_TEST((script.expect.stall_ms_max == 1000));
  BOOST_TEST((script.expect.restarts_max == 6));
  BOOST_TEST((script.expect.prefilled_again_max == 9));
}

BOOST_AUTO_TEST_CASE(what_is_written_is_what_is_read) {
  for (const std::string text :
       {"worker.step_begin rank=1 step=40 kill9",
        "worker.load throw",
        "worker.step_end replica=0 stage=1 rank=0 request=3 nth=2 0.01%0*slow(10)",
        "channel.results 12.50%7*drop->0*corrupt",
        "executor.before_send 3*delay(5)->wait(2)->kill_actor->exit(9)"}) {
    BOOST_TEST(to_string(good_rule(text)) == text);
  }
  BOOST_TEST(to_string(good_rule("  worker.load\trank=1   100%1*throw "))
             == "worker.load rank=1 throw");
}

BOOST_AUTO_TEST_CASE(two_rules_that_are_written_alike_draw_differently) {
  const auto script = good(fault("50%throw") + fault("50%throw"));
  BOOST_TEST(script.rules[0].seed != script.rules[1].seed);
}

BOOST_AUTO_TEST_CASE(every_error_names_file_line_and_what_is_legal) {
  const std::vector<bad_script> scripts{
      {"", "f.toml: no [[fault]]"},
      {"seed = 1\nfault = []\n", "f.toml: no [[fault]]"},
      {"seed = -1\n", "f.toml:1: seed: must be a whole number from 0 to 9223372036854775807"},
      {"\nfault = [1]\n", "f.toml:2: fault: must be a table, written [[fault]]"},
      {"\nfaults = 1\n",
       "f.toml:2: unknown key \"faults\" (did you mean fault? legal: fault, expect, seed)"},
      {fault("throw") + "counts = 1\n",
       "f.toml:5: unknown key \"counts\" (did you mean count? legal: at, action, count, rule, "
       "every_ms)"},
      {"\n[[fault]]\naction = \"throw\"\n",
       "f.toml:2: fault: at.point is missing (for example at = { point = \"worker.step_begin\" })"},
      {"[[fault]]\nat = { point = 1 }\naction = \"throw\"\n",
       "f.toml:1: fault: at.point is missing (for example at = { point = \"worker.step_begin\" })"},
      {fault("throw", "point = \"worker.load\", ranks = 1"),
       "f.toml:3: unknown key \"ranks\" (did you mean rank? legal: point, replica, stage, rank, "
       "step, request, nth)"},
      {fault("throw", "point = \"worker.load\", rank = -1"),
       "f.toml:3: fault: rank: must be a whole number from 0 to 2147483647"},
      {fault("throw", "point = \"worker.load\", rank = 2147483648"),
       "f.toml:3: fault: rank: must be a whole number from 0 to 2147483647"},
      {fault("throw", "point = \"worker.load\", rank = \"1\""),
       "f.toml:3: rank: must be a whole number"},
      {fault("throw", "point = \"worker.load\", nth = 0"),
       "f.toml:3: fault: nth: must be a whole number from 1 to 2147483647"},
      {fault("throw") + "count = -1\n",
       "f.toml:5: count: must be a whole number from 0 to 4294967295"},
      {"[[fault]]\nat = { point = \"worker.load\" }\n",
       "f.toml:1: fault: action is missing or no text (for example action = \"kill9\")"},
      {"[[fault]]\nat = { point = \"worker.load\" }\naction = 9\n",
       "f.toml:3: fault: action is missing or no text (for example action = \"kill9\")"},
      {fault("throw", "point = \"worker.step_bgin\""),
       "f.toml:3: fault: no such point \"worker.step_bgin\" (did you mean worker.step_begin? "
       "legal: "
           + legal_points + ")"},
      {fault("kil9"),
       "f.toml:4: fault: no such action \"kil9\" (did you mean kill9? legal: " + legal_actions
           + ")"},
      {fault(""), "f.toml:4: fault: an action is missing (legal: " + legal_actions + ")"},
      {fault("throw->"), "f.toml:4: fault: an action is missing (legal: " + legal_actions + ")"},
      {fault("throw(1)"), "f.toml:4: fault: throw has no argument"},
      {fault("delay"), "f.toml:4: fault: delay(ms) needs a whole number from 0 to 3600000"},
      {fault("delay(x)"), "f.toml:4: fault: delay(ms) needs a whole number from 0 to 3600000"},
      {fault("delay(1"), "f.toml:4: fault: delay(ms) needs a whole number from 0 to 3600000"},
      {fault("delay(-1)"), "f.toml:4: fault: delay(ms) needs a whole number from 0 to 3600000"},
      {fault("exit(256)"), "f.toml:4: fault: exit(code) needs a whole number from 0 to 255"},
      {fault("stop(0)"), "f.toml:4: fault: stop(ms) needs a whole number from 1 to 3600000"},
      {fault("slow(1)"), "f.toml:4: fault: slow(factor) needs a whole number from 2 to 1000"},
      {fault("wait(65)"), "f.toml:4: fault: wait(fault) needs a whole number from 1 to 64"},
      {fault("0%throw"),
       "f.toml:4: fault: \"0%throw\": the part before % must be a number from 0.01 to 100 with two "
       "places at most"},
      {fault("100.01%throw"),
       "f.toml:4: fault: \"100.01%throw\": the part before % must be a number from 0.01 to 100 "
       "with two places at most"},
      {fault("1.234%throw"),
       "f.toml:4: fault: \"1.234%throw\": the part before % must be a number from 0.01 to 100 with "
       "two places at most"},
      {fault("x*throw"),
       "f.toml:4: fault: \"x*throw\": the part before * must be a whole number (0: always)"},
      {fault("throw->throw->throw->throw->throw"),
       "f.toml:4: fault: an action has 4 links at most"},
      {fault("drop"),
       "f.toml:3: fault: drop means nothing at worker.load (legal there: throw, kill_actor, delay, "
       "exit, kill9, stop, segv, hang, wait, oom, cuda_error, device_lost)"},
      {fault("throw->drop", "point = \"channel.plans\""),
       "f.toml:3: fault: throw means nothing at channel.plans (legal there: delay, full, drop, "
       "dup, reorder, corrupt, truncate, old_epoch)"},
      {"[[fault]]\nrule = 1\n",
       "f.toml:2: rule: must be a text (\"worker.step_begin rank=1 step=40 kill9\")"},
      {"[[fault]]\nrule = \"throw\"\n",
       "f.toml:2: fault: a rule is a point, keys and an action (worker.step_begin rank=1 step=40 "
       "kill9)"},
      {"[[fault]]\nrule = \"worker.load rank throw\"\n",
       "f.toml:2: fault: \"rank\": must be key=number (legal keys: replica, stage, rank, step, "
       "request, nth)"},
      {"[[fault]]\nrule = \"worker.load rank=x throw\"\n",
       "f.toml:2: fault: \"rank=x\": must be key=number (legal keys: replica, stage, rank, step, "
       "request, nth)"},
      {"[[fault]]\nrule = \"worker.load ran=1 throw\"\n",
       "f.toml:2: fault: unknown key \"ran\" (legal: replica, stage, rank, step, request, nth)"},
      {"[[fault]]\nrule = \"worker.load throw\"\ncount = 2\n",
       "f.toml:3: unknown key \"count\" (did you mean rule? legal: rule)"},
      {"[[fault]]\nevery_s = 1\nevery_ms = 1\nchoose = [\"kill9 worker\"]\n",
       "f.toml:1: fault: a nemesis has either every_s or every_ms"},
      {"[[fault]]\nchoose = [\"kill9 worker\"]\n",
       "f.toml:1: fault: a nemesis has either every_s or every_ms"},
      {"[[fault]]\nevery_ms = 0\nchoose = [\"kill9 worker\"]\n",
       "f.toml:2: every_ms: must be a whole number from 1 to 86400000"},
      {"[[fault]]\nevery_ms = 5\n",
       "f.toml:1: fault: choose must be a list of 1 to 16 texts (\"kill9 worker\")"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"kill9\"]\n",
       "f.toml:3: choose: must be an action and a target (legal targets: worker, worker <rank>, "
       "executor, router, scheduler, supervisor, node, vault)"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\n\"kill9 worker\",\n\"kill9 worker -1\"]\n",
       "f.toml:5: choose: must be an action and a target (legal targets: worker, worker <rank>, "
       "executor, router, scheduler, supervisor, node, vault)"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"kill9 vault 1\"]\n",
       "f.toml:3: choose: must be an action and a target (legal targets: worker, worker <rank>, "
       "executor, router, scheduler, supervisor, node, vault)"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"kill_actor node\"]\n",
       "f.toml:3: choose: kill_actor does not strike the node"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"stop(5) vault\"]\n",
       "f.toml:3: choose: stop does not strike the vault"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"kill worker\"]\n",
       "f.toml:3: choose: no such action \"kill\" (did you mean kill9? legal: " + legal_actions
           + ")"},
      {"[[fault]]\nevery_ms = 5\nchoose = [\"drop worker\"]\n",
       "f.toml:3: fault: drop means nothing at worker.step_end (legal there: throw, kill_actor, "
       "delay, exit, kill9, stop, segv, slow, hang, wait, oom, cuda_error, device_lost)"},
      {"expect = 1\n", "f.toml:1: expect: must be a table, written [expect]"},
      {"[expect]\nlosts = 1\n",
       "f.toml:2: unknown key \"losts\" (did you mean lost? legal: lost, altered, doubled, "
       "stall_ms_max, restarts_max, prefilled_again_max)"},
      {"[expect]\nstall_ms_max = 1.5\n",
       "f.toml:2: stall_ms_max: must be a whole number from 0 to 9223372036854775807"},
  };
  for (const auto& [text, message] : scripts) {
    const auto script = parse_fault_script(text, "f.toml");
    BOOST_REQUIRE_MESSAGE(!script, text);
    BOOST_TEST((script.error().code == errc::bad_configuration));
    BOOST_TEST(script.error().context == message);
  }
}

BOOST_AUTO_TEST_CASE(too_many_faults_are_refused) {
  std::string text;
  for (std::size_t i = 0; i <= failpoint_rules_max; ++i) {
    text += fault("throw");
  }
  const auto script = parse_fault_script(text, "f.toml");
  BOOST_REQUIRE(!script);
  BOOST_TEST(script.error().context.ends_with("fault: 64 at most"), script.error().context);
}

BOOST_AUTO_TEST_CASE(what_ends_or_holds_a_process_is_refused_for_threads) {
  for (const std::string action : {"kill9", "exit(1)", "stop(5)", "segv", "hang", "throw->kill9"}) {
    const auto script = parse_fault_script(fault(action), "f.toml", fault_victims::threads);
    BOOST_REQUIRE_MESSAGE(!script, action);
    BOOST_TEST(script.error().context.find("f.toml:3: fault: ") == 0U, script.error().context);
    BOOST_TEST(script.error().context.find("needs workers that are processes")
               != std::string::npos);
    BOOST_TEST(parse_fault_script(fault(action), "f.toml").has_value());
    BOOST_TEST(!parse_fault_rule("worker.load " + action, fault_victims::threads));
  }
  for (const std::string action : {"throw", "kill_actor", "delay(5)", "oom", "wait(1)"}) {
    BOOST_TEST(parse_fault_script(fault(action), "f.toml", fault_victims::threads).has_value());
  }
  const std::string nemesis = "[[fault]]\nevery_ms = 5\nchoose = [\"kill9 worker\"]\n";
  BOOST_TEST(!parse_fault_script(nemesis, "f.toml", fault_victims::threads));
}

BOOST_AUTO_TEST_CASE(every_script_that_we_ship_is_sound) {
  int scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(VDIST_SOURCE_DIR "/config/faults")) {
    if (entry.path().extension() == ".toml") {
      const auto script = load_fault_script(entry.path());
      BOOST_TEST(script.has_value(), (script ? "" : script.error().context));
      ++scripts;
    }
  }
  BOOST_TEST(scripts >= 3);
}

BOOST_AUTO_TEST_SUITE_END()
