// G-2 of vdist/engine.hpp, T-2 of vdist/stream.hpp: nothing keeps an engine from ending, and what outlives it is safe.
#include "tests/vdist/api_fixture.hpp"

#include <atomic>
#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>
#include <optional>
#include <thread>

using namespace std::chrono_literals;
using vdist::engine_state;
using vdist::error_code;
using vdist::stream_item;
using namespace vdist::testing;

namespace {

using steady = std::chrono::steady_clock;

/// Of a destructor whose deadline is `bound`; generous, the machine may be busy.
constexpr auto bound = 300ms;
constexpr auto much_later = 20s;

/// Its worker stands still for `time` in its next step, whatever is asked of it.
void hold_up(const vdist::engine& engine, std::chrono::milliseconds time) {
  BOOST_REQUIRE(inside(engine)->points().arm({.point = "worker.step_begin",
                                              .action = vdist::failpoint_action::delay,
                                              .argument = time.count()}));
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdist_closing)

BOOST_AUTO_TEST_CASE(a_stuck_worker_does_not_hold_the_destructor) {
  std::shared_ptr<vdist::embedding::engine_core> core;
  std::optional<vdist::stream> held;
  {
    auto engine = sim_engine({.close_deadline = bound});
    core = vdist::embedding::engine_core::of(engine);
    hold_up(engine, 10 * bound);
    held.emplace(stream_of(engine, sim_request(20)));
    BOOST_TEST((held->next(20ms).error().code == error_code::timed_out));
    const auto from = steady::now();
    { const auto ended = std::move(engine); }
    BOOST_TEST((steady::now() - from >= bound), "the worker is stuck: this test shows something");
    BOOST_TEST((steady::now() - from < much_later), "G-2");
  }
  BOOST_TEST((held->next(long_time).error().code == error_code::closed), "T-2");
  held->cancel();
  held.reset();
  BOOST_TEST(core->close(long_time).has_value(), "what was left behind ends when it gets on");
}

BOOST_AUTO_TEST_CASE(streams_that_are_held_end_with_closed) {
  std::optional<vdist::engine> engine(sim_engine({.settings = {"device.sim.step_us=2000"}}));
  auto blocking = stream_of(*engine, sim_request(250));
  auto calling = stream_of(*engine, sim_request(250));
  auto unread = stream_of(*engine, sim_request(250));
  std::promise<error_code> called;
  BOOST_REQUIRE(calling.on_event([&called](const stream_item& item) {
    if (!item) {
      called.set_value(item.error().code);
    }
  }));
  std::latch has_begun(1);
  std::optional<vdist::error_code> read;
  std::thread reader([&] {
    auto item = blocking.next(long_time);
    has_begun.count_down();
    while (item && *item) {
      item = blocking.next(long_time);
    }
    read = item ? error_code::none : item.error().code;
  });
  has_begun.wait();
  engine.reset(); // from another thread than the reader's, with streams still held
  reader.join();
  BOOST_REQUIRE(read.has_value());
  BOOST_TEST((*read == error_code::closed));
  BOOST_TEST((called.get_future().get() == error_code::closed));
  BOOST_TEST((unread.next(long_time).error().code == error_code::closed));
  std::promise<error_code> too_late;
  BOOST_REQUIRE(unread.on_event(
      [&too_late](const stream_item& item) { too_late.set_value(item.error().code); }));
  BOOST_TEST((too_late.get_future().get() == error_code::closed));
  unread.cancel();
}

BOOST_AUTO_TEST_CASE(an_engine_that_loads_can_be_destroyed) {
  const auto from = steady::now();
  for (int round = 0; round < 20; ++round) {
    const auto engine = sim_engine({.waits_until_ready = false});
  }
  BOOST_TEST((steady::now() - from < much_later));
}

BOOST_AUTO_TEST_CASE(loading_that_is_stuck_holds_nobody) {
  std::mutex mutex;
  std::condition_variable changed;
  bool may_go_on = false;
  std::promise<void> is_loading;
  std::atomic<bool> was_told = false;
  vdist::engine_options options{.waits_until_ready = false, .close_deadline = bound};
  options.on_phase = [&](std::string_view, std::string_view) {
    if (!was_told.exchange(true)) {
      is_loading.set_value();
      std::unique_lock lock(mutex);
      changed.wait(lock, [&may_go_on] { return may_go_on; });
    }
  };
  std::shared_ptr<vdist::embedding::engine_core> core;
  {
    auto engine = sim_engine(std::move(options));
    core = vdist::embedding::engine_core::of(engine);
    is_loading.get_future().get();
    BOOST_TEST((engine.health().state == engine_state::loading));
    BOOST_TEST((engine.generate(sim_request(1)).error().code == error_code::not_ready));
    BOOST_TEST((engine.stats().error().code == error_code::not_ready));
    BOOST_TEST((engine.wait_until_ready(10ms).error().code == error_code::timed_out));
    auto waiting =
        std::async(std::launch::async, [&engine] { return engine.wait_until_ready(long_time); });
    const auto from = steady::now();
    BOOST_TEST((engine.close(bound).error().code == error_code::timed_out));
    BOOST_TEST((steady::now() - from < much_later), "G-2");
    BOOST_TEST((waiting.get().error().code == error_code::closed), "who waits comes back");
  }
  {
    const std::lock_guard lock(mutex);
    may_go_on = true;
  }
  changed.notify_all();
  BOOST_TEST(core->close(long_time).has_value());
}

BOOST_AUTO_TEST_CASE(calls_from_many_threads_come_back_while_it_closes) {
  auto engine = sim_engine();
  std::atomic<int> refused = 0;
  std::vector<std::jthread> callers;
  std::latch has_begun(8);
  for (int caller = 0; caller < 8; ++caller) {
    callers.emplace_back([&] {
      auto first = engine.generate(sim_request(5));
      has_begun.count_down();
      while (true) {
        auto stream = engine.generate(sim_request(5));
        if (!stream) {
          refused += stream.error().code == error_code::closed ? 1 : 100;
          return;
        }
        const auto read = stream->collect(long_time);
        if (!read && read.error().code != error_code::closed) {
          refused += 100;
          return;
        }
      }
    });
  }
  has_begun.wait();
  BOOST_TEST(engine.close(long_time).has_value());
  callers.clear();
  BOOST_TEST(refused == 8);
  BOOST_TEST((engine.health().state == engine_state::closed));
  BOOST_TEST(engine.close(long_time).has_value(), "any number of times");
}

BOOST_AUTO_TEST_CASE(an_engine_may_end_in_its_own_callback) {
  auto engine = std::make_unique<vdist::engine>(sim_engine());
  auto core = vdist::embedding::engine_core::of(*engine);
  auto stream = stream_of(*engine, sim_request(10));
  std::promise<void> done;
  BOOST_REQUIRE(stream.on_event([&](const stream_item&) {
    if (engine) {
      engine.reset();
      done.set_value();
    }
  }));
  BOOST_TEST((done.get_future().wait_for(long_time) == std::future_status::ready));
  BOOST_TEST(core->close(long_time).has_value());
}

BOOST_AUTO_TEST_CASE(a_late_start_is_given_up) {
  std::promise<void> release;
  auto gate = release.get_future().share();
  vdist::engine_options options{.ready_deadline = 50ms, .close_deadline = 50ms};
  options.settings.emplace_back("log.level=off");
  options.on_phase = [gate](std::string_view, std::string_view) {
    gate.wait();
  };
  const auto late = vdist::engine::from_text(sim_config(), std::move(options));
  BOOST_TEST((late.error().code == error_code::timed_out));
  release.set_value();
}

BOOST_AUTO_TEST_SUITE_END()
