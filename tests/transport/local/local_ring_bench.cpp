// Round trip of a step: a plan of 7.5 KB to N readers through one ring, a 1 KB answer from each
// through a ring of its own. CRC in both directions. Prints median and p99, microseconds.
#include "tests/transport/channel_conformance.hpp"

#include "transport/local/local_ring.hpp"

#include <algorithm>
#include <iostream>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::size_t plan_bytes = 7524;
constexpr std::size_t answer_bytes = 1024;
constexpr std::size_t warm_up = 200;
constexpr std::size_t steps = 3000;

void answer_all(frame::frame_reader& down, frame::frame_writer& up) {
  const auto answer = test_body(2, answer_bytes);
  for (std::size_t i = 0; i < warm_up + steps; ++i) {
    if (!down.read(after(patience)) || !up.write(test_header(), answer, after(patience))) {
      return;
    }
  }
}

void report(std::uint32_t readers, std::chrono::microseconds spin) {
  const frame::wait_policy waits({.spin_budget = spin}, channel_clock);
  frame::bell any;
  local::local_ring down({.readers_max = readers}, {}, waits);
  std::vector<std::unique_ptr<local::local_ring>> ups;
  std::vector<std::unique_ptr<frame::frame_reader>> plans;
  std::vector<std::unique_ptr<frame::frame_reader>> answers;
  std::vector<std::thread> threads;
  for (std::uint32_t r = 0; r < readers; ++r) {
    ups.push_back(std::make_unique<local::local_ring>(
        local::local_ring_settings{}, local::local_ring_links{.outer = &any}, waits));
    answers.push_back(std::move(ups[r]->attach(0, test_peer())).value());
    plans.push_back(std::move(down.attach(r, test_peer())).value());
    threads.emplace_back([in = plans[r].get(), out = &ups[r]->writer()] { answer_all(*in, *out); });
  }
  const auto plan = test_body(1, plan_bytes);
  std::vector<double> times;
  for (std::size_t i = 0; i < warm_up + steps; ++i) {
    const auto start = channel_clock.now();
    BOOST_REQUIRE(down.writer().write(test_header(), plan, after(patience)));
    for (auto& answer : answers) {
      const auto has_come = [&answer] {
        return answer->has_frame();
      };
      BOOST_REQUIRE(waits.wait(any, has_come, {.deadline = after(patience)})
                    == frame::wait_status::ok);
      BOOST_REQUIRE(answer->read(after(patience)));
    }
    const std::chrono::duration<double, std::micro> took = channel_clock.now() - start;
    if (i >= warm_up) {
      times.push_back(took.count());
    }
  }
  for (auto& thread : threads) {
    thread.join();
  }
  std::sort(times.begin(), times.end());
  std::cout << readers << " readers, spin " << spin.count() << " us: median "
            << times[times.size() / 2] << " us, p99 " << times[times.size() * 99 / 100] << " us\n";
}

} // namespace

BOOST_AUTO_TEST_CASE(step_round_trip_times) {
  for (const std::uint32_t readers : {1U, 2U, 4U}) {
    report(readers, 200us);
    report(readers, 0us);
  }
}
