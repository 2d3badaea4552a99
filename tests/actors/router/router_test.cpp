#include "actors/router/router.hpp"

#include "tests/actors/router/recording_sink.hpp"
#include "tests/support/actor_fixture.hpp"

#include "runtime/ledger/memory_ledger.hpp"

#include <boost/test/unit_test.hpp>

#include <map>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using protocol::finish_reason;

namespace {

/// What a replica's scheduler was told.
struct told {
  std::vector<std::shared_ptr<const protocol::request>> requests;
  std::vector<request_id> cancels;
};

scheduler_actor::behavior_type fake_scheduler(std::shared_ptr<told> into) {
  return {
      [into](const add_request& message) { into->requests.push_back(message.request); },
      [into](const cancel& message) { into->cancels.push_back(message.id); },
  };
}

struct router_fixture : actor_fixture {
  explicit router_fixture(std::int32_t replicas = 2, std::size_t max_active = 100)
      : table(replicas) {
    router_config config{.max_active = max_active, .table = &table, .journal = &journal};
    for (std::int32_t i = 0; i < replicas; ++i) {
      schedulers.push_back(std::make_shared<told>());
      config.schedulers.push_back(actors().spawn(fake_scheduler, schedulers.back()));
    }
    scheduler_handles = config.schedulers;
    router = actors().spawn(make_router, config);
    settle();
  }

  ~router_fixture() {
    end(router);
    for (const auto& scheduler : scheduler_handles) {
      end(scheduler);
    }
  }

  submit_reply submit_one(const std::shared_ptr<recording_sink>& sink,
                          std::int32_t max_tokens = 8) {
    auto request = std::make_shared<protocol::request>();
    request->prompt = {1, 2, 3};
    request->max_tokens = max_tokens;
    request->stop_token_ids = {99};
    return ask<submit_reply>(router, submit{request, sink});
  }

  /// As the step lane does it: ledger first, then the router.
  void commit(const protocol::token_event& event) {
    ledger::commit_batch batch;
    batch.append(event);
    BOOST_REQUIRE(journal.commit(batch).has_value());
  }

  void publish(std::int32_t replica, const protocol::token_event& event) {
    tell(router, step_tokens{replica, std::make_shared<token_events>(1, event)});
  }

  void change(std::int32_t replica, replica_state state) {
    tell(router, replica_changed{replica, state, "for the test"});
  }

  ledger::memory_ledger journal;
  request_table table;
  std::vector<std::shared_ptr<told>> schedulers;
  std::vector<scheduler_actor> scheduler_handles;
  router_actor router;
};

struct small_router : router_fixture {
  small_router() : router_fixture(1, 2) {}
};

protocol::token_event event_of(request_id id,
                               std::int32_t position,
                               token_id token,
                               finish_reason reason = finish_reason::none) {
  return {.id = id, .position = position, .token = token, .reason = reason};
}

} // namespace

BOOST_AUTO_TEST_SUITE(router_rules)

BOOST_FIXTURE_TEST_CASE(writes_a_request_to_the_ledger_before_it_is_accepted,
                        router_fixture) { // O-1
  const auto sink = std::make_shared<recording_sink>();
  const auto reply = submit_one(sink);
  BOOST_TEST((reply.status == errc::ok));
  BOOST_TEST(journal.state(reply.id).has_value());
  BOOST_REQUIRE(schedulers[0]->requests.size() == 1U);
  BOOST_TEST((schedulers[0]->requests[0]->id == reply.id));
  BOOST_TEST(schedulers[0]->requests[0]->arrival == reply.id.value);
}

BOOST_FIXTURE_TEST_CASE(accepts_nothing_while_it_drains_and_ends_what_it_has,
                        router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto accepted = submit_one(sink);
  BOOST_TEST(!ask<router_status>(router, get_router_status{}).is_draining);
  const auto status = ask<router_status>(router, drain{});
  BOOST_TEST(status.is_draining);
  BOOST_TEST(status.active == 1U);
  const auto refused = submit_one(std::make_shared<recording_sink>());
  BOOST_TEST((refused.status == errc::closed));
  BOOST_TEST(refused.message.find("draining") != std::string::npos);
  change(0, replica_state::restarted);
  BOOST_TEST(schedulers[0]->requests.size() == 2U, "handed over again");
  const auto last = event_of(accepted.id, 0, 7, finish_reason::length);
  commit(last);
  publish(0, last);
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST(ask<router_status>(router, get_router_status{}).active == 0U);
}

BOOST_FIXTURE_TEST_CASE(refuses_what_the_ledger_refuses_and_forgets_it, router_fixture) { // O-1
  const auto sink = std::make_shared<recording_sink>();
  auto request = std::make_shared<protocol::request>();
  request->prompt = {1};
  request->generated = {5};
  const auto reply = ask<submit_reply>(router, submit{request, sink});
  BOOST_TEST((reply.status == errc::invalid_argument));
  BOOST_TEST(!reply.message.empty());
  BOOST_TEST(table.size() == 0U);
  BOOST_TEST(schedulers[0]->requests.empty());
}

BOOST_FIXTURE_TEST_CASE(refuses_beyond_its_bound_until_a_request_has_ended, small_router) {
  const auto sink = std::make_shared<recording_sink>();
  const auto first = submit_one(sink);
  submit_one(sink);
  const auto refused = submit_one(sink);
  BOOST_TEST((refused.status == errc::queue_full));
  BOOST_TEST(refused.message.find("limit=2") != std::string::npos);
  publish(0, event_of(first.id, 0, 7, finish_reason::length));
  BOOST_TEST((submit_one(sink).status == errc::ok));
}

BOOST_FIXTURE_TEST_CASE(delivers_tokens_once_and_in_order, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  for (const std::int32_t position : {0, 1, 1, 0, 2}) {
    publish(0, event_of(id, position, 10 + position));
  }
  publish(0, event_of(request_id(12345), 0, 1));
  const std::vector<token_id> expected{10, 11, 12};
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
  BOOST_TEST(sink->ends() == 0U);
}

BOOST_FIXTURE_TEST_CASE(sends_a_cancel_to_the_replica_that_runs_the_request, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  submit_one(sink);
  const auto second = submit_one(sink).id;
  tell(router, cancel{second});
  tell(router, cancel{request_id(777)});
  BOOST_TEST(schedulers[0]->cancels.empty());
  BOOST_TEST((schedulers[1]->cancels == std::vector{second}));
}

BOOST_FIXTURE_TEST_CASE(catches_up_from_the_ledger_and_hands_over_when_a_scheduler_starts_anew,
                        router_fixture) { // O-2
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  commit(event_of(id, 0, 10));
  publish(0, event_of(id, 0, 10));
  commit(event_of(id, 1, 11)); // committed, and then its lane died
  commit(event_of(id, 2, 12));
  change(0, replica_state::recovering);
  BOOST_TEST(sink->tokens().size() == 1U, "while the replica recovers nothing moves");
  change(0, replica_state::restarted);
  const std::vector<token_id> expected{10, 11, 12};
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
  BOOST_REQUIRE(schedulers[0]->requests.size() == 2U);
  BOOST_TEST(schedulers[0]->requests[1]->generated == expected, boost::test_tools::per_element());
  publish(0, event_of(id, 2, 12)); // a message of the past
  publish(0, event_of(id, 3, 13, finish_reason::length));
  BOOST_TEST(sink->tokens().size() == 4U);
  BOOST_TEST(sink->ends() == 1U);
}

BOOST_FIXTURE_TEST_CASE(delivers_an_end_that_only_the_ledger_knows, router_fixture) { // O-2
  const auto sink = std::make_shared<recording_sink>();
  const auto by_length = submit_one(sink).id;
  commit(event_of(by_length, 0, 10, finish_reason::length));
  const auto stopped_sink = std::make_shared<recording_sink>();
  const auto by_token = submit_one(stopped_sink).id;
  commit(event_of(by_token, 0, 99, finish_reason::stop));
  const auto cancelled_sink = std::make_shared<recording_sink>();
  const auto by_cancel = submit_one(cancelled_sink).id;
  commit(event_of(by_cancel, 0, -1, finish_reason::cancelled));
  change(0, replica_state::restarted);
  change(1, replica_state::restarted);
  BOOST_TEST((sink->events.back().reason == finish_reason::length));
  BOOST_TEST(sink->events.back().stop_token == -1);
  BOOST_TEST((stopped_sink->events.back().reason == finish_reason::stop));
  BOOST_TEST(stopped_sink->events.back().stop_token == 99,
             "a reader must know that this token is no text");
  BOOST_TEST((cancelled_sink->events.back().reason == finish_reason::cancelled));
  for (const auto& each : {sink, stopped_sink, cancelled_sink}) {
    BOOST_TEST(each->ends() == 1U);
  }
  BOOST_TEST(table.size() == 0U);
  BOOST_TEST(schedulers[0]->requests.size() + schedulers[1]->requests.size() == 3U,
             "nothing is handed over again");
}

BOOST_FIXTURE_TEST_CASE(repeats_a_cancel_to_a_scheduler_that_starts_anew, router_fixture) {
  const auto id = submit_one(std::make_shared<recording_sink>()).id;
  tell(router, cancel{id});
  change(0, replica_state::restarted);
  BOOST_TEST(schedulers[0]->cancels.size() == 2U);
}

BOOST_FIXTURE_TEST_CASE(moves_the_requests_of_a_failed_replica, router_fixture) { // O-2
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  commit(event_of(id, 0, 10));
  change(0, replica_state::failed);
  BOOST_REQUIRE(schedulers[1]->requests.size() == 1U);
  BOOST_TEST((schedulers[1]->requests[0]->id == id));
  BOOST_TEST(schedulers[1]->requests[0]->generated.size() == 1U);
  const std::vector<token_id> expected{10};
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
  BOOST_TEST((submit_one(sink).status == errc::ok));
  BOOST_TEST(schedulers[1]->requests.size() == 2U, "new ones go to the one that lives");
}

BOOST_FIXTURE_TEST_CASE(ends_each_request_once_when_no_replica_is_left, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  change(1, replica_state::failed);
  change(0, replica_state::failed);
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST((sink->events.back().reason == finish_reason::failed));
  BOOST_TEST(sink->events.back().message == "for the test");
  BOOST_TEST((journal.state(id)->reason == finish_reason::failed));
  publish(0, event_of(id, 0, 10, finish_reason::length));
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST((submit_one(sink).status == errc::closed));
}

BOOST_FIXTURE_TEST_CASE(loses_nothing_when_it_dies_itself, router_fixture) { // O-3
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  publish(0, event_of(id, 0, 10));
  end(router);
  router = actors().spawn(
      make_router,
      router_config{.table = &table, .journal = &journal, .schedulers = scheduler_handles});
  publish(0, event_of(id, 0, 10));
  publish(0, event_of(id, 1, 11, finish_reason::length));
  BOOST_TEST(sink->tokens().size() == 2U);
  BOOST_TEST(sink->ends() == 1U);
  const auto status = ask<router_status>(router, get_router_status{});
  BOOST_TEST(status.accepted == 1U);
  BOOST_TEST(status.finished == 1U);
  BOOST_TEST(status.active == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
