// The pump's thread with real links and with scripted sources. Nobody sleeps here: whoever waits is
// woken by a bell, and every wait has a deadline.
#include "actors/gateway/event_pump.hpp"

#include "actors/gateway/worker_link.hpp"

#include "transport/vault/memory_vault.hpp"

#include "runtime/base/log.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;

/// Time that tells how often it was looked at. Who waits without spinning looks once after it has
/// seen its condition for the last time: from then on only a ring wakes it.
class noticed_clock final : public clock {
public:
  [[nodiscard]] time_point now() const override {
    ++looks_;
    return std::chrono::steady_clock::now();
  }

  [[nodiscard]] std::uint64_t looks() const { return looks_; }

private:
  mutable std::atomic<std::uint64_t> looks_{0};
};

/// What a scripted source gives: a frame of this kind, or an error. A closed source always has
/// something to read, as a closed ring has.
struct script {
  std::deque<std::pair<std::uint16_t, errc>> left; // of the pump once it is added
  std::atomic<int> reads{0};
  bool is_closed = false;
};

class scripted_reader final : public frame::frame_reader {
public:
  explicit scripted_reader(script& from) : from_(from) {}

  [[nodiscard]] result<frame::frame_view> read(time_point) override {
    ++from_.reads;
    if (from_.left.empty()) {
      return from_.is_closed ? fail(errc::closed, "script: closed")
                             : fail(errc::timed_out, "script: nothing");
    }
    const auto [kind, error] = from_.left.front();
    if (error == errc::aborted) {
      return fail(error, "script: a frame of an epoch that nobody has announced"); // and it stays
    }
    from_.left.pop_front();
    if (error != errc::ok) {
      from_.is_closed = error == errc::closed;
      return fail(error, "script: as told");
    }
    return frame::frame_view{.header = {.kind = kind}, .body = {}};
  }

  [[nodiscard]] bool has_frame() const noexcept override {
    return from_.is_closed || !from_.left.empty();
  }

  void expect(const frame::expectation&) override {}

  void close() noexcept override {}

  [[nodiscard]] const frame::drop_counters& drops() const noexcept override { return drops_; }

private:
  script& from_;
  frame::drop_counters drops_;
};

/// What a handler heard of one source, in its order. Written by the pump's thread, read by the test
/// behind `count`.
struct heard_events {
  std::vector<std::uint32_t> numbers;
  std::atomic<std::size_t> count{0};
};

struct pump_fixture {
  pump_fixture() { log::initialise("off"); }

  ~pump_fixture() { end(); }

  void start() {
    runner = std::thread([this] {
      thread = std::this_thread::get_id();
      pump.run();
    });
  }

  void end() {
    if (runner.joinable()) {
      pump.stop();
      runner.join();
    }
  }

  /// A handler that writes down what `number_of` says, checks that it is alone, and wakes the test.
  template <class NumberOf>
  event_pump::handler listen(heard_events& into, NumberOf number_of) {
    return [this, &into, number_of](const frame::frame_view& frame) {
      is_alone = is_alone && !is_inside.exchange(true);
      is_on_thread = is_on_thread && std::this_thread::get_id() == thread;
      looks_at_event = time.looks();
      into.numbers.push_back(number_of(frame));
      ++into.count;
      is_inside = false;
      test_bell.ring();
    };
  }

  event_pump::handler listen_to_kinds(heard_events& into) {
    return listen(into, [](const frame::frame_view& frame) {
      return static_cast<std::uint32_t>(frame.header.kind);
    });
  }

  [[nodiscard]] bool comes_true(const std::function<bool()>& is_so) {
    return waits.wait(test_bell, is_so, {.deadline = waits.now() + patience})
           == frame::wait_status::ok;
  }

  [[nodiscard]] bool hears(const heard_events& from, std::size_t count) {
    return comes_true([&from, count] { return from.count >= count; });
  }

  /// Returns when the pump sleeps: it looks at the clock twice on its way from an event to there.
  void wait_until_asleep(std::uint64_t looks_before) {
    const auto deadline = waits.now() + patience;
    while (time.looks() < looks_before + 2) {
      BOOST_REQUIRE(waits.now() < deadline);
      std::this_thread::yield();
    }
  }

  noticed_clock time; // the pump's alone
  system_clock test_time;
  frame::bell bell;
  frame::bell test_bell;
  frame::wait_policy waits{{.slice_max = 20ms}, test_time};
  event_pump pump{bell, frame::wait_policy({.spin_budget = 0us, .slice_max = 60s}, time)};
  std::atomic<bool> is_inside{false};
  std::atomic<bool> is_alone{true};
  std::atomic<bool> is_on_thread{true};
  std::atomic<std::uint64_t> looks_at_event{0};
  std::atomic<std::thread::id> thread;
  std::thread runner;
};

/// Workers with real links.
struct link_fixture : pump_fixture {
  ~link_fixture() { end(); }

  struct worker {
    worker_identity who;
    worker_end end;
    heard_events heard;
    std::uint64_t source = 0;
  };

  /// `rung` is the bell that the worker rings; the pump waits for `bell`.
  void add(worker& to, std::int32_t rank, frame::bell& rung) {
    to.who = {.cluster = 42, .replica = 1, .rank = rank_id(rank), .worker = incarnation(1)};
    auto control = make_worker_link(to.who, memory, bell, waits);
    BOOST_REQUIRE(control.has_value());
    auto end = open_worker_link(to.who, memory, rung, waits);
    BOOST_REQUIRE(end.has_value());
    to.end = std::move(*end);
    to.source = pump.add(std::move(control->events), listen(to.heard, number_of));
  }

  void tell(worker& from, std::uint32_t number) {
    std::array<std::byte, sizeof(number)> body{};
    std::memcpy(body.data(), &number, sizeof(number));
    const auto written = from.end.events->write(
        link_header(from.who, protocol::worker_event_kind), body, waits.now() + patience);
    BOOST_REQUIRE_MESSAGE(written.has_value(), (written ? "" : written.error().context));
  }

  static std::uint32_t number_of(const frame::frame_view& frame) {
    std::uint32_t number = 0;
    std::memcpy(&number, frame.body.data(), sizeof(number));
    return number;
  }

  vault::memory_vault memory;
};

void check_counts_up(const heard_events& heard, std::size_t count) {
  BOOST_REQUIRE_EQUAL(heard.numbers.size(), count);
  for (std::uint32_t i = 0; i < count; ++i) {
    BOOST_REQUIRE_EQUAL(heard.numbers[i], i);
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(event_pump_rules)

BOOST_FIXTURE_TEST_CASE(events_of_every_source_come_in_order_and_one_at_a_time,
                        link_fixture) { // G-1
  constexpr std::uint32_t events = 200; // more than a link holds: its writer waits for the pump
  std::array<worker, 3> workers;
  start();
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    add(workers[static_cast<std::size_t>(rank)], rank, bell);
  }
  for (std::uint32_t i = 0; i < events; ++i) {
    for (auto& one : workers) {
      tell(one, i);
    }
  }
  for (const auto& one : workers) {
    BOOST_TEST(hears(one.heard, events));
  }
  end();
  for (const auto& one : workers) {
    check_counts_up(one.heard, events);
  }
  BOOST_TEST(is_alone);
  BOOST_TEST(is_on_thread);
}

BOOST_FIXTURE_TEST_CASE(an_event_a_new_source_and_a_stop_wake_the_sleeping_pump_at_once,
                        link_fixture) {
  // Unwoken it would rest for a tenth of a second each time: ten seconds in all.
  constexpr int rounds = 50;
  duration waited{};
  worker speaker;
  add(speaker, 0, bell);
  start();
  wait_until_asleep(0);
  std::array<script, rounds> scripts;
  heard_events of_scripts;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    auto since = waits.now();
    tell(speaker, round);
    BOOST_REQUIRE(hears(speaker.heard, round + 1));
    waited += waits.now() - since;
    wait_until_asleep(looks_at_event);
    scripts[round].left = {{std::uint16_t{1}, errc::ok}};
    since = waits.now();
    (void)pump.add(std::make_unique<scripted_reader>(scripts[round]), listen_to_kinds(of_scripts));
    BOOST_REQUIRE(hears(of_scripts, round + 1));
    waited += waits.now() - since;
    wait_until_asleep(looks_at_event);
  }
  end();
  BOOST_TEST((waited < 3s));
}

BOOST_AUTO_TEST_CASE(stop_ends_the_loop_at_once_also_while_it_sleeps) {
  constexpr int rounds = 50; // five seconds if nobody woke it
  duration waited{};
  for (int round = 0; round < rounds; ++round) {
    pump_fixture one;
    one.start();
    one.wait_until_asleep(0);
    const auto since = one.waits.now();
    one.end();
    waited += one.waits.now() - since;
  }
  BOOST_TEST((waited < 2s));
}

BOOST_FIXTURE_TEST_CASE(a_source_that_says_nothing_is_looked_at_all_the_same, pump_fixture) { // G-3
  script silent;
  std::atomic<int> looks{0};
  const auto since = waits.now();
  const auto source = pump.add(
      std::make_unique<scripted_reader>(silent), [](const auto&) {}, [&looks] { ++looks; });
  start();
  while (looks < 10) {
    BOOST_REQUIRE_MESSAGE(waits.now() - since < 5s, "ten times a second");
    std::this_thread::yield();
  }
  pump.remove(source);
  const int before = looks;
  end();
  BOOST_TEST(looks == before);
}

BOOST_FIXTURE_TEST_CASE(a_pump_that_was_stopped_does_not_run, pump_fixture) {
  pump.stop();
  pump.run(); // returns, or the test does not end
}

BOOST_FIXTURE_TEST_CASE(an_event_whose_writer_died_before_it_rang_is_heard_all_the_same,
                        link_fixture) {
  frame::bell unheard;
  worker dying;
  add(dying, 0, unheard);
  start();
  wait_until_asleep(0);
  tell(dying, 0);
  BOOST_TEST(hears(dying.heard, 1)); // at the end of one rest
}

BOOST_FIXTURE_TEST_CASE(a_source_that_ends_is_heard_to_its_end_and_then_left_alone, pump_fixture) {
  script ending;
  ending.left = {{std::uint16_t{1}, errc::ok}, {std::uint16_t{2}, errc::ok}, {{}, errc::closed}};
  script lasting;
  lasting.left = {{std::uint16_t{7}, errc::ok}};
  heard_events of_ending;
  heard_events of_lasting;
  (void)pump.add(std::make_unique<scripted_reader>(ending), listen_to_kinds(of_ending));
  start();
  BOOST_TEST(hears(of_ending, 2));
  BOOST_TEST(comes_true([&ending] { return ending.reads == 3; }));
  const auto looks = looks_at_event.load();
  wait_until_asleep(looks); // though the ended source has something to read for ever
  (void)pump.add(std::make_unique<scripted_reader>(lasting), listen_to_kinds(of_lasting));
  BOOST_TEST(hears(of_lasting, 1));
  end();
  BOOST_TEST(ending.reads == 3, "two frames and the end, read once");
  BOOST_TEST((of_ending.numbers == std::vector<std::uint32_t>{1, 2}));
  BOOST_TEST((of_lasting.numbers == std::vector<std::uint32_t>{7}));
}

BOOST_FIXTURE_TEST_CASE(a_source_that_is_stuck_for_ever_takes_no_other_one_along, pump_fixture) {
  script stuck;
  stuck.left = {{std::uint16_t{1}, errc::ok}, {std::uint16_t{2}, errc::aborted}};
  script lasting;
  lasting.left = {{std::uint16_t{7}, errc::ok}};
  heard_events of_stuck;
  heard_events of_lasting;
  (void)pump.add(std::make_unique<scripted_reader>(stuck), listen_to_kinds(of_stuck));
  start();
  BOOST_TEST(hears(of_stuck, 1));
  (void)pump.add(std::make_unique<scripted_reader>(lasting), listen_to_kinds(of_lasting));
  BOOST_TEST(hears(of_lasting, 1));
  end();
  BOOST_TEST(stuck.reads == 2, "one frame and the one that stays, read once");
}

BOOST_FIXTURE_TEST_CASE(a_worker_that_closes_its_link_takes_no_other_worker_along, link_fixture) {
  worker closing;
  worker staying;
  add(closing, 0, bell);
  add(staying, 1, bell);
  start();
  tell(closing, 0);
  closing.end.events->close();
  BOOST_TEST(hears(closing.heard, 1));
  for (std::uint32_t i = 0; i < 100; ++i) {
    tell(staying, i);
  }
  BOOST_TEST(hears(staying.heard, 100));
  end();
  check_counts_up(staying.heard, 100);
}

BOOST_FIXTURE_TEST_CASE(a_damaged_frame_costs_itself_only, pump_fixture) {
  script damaged;
  damaged.left = {{std::uint16_t{1}, errc::ok}, {{}, errc::corrupt}, {std::uint16_t{2}, errc::ok}};
  heard_events heard;
  (void)pump.add(std::make_unique<scripted_reader>(damaged), listen_to_kinds(heard));
  start();
  BOOST_TEST(hears(heard, 2));
  end();
  BOOST_TEST((heard.numbers == std::vector<std::uint32_t>{1, 2}));
}

BOOST_FIXTURE_TEST_CASE(who_removes_a_source_hears_its_last_events_and_nothing_later,
                        link_fixture) { // G-1
  worker leaving;
  add(leaving, 0, bell);
  thread = std::this_thread::get_id(); // nobody runs the pump
  for (std::uint32_t i = 0; i < 3; ++i) {
    tell(leaving, i);
  }
  pump.remove(leaving.source);
  check_counts_up(leaving.heard, 3);
  BOOST_TEST(is_on_thread);
  const auto late = leaving.end.events->write(
      link_header(leaving.who, protocol::worker_event_kind), {}, waits.now() + patience);
  BOOST_REQUIRE(!late.has_value());
  BOOST_TEST((late.error().code == errc::closed), "nobody waits for a reader that is gone");
  start();
  wait_until_asleep(0);
  pump.remove(leaving.source);
  pump.remove(4711);
  end();
  BOOST_TEST(leaving.heard.count == 3U);
}

BOOST_AUTO_TEST_SUITE_END()
