// The JSON of the control socket, both ways (P-1 of actors/control/protocol.hpp).
#include "tests/actors/control/fake_cluster.hpp"
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"

#include "actors/control/protocol.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using namespace vdist::control;

namespace {

/// Trees of JSON, and texts of errors that name every legal word.
constexpr heap_bound bound{.fixed = std::size_t{16} << 10U, .times = 256};

constexpr std::string_view words[] = {
    "worker", "4294967296", "\"request\"", "\"do\"", "\"rule\"", "\"target\""};

bytes json_of(const control_request& request) {
  return bytes_of(encode(request));
}

template <class T>
codec<T> codec_of(result<T> (*decode)(std::string_view), std::function<bytes(const T&)> encode) {
  return {.decode = [decode](std::span<const std::byte> input) { return decode(text_of(input)); },
          .encode = std::move(encode),
          .is_same = [](const T& a, const T& b) { return a == b; },
          .refusal = {}, // an error is a reply, too
          .bound = bound};
}

/// What the server would say if the cluster were so.
bytes reply_of(fake_cluster& cluster, const control_request& request) {
  return bytes_of(answer(cluster, encode(request)));
}

bytes status_reply(const cluster_status& status) {
  fake_cluster cluster;
  cluster.status = status;
  return reply_of(cluster, {.what = control_request::kind::status});
}

bytes faults_reply(const fault_page& page) {
  fake_cluster cluster;
  cluster.armed = page;
  return reply_of(cluster, {.what = control_request::kind::faults});
}

bytes drain_reply(const drain_progress& progress) {
  fake_cluster cluster;
  cluster.active = progress.active;
  return reply_of(cluster, {.what = control_request::kind::drain, .replica = 0});
}

bytes restart_reply(const restart_progress& progress) {
  fake_cluster cluster;
  cluster.on_restart = [&progress](const restart_order&) {
    return progress;
  };
  return reply_of(cluster, {.what = control_request::kind::restart, .restart = {.claim = 1}});
}

bytes kill_reply(const std::string& killed) {
  fake_cluster cluster;
  cluster.victim = killed;
  return reply_of(cluster, {.what = control_request::kind::kill});
}

bytes ledger_reply(const ledger_page& page) {
  fake_cluster cluster;
  cluster.page = page;
  return reply_of(cluster, {.what = control_request::kind::ledger});
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_control)

BOOST_AUTO_TEST_CASE(requests_of_operators) { // P-1
  material from{.pieces = json_pieces(words)};
  for (const auto& request : std::initializer_list<control_request>{
           {.what = control_request::kind::status},
           {.what = control_request::kind::ledger},
           {.what = control_request::kind::drain},
           {.what = control_request::kind::drain, .replica = 1},
           {.what = control_request::kind::resume, .replica = 0},
           {.what = control_request::kind::restart,
           .restart = {.what = restart_order::kind::replica,
                      .index = 1,
                      .above = {4, 0, 7},
                      .claim = ~std::uint64_t{0}}},
           {.what = control_request::kind::kill, .target = {.rank = 17}},
           {.what = control_request::kind::kill, .target = {.what = kill_target::kind::vault}},
           {.what = control_request::kind::faults},
           {.what = control_request::kind::faults, .order = {.what = fault_order::kind::clear}},
           {.what = control_request::kind::faults,
           .order = {.what = fault_order::kind::arm, .rule = "worker.load rank=1 \"é\" kill9"}}}) {
    from.specimens.push_back(text_specimen(text_of(json_of(request))));
  }
  auto codec = codec_of<control_request>(decode_request, json_of);
  codec.refusal = errc::invalid_argument;
  auto requests = subject_of<control_request>("control request", std::move(from), codec);
  requests.judge = [judge = std::move(requests.judge)](std::span<const std::byte> input) {
    fake_cluster cluster;
    const auto reply = answer(cluster, text_of(input));
    return reply.starts_with('{') && reply.size() <= reply_bytes_max ? judge(input)
                                                                     : wrong("no reply: " + reply);
  };
  run(requests);
}

BOOST_AUTO_TEST_CASE(replies_with_a_status) { // P-1
  material from{.pieces = json_pieces(words)};
  from.specimens = {text_specimen(text_of(status_reply(example_status()))),
                    text_specimen(text_of(status_reply({.name = "é\n"})))};
  run(subject_of<cluster_status>(
      "control status", std::move(from), codec_of<cluster_status>(decode_status, status_reply)));
}

BOOST_AUTO_TEST_CASE(replies_with_a_ledger) { // P-1
  material from{.pieces = json_pieces(words)};
  const ledger_page page{.unfinished = 1,
                         .finished = 1,
                         .lines = {{7, 3, 16, 2, "none", 0.5}, {8, 100, 1, 1, "length", 1e-9}}};
  from.specimens = {text_specimen(text_of(ledger_reply(page)))};
  run(subject_of<ledger_page>(
      "control ledger", std::move(from), codec_of<ledger_page>(decode_ledger, ledger_reply)));
}

BOOST_AUTO_TEST_CASE(replies_of_a_drain) { // P-1
  material from{.pieces = json_pieces(words)};
  from.specimens = {text_specimen(text_of(drain_reply({.active = 17})))};
  run(subject_of<drain_progress>(
      "control drain", std::move(from), codec_of<drain_progress>(decode_drain, drain_reply)));
}

BOOST_AUTO_TEST_CASE(replies_of_a_restart) { // P-1
  material from{.pieces = json_pieces(words)};
  from.specimens = {
      text_specimen(text_of(restart_reply({.is_done = true, .text = "incarnation 2"}))),
      text_specimen(text_of(restart_reply({.text = "é\n"})))};
  run(subject_of<restart_progress>("control restart",
                                   std::move(from),
                                   codec_of<restart_progress>(decode_restart, restart_reply)));
}

BOOST_AUTO_TEST_CASE(replies_of_a_kill) { // P-1
  material from{.pieces = json_pieces(words)};
  from.specimens = {text_specimen(text_of(kill_reply("worker 1, \"pid\" 4711")))};
  run(subject_of<std::string>(
      "control kill", std::move(from), codec_of<std::string>(decode_killed, kill_reply)));
}

BOOST_AUTO_TEST_CASE(replies_with_faults) { // P-1
  material from{.pieces = json_pieces(words)};
  from.specimens = {text_specimen(text_of(faults_reply({{{"worker.load throw", 0}}})))};
  run(subject_of<fault_page>(
      "control faults", std::move(from), codec_of<fault_page>(decode_faults, faults_reply)));
}

BOOST_AUTO_TEST_SUITE_END()
