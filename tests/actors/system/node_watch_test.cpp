// Whether a control process gets on: actors that hang, end or have nothing to do; lanes that compute for too long or wait.
#include "actors/system/node_watch.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <chrono>
#include <future>
#include <optional>
#include <thread>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

using hang_atom = caf::atom_constant<caf::atom("hang")>;

constexpr auto patience = 10s;

struct two_threads : caf::actor_system_config {
  two_threads() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", 2);
    set("logger.verbosity", caf::atom("quiet"));
  }
};

struct watch_fixture {
  two_threads config;
  caf::actor_system system{config};
  actor_roll roll;
  progress_cell cell;
  progress_word lane{cell};
  std::optional<node_watch> watch;

  watch_fixture() {
    watch.emplace(system,
                  node_watch_config{.actors = [this] { return roll.living(); },
                                    .words =
                                        [this] {
                                          return std::vector{cell.word.load()};
                                        }});
  }

  ~watch_fixture() {
    for (const auto& one : roll.living()) {
      caf::anon_send_exit(one, caf::exit_reason::kill);
    }
    watch.reset();
    system.await_all_actors_done(); // what they use belongs to this
  }

  /// Does nothing but hang when it is told to.
  caf::actor add() {
    const auto made = system.spawn([](caf::event_based_actor*) {
      return caf::behavior{[](hang_atom, const std::shared_future<void>& until) {
        until.wait();
      }};
    });
    roll.add(caf::actor_cast<caf::strong_actor_ptr>(made));
    return made;
  }

  /// Whether it says so before the patience is over.
  bool gets_on() {
    for (const auto end = std::chrono::steady_clock::now() + patience;
         std::chrono::steady_clock::now() < end;
         std::this_thread::yield()) {
      if (watch->gets_on()) {
        return true;
      }
    }
    return false;
  }

  /// A round of questions was asked, and all have answered.
  void finish_round() { BOOST_REQUIRE(gets_on()); }
};

} // namespace

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(std::shared_future<void>)

BOOST_FIXTURE_TEST_SUITE(node_watches, watch_fixture)

BOOST_AUTO_TEST_CASE(who_has_nothing_to_do_gets_on) { // W-2
  finish_round();                                     // nobody is there
  const auto one = add();
  const auto other = add();
  for (int round = 0; round < 50; ++round) {
    finish_round();
  }
}

BOOST_AUTO_TEST_CASE(one_actor_that_hangs_is_noticed_until_it_goes_on) {
  const auto one = add();
  const auto other = add();
  finish_round();
  std::promise<void> go_on;
  caf::anon_send(one, hang_atom::value, go_on.get_future().share());
  for (int answered = 0; answered < 3; ++answered) { // rounds that were asked before
    (void)watch->gets_on();
    std::this_thread::sleep_for(20ms); // for answers that must not come
  }
  BOOST_TEST(!watch->gets_on());
  go_on.set_value();
  finish_round();
}

BOOST_AUTO_TEST_CASE(actors_that_end_owe_no_answer) { // W-1
  auto one = add();
  const auto other = add();
  finish_round();
  caf::anon_send_exit(one, caf::exit_reason::kill);
  one = nullptr;
  for (int round = 0; round < 10; ++round) {
    finish_round();
  }
}

BOOST_AUTO_TEST_CASE(
    a_lane_that_computes_has_to_change_its_word_and_one_that_waits_has_not) { // W-2
  lane.enter(work_phase::waiting);
  finish_round();
  finish_round();
  lane.enter(work_phase::computing);
  finish_round();
  for (int round = 0; round < 20; ++round) {
    BOOST_TEST(!watch->gets_on());
  }
  lane.bump();
  finish_round();
  lane.enter(work_phase::idle);
  finish_round();
  finish_round();
}

BOOST_AUTO_TEST_SUITE_END()
