#include "transport/frame/wait_policy.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <thread>

using namespace vdist;
using namespace vdist::frame;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(wait_policy_suite)

namespace {

const system_clock machine_clock;
/// Sleeps at once, and for much longer than any test may take: a lost wake-up is a slow test.
const wait_policy sleeper({.spin_budget = 0us, .slice_max = 10s}, machine_clock);
const wait_policy spinner({.spin_budget = 10s}, machine_clock);
constexpr auto long_wait = 20s;

wait_bounds within(duration d) {
  return wait_bounds{.deadline = machine_clock.now() + d};
}

/// Two threads hand a number to and fro; returns how long that took.
duration ping_pong(const wait_policy& waits, std::uint32_t rounds) {
  std::array<bell, 2> doors;
  std::atomic<std::uint32_t> ball{0};
  const auto play = [&](std::uint32_t side) {
    for (std::uint32_t i = side; i < 2 * rounds; i += 2) {
      const auto status = waits.wait(
          doors[side], [&ball, i] { return ball.load() == i; }, within(long_wait));
      if (status != wait_status::ok) {
        return;
      }
      ball.store(i + 1);
      doors[1 - side].ring();
    }
  };
  const auto start = machine_clock.now();
  std::thread other(play, 1);
  play(0);
  other.join();
  BOOST_TEST(ball.load() == 2 * rounds);
  return machine_clock.now() - start;
}

} // namespace

BOOST_AUTO_TEST_CASE(loses_no_wake_up_when_both_sides_sleep) { // B-1
  BOOST_CHECK(ping_pong(sleeper, 500) < 9s); // one lost wake-up costs a slice, 10 s
}

BOOST_AUTO_TEST_CASE(spins_to_the_same_end) {
  BOOST_CHECK(ping_pong(spinner, 2000) < 5s);
}

BOOST_AUTO_TEST_CASE(wakes_all_who_wait_for_one_bell) {
  bell door;
  std::atomic<bool> is_open{false};
  std::atomic<int> through{0};
  std::array<std::thread, 4> waiters;
  for (auto& waiter : waiters) {
    waiter = std::thread([&] {
      const auto status = sleeper.wait(
          door, [&is_open] { return is_open.load(); }, within(long_wait));
      through += status == wait_status::ok ? 1 : 0;
    });
  }
  const auto start = machine_clock.now();
  is_open = true;
  door.ring();
  for (auto& waiter : waiters) {
    waiter.join();
  }
  BOOST_TEST(through == 4);
  BOOST_CHECK(machine_clock.now() - start < 5s);
}

BOOST_AUTO_TEST_CASE(ends_at_the_deadline_and_not_before) {
  bell door;
  for (const auto* waits : {&sleeper, &spinner}) {
    const auto start = machine_clock.now();
    const auto status = waits->wait(
        door, [] { return false; }, within(5ms));
    const auto waited = machine_clock.now() - start;
    BOOST_CHECK(status == wait_status::timed_out);
    BOOST_CHECK(waited >= 5ms);
    BOOST_CHECK(waited < 5s);
  }
}

BOOST_AUTO_TEST_CASE(a_true_condition_wins_over_a_past_deadline) {
  bell door;
  const wait_bounds past{.deadline = machine_clock.now() - 1s};
  BOOST_CHECK(sleeper.wait(
                  door, [] { return true; }, past)
              == wait_status::ok);
  BOOST_CHECK(sleeper.wait(
                  door, [] { return false; }, past)
              == wait_status::timed_out);
}

BOOST_AUTO_TEST_CASE(a_raised_fence_ends_a_sleep_at_once) {
  for (const auto* waits : {&sleeper, &spinner}) {
    bell door;
    fence stop;
    std::atomic<bool> has_started{false};
    wait_status status{};
    std::thread waiter([&] {
      auto bounds = within(long_wait);
      bounds.stop = &stop;
      bounds.mine = epoch(3);
      status = waits->wait(
          door,
          [&has_started] {
            has_started = true;
            return false;
          },
          bounds);
    });
    while (!has_started) {
      std::this_thread::yield();
    }
    stop.raise(epoch(3)); // not above: the wait goes on
    stop.raise(epoch(2)); // never falls
    const auto start = machine_clock.now();
    stop.raise(epoch(4));
    waiter.join();
    BOOST_CHECK(status == wait_status::aborted);
    BOOST_CHECK(machine_clock.now() - start < 5s);
    BOOST_TEST(stop.is_raised_above(epoch(3)));
    BOOST_TEST(!stop.is_raised_above(epoch(4)));
  }
}

BOOST_AUTO_TEST_CASE(an_early_ring_ends_the_predicted_sleep) {
  bell door;
  std::atomic<bool> is_open{false};
  wait_status status{};
  std::thread waiter([&] {
    auto bounds = within(long_wait);
    bounds.expected_at = machine_clock.now() + 15s;
    status = sleeper.wait(
        door, [&is_open] { return is_open.load(); }, bounds);
  });
  const auto start = machine_clock.now();
  is_open = true;
  door.ring();
  waiter.join();
  BOOST_CHECK(status == wait_status::ok);
  BOOST_CHECK(machine_clock.now() - start < 5s);
}

BOOST_AUTO_TEST_CASE(predicts_a_little_before_the_usual_interval) {
  arrival_predictor predictor;
  const time_point zero{};
  BOOST_CHECK(predictor.expected_at(zero + 1s) == time_point{});
  for (int i = 0; i < 100; ++i) {
    predictor.observe(zero + 1s, zero + 1s + 10ms);
  }
  BOOST_CHECK(predictor.expected_at(zero + 2s) == zero + 2s + 9ms);
  for (int i = 0; i < 100; ++i) {
    predictor.observe(zero, zero + 20ms);
  }
  const auto expected = predictor.expected_at(zero + 2s) - (zero + 2s);
  BOOST_CHECK(expected > 17ms);
  BOOST_CHECK(expected <= 18ms);
}

BOOST_AUTO_TEST_SUITE_END()
