#include "actors/executor/step_inbox.hpp"

#include "actors/gateway/epoch_wiring.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<const protocol::request> request_of(std::uint64_t id) {
  auto request = std::make_shared<protocol::request>();
  request->id = request_id(id);
  return request;
}

} // namespace

BOOST_AUTO_TEST_SUITE(step_inbox_rules)

BOOST_AUTO_TEST_CASE(gives_what_has_arrived_once_and_in_order) {
  step_inbox inbox(10);
  BOOST_TEST(inbox.add(request_of(1)).has_value());
  BOOST_TEST(inbox.add(request_of(2)).has_value());
  inbox.cancel(request_id(1));
  inbox.begin({.now = epoch(1), .wiring = {}});
  inbox.begin({.now = epoch(2), .wiring = {}});
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_REQUIRE(commands.requests.size() == 2U);
  BOOST_TEST((commands.requests[0]->id == request_id(1)));
  BOOST_TEST((commands.cancels == std::vector{request_id(1)}));
  BOOST_TEST((commands.begin->now == epoch(2)), "the newest");
  inbox.take(commands, 0);
  BOOST_TEST(commands.requests.empty());
  BOOST_TEST(!commands.begin.has_value());
}

BOOST_AUTO_TEST_CASE(an_epoch_is_lifted_only_while_it_is_the_newest) { // I-1
  step_inbox inbox(1);
  step_commands commands;
  inbox.begin({.now = epoch(3), .wiring = {}, .has_late_writers = true});
  inbox.lift(epoch(2));
  inbox.take(commands, 0);
  BOOST_TEST(commands.begin->has_late_writers);
  BOOST_TEST(!commands.lifted.has_value());
  inbox.lift(epoch(3));
  inbox.take(commands, 0);
  BOOST_REQUIRE(commands.lifted.has_value());
  BOOST_TEST((*commands.lifted == epoch(3)));
  inbox.take(commands, 0);
  BOOST_TEST(!commands.lifted.has_value(), "once");
  inbox.lift(epoch(3));
  inbox.begin({.now = epoch(4), .wiring = {}, .has_late_writers = true});
  inbox.take(commands, 0);
  BOOST_TEST(!commands.lifted.has_value(), "the next one says it anew");
}

BOOST_AUTO_TEST_CASE(bounds_requests_and_never_control) { // I-1
  step_inbox inbox(2);
  BOOST_TEST(inbox.add(request_of(1)).has_value());
  BOOST_TEST(inbox.add(request_of(2)).has_value());
  const auto refused = inbox.add(request_of(3));
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::queue_full));
  inbox.stop();
  inbox.begin({.now = epoch(1), .wiring = {}});
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_TEST(commands.begin.has_value());
  BOOST_TEST(commands.requests.size() == 2U);
  BOOST_TEST(inbox.add(request_of(3)).has_value());
}

BOOST_AUTO_TEST_CASE(a_request_that_comes_again_takes_the_place_of_its_first_copy) { // I-1
  step_inbox inbox(3);
  for (const std::uint64_t id : {1, 2, 3}) {
    BOOST_TEST(inbox.add(request_of(id)).has_value());
  }
  const auto newer = request_of(2);
  BOOST_TEST(inbox.add(newer).has_value(), "also when it is full");
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_REQUIRE(commands.requests.size() == 3U);
  BOOST_TEST(commands.requests[1] == newer);
  BOOST_TEST(inbox.add(newer).has_value());
  inbox.take(commands, 0);
  BOOST_TEST(commands.requests.size() == 1U, "the reader has seen the first one");
}

/// An executor that was replaced still handles what is in its mailbox.
BOOST_AUTO_TEST_CASE(an_epoch_of_the_past_does_not_begin_again) {
  step_inbox inbox(1);
  inbox.begin({.now = epoch(4), .wiring = {}});
  const auto reader = inbox.reset();
  inbox.begin({.now = epoch(3), .wiring = {}});
  step_commands commands;
  inbox.take(commands, reader);
  BOOST_TEST(!commands.begin.has_value());
  inbox.begin({.now = epoch(5), .wiring = {}});
  inbox.begin({.now = epoch(4), .wiring = {}});
  inbox.take(commands, reader);
  BOOST_REQUIRE(commands.begin.has_value());
  BOOST_TEST((commands.begin->now == epoch(5)));
}

/// No plan was made in the first epoch: the death is over the steps that were in flight before it.
BOOST_AUTO_TEST_CASE(an_epoch_that_nobody_saw_begin_leaves_its_death_to_the_next) {
  step_inbox inbox(1);
  inbox.begin({.now = epoch(2), .wiring = {}, .death = step_death{.slot = 1, .cause = "a shot"}});
  inbox.begin({.now = epoch(3), .wiring = {}});
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_REQUIRE(commands.begin->death.has_value());
  BOOST_TEST(commands.begin->death->slot == 1);
  inbox.begin({.now = epoch(4), .wiring = {}});
  inbox.begin({.now = epoch(5), .wiring = {}, .death = step_death{}});
  inbox.take(commands, 0);
  BOOST_TEST(!commands.begin->death.has_value());
}

BOOST_AUTO_TEST_CASE(a_reader_of_the_past_takes_nothing_from_its_successor) { // I-2
  step_inbox inbox(10);
  BOOST_TEST(inbox.add(request_of(1)).has_value());
  const auto successor = inbox.reset();
  BOOST_TEST(inbox.add(request_of(2)).has_value());
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_TEST(commands.requests.empty());
  inbox.take(commands, successor);
  BOOST_REQUIRE(commands.requests.size() == 1U);
  BOOST_TEST((commands.requests[0]->id == request_id(2)), "what came before the reset is gone");
}

BOOST_AUTO_TEST_CASE(a_closed_inbox_forgets_what_it_has_and_what_comes) { // I-3
  step_inbox inbox(1);
  BOOST_TEST(inbox.add(request_of(1)).has_value());
  const auto wiring = std::make_shared<epoch_wiring>();
  inbox.begin({.now = epoch(1), .wiring = wiring});
  inbox.close();
  BOOST_TEST(inbox.add(request_of(2)).has_value());
  BOOST_TEST(inbox.add(request_of(3)).has_value(), "nobody is told that it is full");
  inbox.cancel(request_id(2));
  inbox.begin({.now = epoch(2), .wiring = wiring});
  const auto reader = inbox.reset();
  BOOST_TEST(inbox.add(request_of(4)).has_value());
  step_commands commands;
  inbox.take(commands, reader);
  BOOST_TEST(commands.requests.empty());
  BOOST_TEST(commands.cancels.empty());
  BOOST_TEST(!commands.begin.has_value());
  BOOST_TEST(wiring.use_count() == 1, "no channel is held");
}

BOOST_AUTO_TEST_CASE(wakes_its_reader) {
  step_inbox inbox(10);
  const system_clock time;
  const frame::wait_policy waits({}, time);
  std::thread writer([&inbox] { inbox.cancel(request_id(1)); });
  inbox.wait(waits, time.now() + 30s);
  writer.join();
  step_commands commands;
  inbox.take(commands, 0);
  BOOST_TEST(commands.cancels.size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
