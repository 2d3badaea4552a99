// vdist-run as a server: it says where, answers, ends by signals, and refuses settings that open it to everybody.
#include "tests/actors/front_door/api_client.hpp"
#include "tests/support/metrics_page.hpp"
#include "tests/support/run_fixture.hpp"
#include "tests/support/served_run.hpp"

using namespace vdist::testing;

namespace {

struct served : run_fixture {
  served() { config = write_config(demo_model, serving_toml); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(serve)

BOOST_FIXTURE_TEST_CASE(it_serves_until_an_interrupt, served) {
  auto run = start({"--quiet"});
  const auto port = port_of(run);
  const auto answer =
      post(port,
           "/v1/completions",
           {{"model", "tiny-tales"}, {"prompt", "Once upon a time"}, {"max_tokens", 8}});
  BOOST_TEST(answer.status == 200, answer.body);
  BOOST_TEST(json_of(answer).at("usage").at("completion_tokens") == 8);
  run.signal(SIGINT);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 130, done.err);
  BOOST_TEST(done.out.empty(), "stdout belongs to results");
}

BOOST_FIXTURE_TEST_CASE(a_termination_lets_requests_end, served) {
  auto run = start({"--quiet"});
  const auto port = port_of(run);
  http_client client(port);
  client.send(request_text("POST",
                           "/v1/completions",
                           nlohmann::json{{"model", "tiny-tales"},
                                          {"prompt", "Once upon a time"},
                                          {"max_tokens", 200},
                                          {"ignore_eos", true},
                                          {"stream", true}}
                               .dump()));
  client.take_until("data: ");
  run.signal(SIGTERM);
  client.take_until("data: [DONE]");
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
}

BOOST_FIXTURE_TEST_CASE(it_says_what_it_measures_while_it_drains, served) { // V-5
  config =
      folder
          .write("slow.toml",
                 "[device]\nkind = \"sim\"\nkv_cache_bytes = 16777216\n[device.sim]\nvocabulary = "
                 "100\nlayers = 2\nheads = 2\nkv_heads = 2\nhidden = 16\nmax_model_len = "
                 "256\nstep_us = 15000\n"
                     + std::string(serving_toml))
          .string();
  auto run = start({"--quiet"});
  const auto port = port_of(run);
  http_client client(port);
  client.send(request_text("POST",
                           "/v1/completions",
                           nlohmann::json{{"model", "sim"},
                                          {"prompt", {1, 2, 3}},
                                          {"max_tokens", 200},
                                          {"ignore_eos", true},
                                          {"stream", true}}
                               .dump()));
  const auto active = [&] {
    return read_metrics(ask(port, "GET", "/metrics").body).value("vdist:requests_active");
  };
  wait_until("it is accepted", [&] { return active() == 1.0; });
  run.signal(SIGTERM);
  wait_until("it drains", [&] { return ask(port, "GET", "/ready").status == 503; });
  const auto page = read_metrics(ask(port, "GET", "/metrics").body);
  BOOST_TEST(page.violations.empty());
  BOOST_TEST(page.value("vdist:draining").value() == 1.0);
  BOOST_TEST(page.value("vdist:requests_active").value() == 1.0);
  BOOST_TEST(page.value("vllm:request_success_total").value() == 0.0);
  client.take_until("data: [DONE]");
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
}

BOOST_FIXTURE_TEST_CASE(other_machines_need_a_key_or_somebodys_decision, served) {
  const auto open = run({"--set", "server.host=0.0.0.0"});
  BOOST_TEST(open.exit_code == 2);
  BOOST_TEST(open.err.find("server.insecure") != std::string::npos, open.err);
  const auto missing = run({"--set", "server.api_key_file=/nowhere"});
  BOOST_TEST(missing.exit_code == 3);
  BOOST_TEST(missing.err.find("/nowhere") != std::string::npos, missing.err);
  auto keyed = start({"--quiet", "--set", "server.api_key=sesame"});
  const auto port = port_of(keyed);
  BOOST_TEST(ask(port, "GET", "/v1/models").status == 401);
  BOOST_TEST(ask(port, "GET", "/v1/models", {}, {{"Authorization", "Bearer sesame"}}).status
             == 200);
  keyed.signal(SIGTERM);
  const auto done = keyed.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.err.find("sesame") == std::string::npos, done.err);
}

BOOST_FIXTURE_TEST_CASE(a_port_in_use_is_found_before_anything_is_loaded, served) {
  auto first = start({"--quiet"});
  const auto port = std::to_string(port_of(first));
  const temporary_folder other;
  process second(
      {VDIST_RUN, config, "--set", "server.port=" + port, "--set", "cluster.isolation=thread"},
      other.path(),
      work.string());
  const auto done = second.wait();
  BOOST_TEST(done.exit_code == 3, done.err);
  BOOST_TEST(done.err.find("the port is in use") != std::string::npos, done.err);
  BOOST_TEST(done.err.find("weights") == std::string::npos, done.err);
}

BOOST_FIXTURE_TEST_CASE(a_port_per_replica_is_said_and_shown, served) {
  auto run = start({"--quiet", "--set", "parallel.data=2", "--set", "server.balancing=external"});
  const auto first = port_of(run);
  wait_until("both ports are said",
             [&run] { return run.err().find("(replica 1)\n") != std::string::npos; });
  nlohmann::json ports;
  wait_until("it serves", [first, &ports] {
    const auto answer = ask(first, "GET", "/v1/cluster");
    ports = answer.status == 200 ? json_of(answer).at("status").at("ports") : nlohmann::json();
    return answer.status == 200;
  });
  BOOST_REQUIRE_EQUAL(ports.size(), 2U);
  BOOST_TEST(ports[0].at("port") == first);
  const std::string second = ports[1].at("port").dump();
  BOOST_TEST(run.err().find(":" + second + " (replica 1)\n") != std::string::npos, run.err());
  const temporary_folder
      other; // what --check says of a configuration that this one is in the way of
  process check({VDIST_RUN, config, "--check", "--set", "server.port=" + second},
                other.path(),
                work.string());
  const auto taken = check.wait();
  BOOST_TEST(taken.exit_code == 3, taken.err);
  BOOST_TEST(taken.err.find("the port is in use") != std::string::npos, taken.err);
  BOOST_TEST(taken.err.find(second) != std::string::npos, taken.err);
  run.signal(SIGTERM);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
  process again({VDIST_RUN, config, "--check", "--set", "server.port=" + second},
                other.path(),
                work.string());
  const auto free = again.wait();
  BOOST_TEST(free.exit_code == 0, free.err);
}

BOOST_AUTO_TEST_SUITE_END()
