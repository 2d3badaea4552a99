// Worker lanes that change hands, without actors: who may tell a lane what, and what a successor finds.
#include "actors/system/kept_lanes.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <stdexcept>
#include <thread>

using namespace vdist;
using namespace vdist::actors;

namespace {

using kind = supervisor::slot_start::kind;

struct noting_lane final : worker_lane {
  explicit noting_lane(lane_request request) : wanted(std::move(request)) {}

  void load() override { ++loads; }

  void prepare(epoch now) override { prepared = now; }

  void begin(epoch now) override { begun = now; }

  void stop() override { ++stops; }

  void retire() override { ++retires; }

  void report(worker_event::kind what) {
    wanted.report({.what = what, .slot = wanted.slot, .worker = wanted.worker});
  }

  lane_request wanted;
  int loads = 0;
  int stops = 0;
  int retires = 0;
  epoch prepared;
  epoch begun;
};

struct kept_fixture {
  lane_request request(std::int32_t slot, std::uint32_t worker, bool is_living = false) {
    return {.slot = slot,
            .worker = incarnation(worker),
            .is_living = is_living,
            .report = [this](const worker_event& event) { heard.push_back(event.what); },
            .kill_actor =
                [this] {
                  ++killed;
                }};
  }

  /// A worker that has loaded, of a supervisor that then ends.
  std::shared_ptr<worker_lane> leave_a_living_worker() {
    const auto first = kept.begin_tenure();
    auto held = kept.take(first, request(0, 1));
    held->load();
    lane->report(worker_event::kind::loaded);
    kept.end_tenure(first);
    heard.clear();
    return held;
  }

  bool refuses_lanes = false;
  int killed = 0;
  std::vector<worker_event::kind> heard;
  std::vector<worker_event> halted;
  std::vector<worker_event> gone;
  std::shared_ptr<noting_lane> lane; // the newest
  kept_lanes kept{2,
                  [this](lane_request wanted) -> std::shared_ptr<worker_lane> {
                    if (refuses_lanes) {
                      throw std::runtime_error("no thread");
                    }
                    lane = std::make_shared<noting_lane>(std::move(wanted));
                    return lane;
                  },
                  [this](const worker_event& event) {
                    (event.what == worker_event::kind::gone ? gone : halted).push_back(event);
                  }};
};

} // namespace

BOOST_AUTO_TEST_SUITE(kept_lanes_rules)

BOOST_FIXTURE_TEST_CASE(an_actor_ends_its_lane_in_its_tenure, kept_fixture) { // H-1
  const auto tenure = kept.begin_tenure();
  const auto held = kept.take(tenure, request(1, 1));
  held->load();
  held->prepare(epoch(2));
  held->begin(epoch(2));
  BOOST_TEST(lane->loads == 1);
  BOOST_TEST((lane->prepared == epoch(2)));
  BOOST_TEST((lane->begun == epoch(2)));
  held->stop();
  BOOST_TEST(lane->stops == 1);
  lane->report(worker_event::kind::gone);
  BOOST_REQUIRE(gone.size() == 1U);
  BOOST_TEST(gone.front().slot == 1);
  BOOST_TEST((kept.found()[1].what == kind::absent));
  BOOST_TEST((kept.found()[1].worker == incarnation(1)), "its successor has another number");
}

BOOST_FIXTURE_TEST_CASE(an_actor_leaves_its_lane_alone_after_it, kept_fixture) { // H-1
  const auto held = leave_a_living_worker();
  held->prepare(epoch(7));
  held->begin(epoch(7));
  held->stop();
  BOOST_TEST(lane->stops == 0);
  BOOST_TEST((lane->prepared == epoch()));
  BOOST_TEST((lane->begun == epoch()));
  const auto second = kept.begin_tenure();
  held->stop();
  BOOST_TEST(lane->stops == 0);
  BOOST_TEST((kept.found()[0].what == kind::living));
  const auto adopted = kept.take(second, request(0, 1, true));
  held->stop();
  BOOST_TEST(lane->stops == 0);
  adopted->prepare(epoch(8));
  BOOST_TEST((lane->prepared == epoch(8)));
  adopted->stop();
  BOOST_TEST(lane->stops == 1);
}

BOOST_FIXTURE_TEST_CASE(a_lane_that_was_told_to_end_is_taken_over_by_nobody, kept_fixture) { // H-2
  const auto tenure = kept.begin_tenure();
  const auto held = kept.take(tenure, request(0, 1));
  held->retire();
  BOOST_TEST(lane->retires == 0, "it has not even loaded");
  held->load();
  lane->report(worker_event::kind::loaded);
  held->retire();
  held->retire();
  BOOST_TEST(lane->retires == 1);
  kept.end_tenure(tenure);
  static_cast<void>(kept.begin_tenure());
  BOOST_TEST((kept.found()[0].what == kind::dying));
  BOOST_TEST(lane->stops == 1, "its supervisor's deadline has ended with it");
  lane->report(worker_event::kind::gone);
  BOOST_TEST(gone.size() == 1U);
  BOOST_TEST((kept.found()[0].what == kind::absent));
}

BOOST_FIXTURE_TEST_CASE(a_lane_that_has_halted_makes_room_and_is_named_until_it_has_gone,
                        kept_fixture) { // H-2, H-3
  const auto tenure = kept.begin_tenure();
  const auto held = kept.take(tenure, request(0, 1));
  held->load();
  const auto first = lane;
  first->report(worker_event::kind::failed);
  first->report(worker_event::kind::halted);
  first->report(worker_event::kind::halted);
  BOOST_TEST(halted.size() == 1U);
  const auto next = kept.take(tenure, request(0, 2));
  BOOST_TEST((lane != first));
  next->load();
  held->stop();
  BOOST_TEST(first->stops == 0, "there is nothing to stop");
  lane->report(worker_event::kind::halted);
  const auto found = kept.found().front();
  BOOST_TEST((found.what == kind::absent));
  BOOST_TEST((found.worker == incarnation(2)));
  BOOST_TEST((found.late == std::vector{incarnation(1), incarnation(2)}));
  BOOST_TEST(gone.empty());
  first->report(worker_event::kind::gone);
  BOOST_REQUIRE(gone.size() == 1U);
  BOOST_TEST((gone.front().worker == incarnation(1)));
  BOOST_TEST((kept.found().front().late == std::vector{incarnation(2)}));
  static_cast<void>(kept.take(tenure, request(0, 3)));
  lane->report(worker_event::kind::loaded);
  BOOST_TEST((kept.found().front().late == std::vector{incarnation(2)}), "its successor's, too");
}

/// Found living, and dead when its actor comes.
BOOST_FIXTURE_TEST_CASE(a_lane_that_has_halted_is_not_taken_over, kept_fixture) { // H-2
  static_cast<void>(leave_a_living_worker());
  const auto second = kept.begin_tenure();
  BOOST_TEST((kept.found().front().what == kind::living));
  lane->report(worker_event::kind::halted);
  BOOST_TEST(halted.size() == 1U);
  BOOST_CHECK_THROW(static_cast<void>(kept.take(second, request(0, 1, true))), std::runtime_error);
  lane->report(worker_event::kind::failed); // late, of a command that nobody read
  BOOST_TEST((kept.found().front().what == kind::absent));
  BOOST_TEST((kept.take(second, request(0, 2)) != nullptr));
}

BOOST_FIXTURE_TEST_CASE(the_newest_actor_hears_what_a_lane_says, kept_fixture) { // H-3
  static_cast<void>(leave_a_living_worker());
  const auto second = kept.begin_tenure();
  auto wanted = request(0, 1, true);
  std::vector<worker_event::kind> second_heard;
  wanted.report = [&second_heard](const worker_event& event) {
    second_heard.push_back(event.what);
  };
  const auto adopted = kept.take(second, std::move(wanted));
  lane->report(worker_event::kind::quiesced);
  BOOST_TEST(heard.empty());
  BOOST_TEST(second_heard.size() == 1U);
  lane->wanted.kill_actor();
  BOOST_TEST(killed == 1);
}

BOOST_FIXTURE_TEST_CASE(only_the_present_tenure_makes_lanes, kept_fixture) { // H-2
  const auto first = kept.begin_tenure();
  kept.end_tenure(first);
  BOOST_CHECK_THROW(static_cast<void>(kept.take(first, request(0, 1))), std::runtime_error);
  const auto second = kept.begin_tenure();
  kept.end_tenure(first); // late, and of no meaning
  BOOST_CHECK_THROW(static_cast<void>(kept.take(first, request(0, 1))), std::runtime_error);
  BOOST_TEST(!lane);
  const auto held = kept.take(second, request(0, 1));
  BOOST_TEST((lane != nullptr));
  BOOST_CHECK_THROW(static_cast<void>(kept.take(second, request(0, 2))), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(finds_what_is_there_and_ends_what_is_of_no_use, kept_fixture) { // H-2
  const auto first = kept.begin_tenure();
  const auto made = kept.take(first, request(0, 1));
  const auto never_loaded = lane;
  const auto loading = kept.take(first, request(1, 4));
  loading->load();
  kept.end_tenure(first);
  made->load(); // too late
  BOOST_TEST(never_loaded->loads == 0);
  static_cast<void>(kept.begin_tenure());
  const auto found = kept.found();
  BOOST_TEST((found[0].what == kind::dying));
  BOOST_TEST(never_loaded->stops == 1);
  BOOST_TEST((found[1].what == kind::loading));
  BOOST_TEST((found[1].worker == incarnation(4)));
  never_loaded->report(worker_event::kind::gone);
  BOOST_TEST(gone.size() == 1U);
  lane->report(worker_event::kind::failed);
  BOOST_TEST((kept.found()[1].what == kind::dying));
  BOOST_TEST(lane->stops == 1);
  BOOST_TEST((kept.found()[0].what == kind::absent));
}

BOOST_FIXTURE_TEST_CASE(a_failure_that_nobody_heard_is_told_to_the_next, kept_fixture) { // H-3
  static_cast<void>(leave_a_living_worker());
  const auto second = kept.begin_tenure();
  BOOST_TEST((kept.found()[0].what == kind::living));
  lane->report(worker_event::kind::failed); // to an actor that has ended
  heard.clear();
  const auto adopted = kept.take(second, request(0, 1, true));
  BOOST_REQUIRE(heard.size() == 1U);
  BOOST_TEST((heard.front() == worker_event::kind::failed));
  adopted->stop();
  BOOST_TEST(lane->stops == 1);
}

/// `gone` goes past the actors, and `failed` does not.
BOOST_FIXTURE_TEST_CASE(who_is_gone_says_why_it_failed, kept_fixture) { // H-3
  const auto tenure = kept.begin_tenure();
  const auto held = kept.take(tenure, request(0, 1));
  held->load();
  lane->wanted.report({.what = worker_event::kind::failed,
                       .slot = 0,
                       .worker = incarnation(1),
                       .status = errc::device_lost,
                       .text = "its device is gone"});
  held->stop();
  lane->report(worker_event::kind::gone);
  const auto next = kept.take(tenure, request(0, 2));
  next->load();
  next->stop();
  lane->report(worker_event::kind::gone);
  BOOST_REQUIRE(gone.size() == 2U);
  BOOST_TEST((gone[0].status == errc::device_lost));
  BOOST_TEST(gone[0].text == "its device is gone");
  BOOST_TEST((gone[1].status == errc::ok), "the failure of another incarnation");
}

BOOST_FIXTURE_TEST_CASE(a_lane_that_cannot_be_made_is_nobody, kept_fixture) {
  refuses_lanes = true;
  const auto tenure = kept.begin_tenure();
  BOOST_CHECK_THROW(static_cast<void>(kept.take(tenure, request(0, 1))), std::runtime_error);
  BOOST_TEST((kept.found()[0].what == kind::absent));
  refuses_lanes = false;
  BOOST_TEST((kept.take(tenure, request(0, 2)) != nullptr));
}

BOOST_FIXTURE_TEST_CASE(goes_on_with_what_a_dead_process_has_left, kept_fixture) {
  kept.remember({{.what = kind::living, .worker = incarnation(4)},
                 {.what = kind::absent, .worker = incarnation(2)}});
  const auto tenure = kept.begin_tenure();
  const auto found = kept.found();
  BOOST_TEST((found[0].what == kind::living));
  BOOST_TEST((found[0].worker == incarnation(4)));
  BOOST_TEST((found[1].what == kind::absent));
  BOOST_TEST((found[1].worker == incarnation(2)));
  const auto adopted = kept.take(tenure, request(0, 4, true));
  BOOST_TEST(lane->wanted.is_living);
  BOOST_TEST((kept.found()[0].what == kind::loading), "until it proves that it has loaded");
  lane->report(worker_event::kind::quiesced);
  BOOST_TEST((kept.found()[0].what == kind::living));
}

BOOST_FIXTURE_TEST_CASE(stops_all_whoever_has_them, kept_fixture) {
  static_cast<void>(leave_a_living_worker());
  const auto second = kept.begin_tenure();
  kept.stop_all();
  BOOST_TEST(lane->stops == 1);
  BOOST_CHECK_THROW(static_cast<void>(kept.take(second, request(1, 1))), std::runtime_error);
}

/// Supervisors come and go while workers are made, load, fail and end; threads as in life.
BOOST_AUTO_TEST_CASE(no_slot_ever_has_two_lanes) {
  std::atomic<int> living{0};
  std::atomic<bool> has_doubles{false};

  struct counted_lane final : worker_lane {
    counted_lane(lane_request request, std::atomic<int>& count)
        : wanted(std::move(request)), living(count) {}

    void load() override { report(worker_event::kind::loaded); }

    void prepare(epoch) override {}

    void begin(epoch) override {}

    void stop() override {
      if (!is_over.exchange(true)) {
        --living;
        report(worker_event::kind::gone);
      }
    }

    void report(worker_event::kind what) {
      wanted.report({.what = what, .slot = wanted.slot, .worker = wanted.worker});
    }

    lane_request wanted;
    std::atomic<int>& living;
    std::atomic<bool> is_over{false};
  };

  kept_lanes kept(
      1,
      [&living, &has_doubles](lane_request wanted) -> std::shared_ptr<worker_lane> {
        if (living.fetch_add(1) != 0) {
          has_doubles = true;
        }
        return std::make_shared<counted_lane>(std::move(wanted), living);
      },
      [](const worker_event&) {});
  std::thread stragglers;
  for (int round = 0; round < 2000; ++round) {
    const auto tenure = kept.begin_tenure();
    const auto found = kept.found().front();
    const bool is_living = found.what == kind::living || found.what == kind::loading;
    const bool is_free = found.what == kind::absent;
    if (stragglers.joinable()) {
      stragglers.join();
    }
    stragglers = std::thread([&kept, tenure, found, is_living, is_free] {
      if (!is_living && !is_free) {
        return;
      }
      try {
        const incarnation worker(found.worker.value + (is_free ? 1U : 0U));
        const auto held = kept.take(tenure,
                                    {.slot = 0,
                                     .worker = worker,
                                     .is_living = is_living,
                                     .report = [](const worker_event&) {},
                                     .kill_actor = {}});
        if (is_free) {
          held->load();
        }
        held->stop();
      } catch (const std::runtime_error&) { // its supervisor has ended
      }
    });
    if (round % 3 == 0) {
      std::this_thread::yield();
    }
    kept.end_tenure(tenure);
  }
  stragglers.join();
  BOOST_TEST(!has_doubles);
}

BOOST_AUTO_TEST_SUITE_END()
