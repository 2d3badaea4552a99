#include "actors/control/protocol.hpp"

#include "tests/actors/control/fake_cluster.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

using namespace vdist;
using namespace vdist::control;
using namespace vdist::testing;

namespace {

std::string ask(fake_cluster& cluster, const control_request& request) {
  return answer(cluster, encode(request));
}

control_request plain(control_request::kind what) {
  return {.what = what, .target = {}};
}

control_request faults_of(fault_order::kind what, const std::string& rule = "") {
  return {.what = control_request::kind::faults, .order = {.what = what, .rule = rule}};
}

control_request drain_of(control_request::kind what, std::int32_t replica) {
  return {.what = what, .replica = replica};
}

control_request restart_of(const restart_order& order) {
  return {.what = control_request::kind::restart, .restart = order};
}

control_request kill_of(const kill_target& target) {
  return {.what = control_request::kind::kill, .target = target};
}

} // namespace

BOOST_AUTO_TEST_SUITE(control_protocol)

BOOST_AUTO_TEST_CASE(what_is_asked_arrives_as_it_was) {
  for (const auto& request : {plain(control_request::kind::status),
                              plain(control_request::kind::ledger),
                              plain(control_request::kind::drain),
                              kill_of({.what = kill_target::kind::worker, .rank = 12}),
                              kill_of({.what = kill_target::kind::node}),
                              kill_of({.what = kill_target::kind::vault}),
                              drain_of(control_request::kind::drain, 0),
                              drain_of(control_request::kind::resume, 3),
                              restart_of({.what = restart_order::kind::worker,
                              .index = 5,
                              .above = {9},
                              .claim = ~std::uint64_t{0}}),
                              restart_of({.what = restart_order::kind::replica,
                              .index = 1,
                              .above = {1, ~std::uint32_t{0}},
                              .claim = 1}),
                              restart_of({.what = restart_order::kind::node, .above = {2}}),
                              restart_of({.what = restart_order::kind::none, .above = {}}),
                              faults_of(fault_order::kind::list),
                              faults_of(fault_order::kind::clear),
                              faults_of(fault_order::kind::arm, "worker.load throw")}) {
    const auto decoded = decode_request(encode(request));
    BOOST_REQUIRE_MESSAGE(decoded.has_value(), encode(request));
    BOOST_TEST((*decoded == request), encode(request));
  }
}

BOOST_AUTO_TEST_CASE(what_the_cluster_says_arrives_as_it_was) {
  fake_cluster cluster;
  const auto status = decode_status(ask(cluster, plain(control_request::kind::status)));
  BOOST_TEST((status && *status == cluster.status));
  const auto ledger = decode_ledger(ask(cluster, plain(control_request::kind::ledger)));
  BOOST_TEST((ledger && *ledger == cluster.page));
  const auto drained = decode_drain(ask(cluster, plain(control_request::kind::drain)));
  BOOST_TEST((drained && drained->active == 7U && cluster.drains == 1));
  const auto killed = decode_killed(ask(cluster, kill_of({.rank = 2})));
  BOOST_TEST((killed && *killed == "somebody"));
  BOOST_TEST((cluster.killed == std::vector<kill_target>{{.rank = 2}}));
}

BOOST_AUTO_TEST_CASE(a_replica_is_drained_and_resumed) {
  fake_cluster cluster;
  const auto drained = decode_drain(ask(cluster, drain_of(control_request::kind::drain, 1)));
  BOOST_TEST((drained && drained->active == 2U));
  BOOST_TEST(decode_drain(ask(cluster, drain_of(control_request::kind::resume, 1))).has_value());
  BOOST_TEST(
      (cluster.drained == std::vector<std::pair<std::int32_t, bool>>{{1, true}, {1, false}}));
  BOOST_TEST(cluster.drains == 0, "not the whole cluster");
  BOOST_TEST(!decode_drain(ask(cluster, drain_of(control_request::kind::drain, 2))));
}

BOOST_AUTO_TEST_CASE(fault_rules_are_armed_listed_and_cleared) {
  fake_cluster cluster;
  const auto listed = decode_faults(ask(cluster, faults_of(fault_order::kind::list)));
  BOOST_TEST((listed && *listed == cluster.armed));
  const auto armed =
      decode_faults(ask(cluster, faults_of(fault_order::kind::arm, "worker.load throw")));
  BOOST_REQUIRE(armed.has_value());
  BOOST_REQUIRE(armed->rules.size() == 2U);
  BOOST_TEST((armed->rules[1] == fault_line{"worker.load throw", 0}));
  const auto refused = decode_faults(ask(cluster, faults_of(fault_order::kind::arm, "nonsense")));
  BOOST_REQUIRE(!refused);
  BOOST_TEST(refused.error().context == "no such point \"nonsense\"");
  const auto cleared = decode_faults(ask(cluster, faults_of(fault_order::kind::clear)));
  BOOST_TEST((cleared && cleared->rules.empty()));
}

BOOST_AUTO_TEST_CASE(an_error_keeps_its_code_and_its_text) {
  fake_cluster cluster;
  const auto killed = decode_killed(ask(cluster, kill_of({.rank = 4})));
  BOOST_REQUIRE(!killed);
  BOOST_TEST((killed.error().code == errc::invalid_argument));
  BOOST_TEST(killed.error().context == "kill: no such target here");
}

BOOST_AUTO_TEST_CASE(a_target_that_does_not_exist_names_those_that_do) {
  for (const char* text : {"",
                           "worker",
                           "worker ",
                           "worker -1",
                           "worker 1x",
                           "worker 99999999999",
                           "workers 1",
                           "run",
                           "Node"}) {
    const auto target = parse_target(text);
    BOOST_REQUIRE_MESSAGE(!target, text);
    BOOST_TEST((target.error().code == errc::invalid_argument));
    BOOST_TEST(target.error().context.find("worker <rank>, node, vault") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_request_that_is_none_gets_an_error_and_does_nothing) { // P-1
  fake_cluster cluster;
  for (const std::string text : {"",
                                 "{",
                                 "null",
                                 "[]",
                                 "\"status\"",
                                 "{}",
                                 R"({"request":"Status"})",
                                 R"({"request":1})",
                                 R"({"request":null})",
                                 R"({"request":["drain"]})",
                                 R"({"request":"drain","more":1})",
                                 R"({"request":"drain","target":"node"})",
                                 R"({"request":"kill"})",
                                 R"({"request":"kill","target":1})",
                                 R"({"request":"kill","target":"all"})",
                                 R"({"request":"kill","target":"node","more":1})",
                                 R"({"request":"kill","target":"node","rule":"x"})",
                                 R"({"request":"status","do":"list"})",
                                 R"({"request":"faults"})",
                                 R"({"request":"faults","do":"lists"})",
                                 R"({"request":"faults","do":1})",
                                 R"({"request":"faults","do":"arm"})",
                                 R"({"request":"faults","do":"arm","rule":""})",
                                 R"({"request":"faults","do":"arm","rule":7})",
                                 R"({"request":"faults","do":"clear","rule":"x"})",
                                 R"({"request":"faults","do":"list","target":"node"})",
                                 R"({"request":"drain"} )"
                                 "x",
                                 "{\"request\":\"dr\xff\"}"}) {
    const auto reply = decode_status(answer(cluster, text));
    BOOST_REQUIRE_MESSAGE(!reply, text);
    BOOST_TEST((reply.error().code == errc::invalid_argument), text);
  }
  BOOST_TEST(cluster.drains == 0);
  BOOST_TEST(cluster.killed.empty());
  BOOST_TEST(cluster.orders.empty());
}

BOOST_AUTO_TEST_CASE(drains_and_restarts_that_are_none_get_an_error_and_do_nothing) { // P-1
  fake_cluster cluster;
  const std::string restart = R"({"request":"restart","target":"node",)";
  for (const std::string& text : {std::string(R"({"request":"drain","target":"replica"})"),
                                  std::string(R"({"request":"drain","target":"replica -1"})"),
                                  std::string(R"({"request":"drain","target":7})"),
                                  std::string(R"({"request":"resume"})"),
                                  std::string(R"({"request":"resume","target":"worker 1"})"),
                                  std::string(R"({"request":"restart","target":"node"})"),
                                  restart + R"("above":1,"claim":1})",
                                  restart + R"("above":[-1],"claim":1})",
                                  restart + R"("above":[1.5],"claim":1})",
                                  restart + R"("above":[4294967296],"claim":1})",
                                  restart + R"("above":[1],"claim":"x"})",
                                  restart + R"("above":[1],"claim":-1})",
                                  restart + R"("above":[1],"claim":1,"do":"x"})"}) {
    const auto reply = decode_status(answer(cluster, text));
    BOOST_REQUIRE_MESSAGE(!reply, text);
    BOOST_TEST((reply.error().code == errc::invalid_argument), text);
  }
  BOOST_TEST(cluster.drains == 0);
  BOOST_TEST(cluster.drained.empty());
  BOOST_TEST(cluster.restarts.empty());
}

BOOST_AUTO_TEST_CASE(depth_is_no_weapon) { // P-1
  fake_cluster cluster;
  BOOST_TEST(answer(cluster, std::string(60000, '[')).find("error") != std::string::npos);
  std::string nested;
  for (int i = 0; i < 10000; ++i) {
    nested += "{\"a\":";
  }
  BOOST_TEST(answer(cluster, nested).find("error") != std::string::npos);
  BOOST_TEST(!decode_status(nested));
}

BOOST_AUTO_TEST_CASE(changed_bytes_never_do_more_than_fail) { // P-1
  fake_cluster cluster;
  std::mt19937 random(11);
  const auto whole = ask(cluster, plain(control_request::kind::status));
  for (int round = 0; round < 3000; ++round) {
    auto request = encode(kill_of({.rank = 1}));
    auto reply = whole;
    for (auto* text : {&request, &reply}) {
      for (auto changes = 1 + random() % 3; changes > 0; --changes) {
        (*text)[random() % text->size()] = static_cast<char>(random());
      }
      text->resize(random() % 8 == 0 ? random() % text->size() : text->size());
    }
    BOOST_TEST(!answer(cluster, request).empty());
    const auto status = decode_status(reply);
    BOOST_TEST((status.has_value() || !status.error().context.empty()));
  }
}

BOOST_AUTO_TEST_CASE(a_reply_fits_one_message) { // P-2
  fake_cluster cluster;
  constexpr std::uint64_t most = ~std::uint64_t{0};
  constexpr std::int32_t large = 2147483647;
  cluster.page.lines.assign(10 * ledger_lines_max,
                            {most, large, large, large, "cancelled", 123456.789012345});
  const auto reply = ask(cluster, plain(control_request::kind::ledger));
  BOOST_TEST(reply.size() <= reply_bytes_max);
  const auto ledger = decode_ledger(reply);
  BOOST_REQUIRE(ledger.has_value());
  BOOST_TEST(ledger->lines.size() == ledger_lines_max);
  cluster.status.replicas[0].workers.resize(4096);
  const auto status = decode_status(ask(cluster, plain(control_request::kind::status)));
  BOOST_REQUIRE(!status.has_value());
  BOOST_TEST((status.error().code == errc::resource_exhausted), status.error().context);
}

BOOST_AUTO_TEST_CASE(hundreds_of_workers_fit) { // P-2
  fake_cluster cluster;
  cluster.status.replicas[0].workers.assign(512, {4095, 63, 63, "quiescing", 1000, 4194304});
  BOOST_TEST(decode_status(ask(cluster, plain(control_request::kind::status))).has_value());
}

BOOST_AUTO_TEST_CASE(a_name_cannot_command_the_terminal) {
  fake_cluster cluster;
  cluster.status.name = "\x1b[2Jgone\x7f";
  cluster.status.model = "caf\xc3\xa9 \xff";
  const auto status = decode_status(ask(cluster, plain(control_request::kind::status)));
  BOOST_REQUIRE(status.has_value());
  BOOST_TEST(status->name == "?[2Jgone?");
  BOOST_TEST(status->model == "caf\xc3\xa9 \xef\xbf\xbd");
}

BOOST_AUTO_TEST_SUITE_END()
