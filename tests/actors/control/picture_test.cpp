#include "actors/control/picture.hpp"

#include "tests/actors/control/fake_cluster.hpp"

#include <boost/test/unit_test.hpp>

#include <sstream>

using namespace vdist;
using namespace vdist::control;
using namespace vdist::testing;

namespace {

/// Characters of one line, escape sequences not counted.
std::size_t columns_of(const std::string& line) {
  std::size_t columns = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      i = line.find('m', i);
    } else if ((static_cast<unsigned char>(line[i]) & 0xc0U) != 0x80U) {
      ++columns;
    }
  }
  return columns;
}

std::size_t widest(const std::string& text) {
  std::istringstream in(text);
  std::size_t columns = 0;
  for (std::string line; std::getline(in, line);) {
    columns = std::max(columns, columns_of(line));
  }
  return columns;
}

std::string without_colours(std::string text) {
  for (auto at = text.find('\x1b'); at != std::string::npos; at = text.find('\x1b')) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  return text;
}

} // namespace

BOOST_AUTO_TEST_SUITE(pictures_of_a_cluster)

BOOST_AUTO_TEST_CASE(draws_the_status_as_tables) {
  auto earlier = example_status();
  earlier.uptime_s -= 2;
  earlier.replicas[0].tokens -= 1000;
  BOOST_TEST(draw_status(example_status(), earlier, paint::plain) ==
             R"(cluster demo  up 1:02:03
model tiny-tales on cpu, workers are processes
requests: 3 under way, 12 finished, 15 accepted
capacity: 4 of 4 workers
ports: 8000 (replica 0), 8001 (replicas 1 2)

replica  state       epoch  restarts  run  wait  KV blocks  tokens  per s  us/step
      0  recovering      2         1    3     0    12/1024    4012    500     13.4

worker  replica  stage  tensor  state      incarnation   pid
     0        0      0       0  running              1  4711
     1        0      0       1  loading              2  4720
     2        0      1       0  quiescing            1  4713
     3        0      1       1  running              1  4714

process   pid
run      4708
vault    4709
node     4710
)");
}

BOOST_AUTO_TEST_CASE(says_since_when_and_why_workers_are_missing) {
  auto status = example_status();
  status.capacity = {
      .workers = 4, .configured = 8, .since_s = 62.7, .reason = "worker slot 1 died"};
  status.replicas.push_back(
      {.replica = 1,
       .state = "failed",
       .capacity = {
           .workers = 0, .configured = 4, .since_s = 62.7, .reason = "worker slot 1 died"}});
  const auto text = draw_status(status, {}, paint::plain);
  BOOST_TEST(text.find("capacity: 4 of 8 workers for 0:01:02: worker slot 1 died\n")
                 != std::string::npos,
             text);
  BOOST_TEST(text.find("replica 1: 0 of 4 workers for 0:01:02: worker slot 1 died\n")
                 != std::string::npos,
             text);
  BOOST_TEST(text.find("replica 0: ") == std::string::npos, text);
}

BOOST_AUTO_TEST_CASE(draws_the_topology_as_boxes) {
  BOOST_TEST(draw_topology(example_status(), paint::plain) ==
             R"(cluster demo: data 1 x pipeline 2 x tensor 2 = 4 workers

replica 0  recovering  epoch 2  restarts 1
  ┌ stage 0  layers 0 to 3 ──────────────┐
  │   0 running   #1     1 loading   #2  │
  └───────────────────┬──────────────────┘
                      ▼
  ┌ stage 1  layers 4 to 7 ──────────────┐
  │   2 quiescing #1     3 running   #1  │
  └──────────────────────────────────────┘
)");
}

BOOST_AUTO_TEST_CASE(draws_the_ledger_as_a_table) {
  BOOST_TEST(draw_ledger(fake_cluster().page) ==
             R"(1 requests under way, 1 finished are kept; the newest 2:
request  state         prompt  generated  limit    age
      1  length             6         64     64  9.2 s
      2  no token yet     900          0     64  0.5 s
)");
}

BOOST_AUTO_TEST_CASE(says_of_a_replica_whether_it_drains) {
  auto status = example_status();
  auto& replica = status.replicas[0];
  replica.is_draining = true;
  replica.active = 12;
  BOOST_TEST(draw_topology(status, paint::plain).find("replica 0  recovering")
             != std::string::npos);
  replica.state = "running";
  BOOST_TEST(draw_topology(status, paint::plain).find("replica 0  draining 12")
             != std::string::npos);
  replica.active = 0;
  BOOST_TEST(draw_topology(status, paint::plain).find("replica 0  drained") != std::string::npos);
  BOOST_TEST(draw_status(status, {}, paint::plain).find("      0  drained") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(draws_the_armed_faults) {
  BOOST_TEST(draw_faults({}) == "no fault is armed\n");
  const auto text = draw_faults(fake_cluster().armed);
  BOOST_TEST(text.find("1     2  worker.step_begin rank=1 kill9") != std::string::npos, text);
}

BOOST_AUTO_TEST_CASE(eight_ranks_and_long_numbers_fit_a_terminal) {
  auto status = example_status();
  status.is_draining = true;
  auto& replica = status.replicas[0];
  replica.workers.assign(8, {1023, 0, 7, "quiescing", 999, 4194304});
  replica.running = replica.waiting = 1024;
  BOOST_TEST(widest(draw_topology(status, paint::plain)) <= 80U);
  BOOST_TEST(widest(draw_topology(status, paint::colour)) <= 80U);
}

BOOST_AUTO_TEST_CASE(colours_add_nothing_but_colours) {
  auto status = example_status();
  status.is_draining = true;
  for (const auto draw :
       {+[](const cluster_status&of, paint how) { return draw_status(of, {}, how); },
        +[](const cluster_status&of, paint how) {
          return draw_topology(of, how);
        }}) {
    const auto coloured = draw(status, paint::colour);
    BOOST_TEST(coloured.find("\x1b[32mrunning") != std::string::npos);
    BOOST_TEST(draw(status, paint::plain).find('\x1b') == std::string::npos);
    BOOST_TEST(without_colours(coloured) == draw(status, paint::plain));
  }
}

BOOST_AUTO_TEST_SUITE_END()
