// Clients that stream over HTTP while workers and the control process are killed: they come back with the id of their last
// event, and read what they would have read, once.
#include "tests/actors/front_door/api_client.hpp"
#include "tests/support/metrics_page.hpp"
#include "tests/support/run_fixture.hpp"
#include "tests/support/served_run.hpp"

#include <atomic>
#include <thread>

using namespace vdist::testing;
using nlohmann::json;

namespace {

/// Whatever a client waits for comes within this.
constexpr std::chrono::seconds client_deadline{120};

struct order {
  std::string path;
  json body;
};

/// What a client read in the end.
struct reading {
  std::vector<told_choice> choices;
  int connections = 0;
  std::string failure; // empty: it read everything
};

/// One streaming client: connects, reads, and comes back, each time to the next of its ports, until it has it all.
class client {
public:
  client(std::vector<std::uint16_t> ports, order what, std::string name, std::atomic<int>& events)
      : ports_(std::move(ports)), what_(std::move(what)), name_(std::move(name)), events_(events) {}

  reading read() {
    const auto deadline = std::chrono::steady_clock::now() + client_deadline;
    while (!is_done_ && got_.failure.empty()) {
      if (std::chrono::steady_clock::now() > deadline) {
        got_.failure = "not in time; " + last_;
        break;
      }
      try {
        read_connection();
      } catch (
          const std::runtime_error& cause) { // the connection is lost, or there is no server now
        last_ = cause.what();
        std::this_thread::yield();
      }
    }
    return got_;
  }

private:
  void read_connection() {
    http_client connection(ports_[tries_++ % ports_.size()]);
    header_list headers{{"Idempotency-Key", name_}};
    if (!last_id_.empty()) {
      headers.emplace_back("Last-Event-ID", last_id_);
    }
    connection.send(request_text("POST", what_.path, what_.body.dump(), headers));
    const auto head = connection.take_until("\r\n\r\n");
    last_ = head.substr(0, head.find("\r\n"));
    if (head.starts_with("HTTP/1.1 503")) {
      return; // it loads
    }
    if (!head.starts_with("HTTP/1.1 200")) {
      got_.failure = last_ + ": " + connection.read_to_end();
      return;
    }
    ++got_.connections;
    std::string text;
    while (!is_done_ && connection.take_chunk(text)) {
      const auto end = text.rfind("\n\n");
      if (end == std::string::npos) {
        continue;
      }
      for (const auto& event : events_in(text.substr(0, end + 2))) {
        take(event);
      }
      text.erase(0, end + 2);
    }
  }

  void take(const sent_event& event) {
    if (event.data == "[DONE]") {
      is_done_ = true;
      return;
    }
    const auto chunk = json::parse(event.data);
    if (chunk.contains("error")) {
      got_.failure = event.data;
      return;
    }
    add_chunk(got_.choices, chunk);
    last_id_ = event.id.value_or(last_id_);
    ++events_;
  }

  std::vector<std::uint16_t> ports_;
  std::size_t tries_ = 0;
  order what_;
  std::string name_;
  std::atomic<int>& events_;
  reading got_;
  std::string last_id_;
  std::string last_; // for messages
  bool is_done_ = false;
};

struct serve_fixture : run_fixture {
  serve_fixture() {
    config =
        write_config(demo_model,
                     std::string("[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n"
                                 "[fault_tolerance]\nrestart_backoff_ms = 0\nmax_restarts = 50\n")
                         + serving_toml);
  }

  static std::vector<order> orders() {
    std::vector<order> all;
    for (int i = 0; i < 6; ++i) {
      json body{{"model", "tiny-tales"},
                {"seed", i},
                {"max_tokens", 220},
                {"ignore_eos", true},
                {"stream", true}};
      if (i % 3 == 2) {
        body["messages"] = {{{"role", "user"}, {"content", "One morning the king"}}};
        all.push_back({"/v1/chat/completions", body});
        continue;
      }
      body["prompt"] = "Once upon a time";
      body["n"] = 1 + i % 3;
      all.push_back({"/v1/completions", body});
    }
    return all;
  }

  /// All at once; `meanwhile` sees how many events were read.
  static std::vector<reading>
  read_all(std::uint16_t port,
           const std::string& names,
           const std::function<void(const std::atomic<int>&)>& meanwhile) {
    return read_all({{port}}, names, meanwhile);
  }

  /// Each client begins with another of `ways`: the ports that it uses, one after the other.
  static std::vector<reading>
  read_all(const std::vector<std::vector<std::uint16_t>>& ways,
           const std::string& names,
           const std::function<void(const std::atomic<int>&)>& meanwhile) {
    const auto all = orders();
    std::vector<reading> got(all.size());
    std::atomic<int> events{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < all.size(); ++i) {
      threads.emplace_back([&, i] {
        got[i] = client(ways[i % ways.size()], all[i], names + std::to_string(i), events).read();
      });
    }
    meanwhile(events);
    for (auto& one : threads) {
      one.join();
    }
    return got;
  }

  static void check_same(const std::vector<reading>& got, const std::vector<reading>& expected) {
    for (std::size_t i = 0; i < got.size(); ++i) {
      BOOST_TEST_CONTEXT("client " << i) {
        BOOST_TEST(got[i].failure == "");
        BOOST_REQUIRE_EQUAL(got[i].choices.size(), expected[i].choices.size());
        for (std::size_t choice = 0; choice < got[i].choices.size(); ++choice) {
          BOOST_TEST(got[i].choices[choice].text == expected[i].choices[choice].text);
          BOOST_TEST(got[i].choices[choice].reason == expected[i].choices[choice].reason);
          BOOST_TEST(got[i].choices[choice].ends == 1);
        }
      }
    }
  }
};

/// Two replicas on the sim device, each with a port of its own.
struct external_fixture : serve_fixture {
  external_fixture() {
    config = write_config(
        demo_model,
        std::string("sim.step_us = 3000\n[parallel]\ndata = 2\n[cluster]\nisolation = \"process\"\n"
                    "[fault_tolerance]\nrestart_backoff_ms = 0\nmax_restarts = 50\n")
            + serving_toml + "balancing = \"external\"\n");
  }

  [[nodiscard]] process start_sim(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--quiet", "--set", "device.kind=sim"});
    return start(more);
  }

  /// It says where it serves a moment before it does.
  static json status(std::uint16_t port) {
    http_answer answer;
    wait_until("it serves", [&answer, port] {
      answer = ask(port, "GET", "/v1/cluster");
      return answer.status == 200;
    });
    return json_of(answer).at("status");
  }

  /// By replica; waits until it serves.
  static std::vector<std::uint16_t> ports_of(const process& run) {
    std::vector<std::uint16_t> ports;
    const json told = status(port_of(run)).at("ports");
    for (std::size_t replica = 0; replica < told.size(); ++replica) {
      BOOST_TEST(told[replica].at("replicas") == json({replica}));
      ports.push_back(told[replica].at("port"));
    }
    BOOST_REQUIRE_EQUAL(ports.size(), 2U);
    return ports;
  }

  static std::vector<std::uint64_t> active(std::uint16_t port) {
    std::vector<std::uint64_t> all;
    const auto now = status(port);
    for (const auto& one : now.at("replicas")) {
      all.push_back(one.at("active"));
    }
    return all;
  }

  static int code_of(std::uint16_t port, const char* path) { return ask(port, "GET", path).status; }

  static std::function<void(const std::atomic<int>&)> nothing() {
    return [](const auto&) {
    };
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(serving_under_faults)

BOOST_FIXTURE_TEST_CASE(streams_survive_the_death_of_workers_and_of_the_control_process,
                        serve_fixture) {
  auto run = start({"--quiet"});
  const auto port = port_of(run);
  const auto expected = read_all(port, "calm", [](const auto&) {});
  for (const auto& one : expected) {
    BOOST_REQUIRE_EQUAL(one.failure, "");
    BOOST_TEST(one.connections == 1);
  }
  int kills = 0;
  const auto got = read_all(port, "storm", [&](const std::atomic<int>& events) {
    for (const int share : {1, 2, 3}) {
      wait_until("events come", [&] { return events > share * 100; });
      const auto now = children_of(run.pid());
      ::kill(now.at("worker " + std::to_string(share % 2)), SIGKILL);
      wait_until("events come", [&] { return events > share * 100 + 50; });
      ::kill(now.at("node"), SIGKILL);
      wait_for_successor(run, "node", now.at("node"));
      ++kills;
      BOOST_TEST(port_of(run, 1 + kills) == port, "the same port again"); // V-3
    }
  });
  check_same(got, expected);
  int connections = 0;
  for (const auto& one : got) {
    connections += one.connections;
  }
  BOOST_TEST(connections > static_cast<int>(got.size()), "clients had to come back");
  BOOST_TEST_MESSAGE(kills << " control processes and as many workers killed, " << connections
                           << " connections of " << got.size() << " clients");
  run.signal(SIGTERM);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
}

/// The ready scripts, whose rules all have to be hit (F-1), and nobody but workers and actors dies: the connections stay.
BOOST_FIXTURE_TEST_CASE(streams_survive_the_scripts_of_faults, serve_fixture) {
  config = write_config(demo_model,
                        std::string("[parallel]\ntensor = 2\npipeline = 2\n[cluster]\nisolation = "
                                    "\"process\"\n")
                            + serving_toml);
  std::vector<reading> expected;
  {
    auto calm = start({"--quiet"});
    expected = read_all(port_of(calm), "calm", [](const auto&) {});
    calm.signal(SIGTERM);
    BOOST_TEST(calm.wait().exit_code == 0);
  }
  for (const std::string script : {"worker-kills", "errors", "channels", "slow-workers"}) {
    BOOST_TEST_CONTEXT(script) {
      const auto report = (folder.path() / script).string();
      auto run = start({"--faults",
                        VDIST_SOURCE_DIR "/config/faults/" + script + ".toml",
                        "--faults-report",
                        report});
      const auto port = port_of(run);
      for (const std::string round : {"first", "second"}) { // steps enough for every rule
        const auto got = read_all(port, round, [](const auto&) {});
        check_same(got, expected);
        for (const auto& one : got) {
          BOOST_TEST(one.connections == 1);
        }
      }
      run.signal(SIGTERM);
      const auto done = run.wait();
      BOOST_TEST(done.exit_code == 0, done.err);
      BOOST_TEST(std::filesystem::exists(report + ".json"));
    }
  }
}

BOOST_FIXTURE_TEST_CASE(a_port_per_replica_survives_workers_and_the_control_process,
                        external_fixture) { // V-3, V-4
  auto run = start_sim();
  const auto ports = ports_of(run);
  const auto expected = read_all({{ports[0]}, {ports[1]}}, "calm", nothing());
  for (const auto& one : expected) {
    BOOST_REQUIRE_EQUAL(one.failure, "");
  }
  const auto at_one = read_all({{ports[1]}}, "one", [&](const std::atomic<int>& events) {
    wait_until("events come", [&] { return events > 50; });
    const auto now = active(ports[0]);
    BOOST_TEST(now[0] == 0U);
    BOOST_TEST(now[1] > 0U, "all that came to its port");
  });
  check_same(at_one, expected);
  const auto got =
      read_all({{ports[0], ports[1]}, {ports[1], ports[0]}}, "storm", [&](const auto& events) {
        wait_until("events come", [&] { return events > 100; });
        const auto before = children_of(run.pid());
        ::kill(before.at("worker 0"), SIGKILL);
        BOOST_TEST(wait_for_successor(run, "worker 0", before.at("worker 0")) != 0);
        wait_until("events come", [&] { return events > 300; });
        ::kill(before.at("node"), SIGKILL);
        wait_for_successor(run, "node", before.at("node"));
        BOOST_TEST(port_of(run, 3) == ports[0], "the same ports again"); // V-3: a line per port
        BOOST_TEST((ports_of(run) == ports));
      });
  check_same(got, expected);
  run.signal(SIGTERM);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
}

BOOST_FIXTURE_TEST_CASE(the_port_of_a_replica_that_is_lost_refuses_and_its_streams_go_on,
                        external_fixture) { // F-6, V-4
  auto run = start_sim({"--set", "fault_tolerance.max_restarts=1"});
  const auto ports = ports_of(run);
  const auto expected = read_all({{ports[1]}}, "calm", nothing());
  const auto got = read_all({{ports[0]}, {ports[1]}}, "storm", [&](const std::atomic<int>& events) {
    wait_until("events come", [&] { return events > 100; });
    BOOST_TEST(active(ports[1])[0] > 0U);
    pid_t worker = children_of(run.pid()).at("worker 0");
    ::kill(worker, SIGKILL);
    worker = wait_for_successor(run, "worker 0", worker);
    ::kill(worker, SIGKILL);
    wait_until("the replica is given up",
               [&] { return status(ports[1]).at("replicas").at(0).at("state") == "failed"; });
  });
  check_same(got, expected);
  for (const char* path : {"/health", "/ready"}) {
    BOOST_TEST(code_of(ports[0], path) == 503);
    BOOST_TEST(code_of(ports[1], path) == 200);
  }
  BOOST_TEST(code_of(ports[0], "/live") == 200);
  const json body{{"model", "tiny-tales"}, {"prompt", "Once"}, {"max_tokens", 4}};
  const auto refused = post(ports[0], "/v1/completions", body);
  BOOST_TEST(refused.status == 503, refused.body);
  BOOST_TEST(refused.headers.contains("retry-after"));
  BOOST_TEST(post(ports[1], "/v1/completions", body).status == 200);
  const auto again = read_all({{ports[0]}, {ports[1]}}, "storm", nothing());
  check_same(again, expected); // who comes back by name is known at any port, and gets it all
  run.signal(SIGTERM);
  const auto done = run.wait();
  BOOST_TEST(done.exit_code == 0, done.err);
}

/// A worker dies, then the control process: what is counted on the board goes on, the rest begins anew, and no request that
/// runs through both is counted twice.
BOOST_FIXTURE_TEST_CASE(metrics_tell_of_deaths_and_survive_them_where_they_can, serve_fixture) {
  auto run = start({"--quiet"});
  const auto port = port_of(run);
  const auto page_now = [&] {
    auto page = read_metrics(ask(port, "GET", "/metrics").body);
    BOOST_TEST(page.violations.empty());
    return page;
  };
  metrics_page middle;
  const auto got = read_all(port, "counted", [&](const std::atomic<int>& events) {
    wait_until("events come", [&] { return events > 100; });
    const auto before = page_now();
    BOOST_TEST(before.value("vdist:recoveries_total").value() == 0.0);
    ::kill(children_of(run.pid()).at("worker 1"), SIGKILL);
    wait_until("tokens come again", [&] {
      middle = page_now();
      return middle.value("vdist:recovery_seconds_count", {{"phase", "stall"}}) == 1.0;
    });
    BOOST_TEST(falls(before, middle).empty());
    BOOST_TEST(middle.value("vdist:recoveries_total").value() == 1.0);
    BOOST_TEST(middle.value("vdist:worker_restarts_total").value() == 1.0);
    BOOST_TEST(middle.value("vdist:process_restarts_total", {{"process", "node"}}).value() == 0.0);
    const auto node = children_of(run.pid()).at("node");
    ::kill(node, SIGKILL);
    wait_for_successor(run, "node", node);
    port_of(run, 2);
  });
  double choices = 0;
  for (const auto& one : got) {
    BOOST_TEST(one.failure == "");
    choices += static_cast<double>(one.choices.size());
  }
  const auto last = page_now();
  BOOST_TEST(last.value("vdist:worker_restarts_total").value() == 1.0, "on the board");
  BOOST_TEST(last.value("vdist:process_restarts_total", {{"process", "node"}}).value() == 1.0);
  BOOST_TEST(last.value("vdist:epoch").value() > middle.value("vdist:epoch").value());
  BOOST_TEST(middle.value("vdist:requests_accepted_total").value() == choices);
  BOOST_TEST(last.value("vdist:requests_accepted_total").value() == 0.0, "by the one before");
  BOOST_TEST(last.value("vllm:request_success_total").value() <= choices);
  BOOST_TEST(last.value("vllm:generation_tokens_total").value()
                 + middle.value("vllm:generation_tokens_total").value()
             <= choices * 220);
  BOOST_TEST(last.value("vllm:generation_tokens_total").value() > 0.0);
  BOOST_TEST(last.value("vdist:requests_active").value() == 0.0);
  run.signal(SIGTERM);
  BOOST_TEST(run.wait().exit_code == 0);
}

BOOST_AUTO_TEST_SUITE_END()
