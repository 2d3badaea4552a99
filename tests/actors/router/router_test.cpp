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
      end(scheduler.get());
    }
  }

  static protocol::request request_with(std::uint64_t client_key) {
    protocol::request request;
    request.prompt = {1, 2, 3};
    request.max_tokens = 8;
    request.stop_token_ids = {99};
    request.sampling.logprobs = 1;
    request.client_key = client_key;
    return request;
  }

  submit_reply submit_one(const std::shared_ptr<recording_sink>& sink,
                          std::uint64_t client_key = 0) {
    const auto request = std::make_shared<protocol::request>(request_with(client_key));
    return ask<submit_reply>(router, submit{request, sink});
  }

  /// In the place of one that has died; `next`: of another process, with a table of its own.
  void respawn(request_table& next) {
    end(router);
    router = actors().spawn(
        make_router,
        router_config{.table = &next, .journal = &journal, .schedulers = scheduler_handles});
    settle();
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

  void give_up(std::int32_t replica) {
    change(replica, replica_state::failed);
    change(replica, replica_state::ended);
  }

  ledger::memory_ledger journal;
  request_table table;
  std::vector<std::shared_ptr<told>> schedulers;
  std::vector<route<scheduler_actor>> scheduler_handles;
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

BOOST_FIXTURE_TEST_CASE(a_request_for_one_replica_waits_for_no_other_and_moves_when_it_ends,
                        router_fixture) { // Q-7, O-6
  const auto submit_to = [this](std::int32_t replica, const std::shared_ptr<recording_sink>& sink) {
    const auto request = std::make_shared<protocol::request>(request_with(0));
    return ask<submit_reply>(router,
                             submit{.request = request, .sink = sink, .replicas = {replica}});
  };
  const auto sink = std::make_shared<recording_sink>();
  const auto first = submit_to(1, sink);
  BOOST_TEST((submit_to(1, std::make_shared<recording_sink>()).status == errc::ok));
  BOOST_TEST(schedulers[1]->requests.size() == 2U);
  ask<router_status>(router, drain_replica{1, true});
  BOOST_TEST((submit_to(1, std::make_shared<recording_sink>()).status == errc::closed));
  BOOST_TEST((submit_to(0, std::make_shared<recording_sink>()).status == errc::ok));
  ask<router_status>(router, drain_replica{1, false});
  give_up(1);
  BOOST_TEST((submit_to(1, std::make_shared<recording_sink>()).status == errc::closed));
  BOOST_TEST(schedulers[0]->requests.size() == 3U, "one of its own, two that have moved");
  const auto last = event_of(first.id, 0, 5, finish_reason::length);
  commit(last);
  publish(0, last);
  BOOST_TEST(sink->events.size() == 1U);
}

BOOST_FIXTURE_TEST_CASE(a_replica_that_drains_keeps_what_it_has_and_gets_no_more,
                        router_fixture) {
  submit_one(std::make_shared<recording_sink>());
  auto status = ask<router_status>(router, drain_replica{0, true});
  BOOST_TEST((status.draining_by_replica == std::vector{true, false}));
  BOOST_TEST(status.active_by_replica[0] == 1U);
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST((submit_one(std::make_shared<recording_sink>()).status == errc::ok));
  }
  BOOST_TEST(schedulers[1]->requests.size() == 3U);
  change(0, replica_state::restarted);
  BOOST_TEST(schedulers[0]->requests.size() == 2U, "handed over again, to the same one");
  change(1, replica_state::failed);
  BOOST_TEST(schedulers[0]->requests.size() == 2U, "O-6: it may still commit");
  change(1, replica_state::ended);
  BOOST_TEST(schedulers[0]->requests.size() == 5U, "what has no other place comes here");
  status = ask<router_status>(router, drain_replica{0, false});
  BOOST_TEST((status.draining_by_replica == std::vector{false, false}));
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
  give_up(0);
  BOOST_REQUIRE(schedulers[1]->requests.size() == 1U);
  BOOST_TEST((schedulers[1]->requests[0]->id == id));
  BOOST_TEST(schedulers[1]->requests[0]->generated.size() == 1U);
  const std::vector<token_id> expected{10};
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
  BOOST_TEST((submit_one(sink).status == errc::ok));
  BOOST_TEST(schedulers[1]->requests.size() == 2U, "new ones go to the one that lives");
}

/// Its lane commits one token more after it was given up, and nobody hears of that one.
BOOST_FIXTURE_TEST_CASE(moves_nothing_before_the_failed_replica_has_ended, router_fixture) { // O-6
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  commit(event_of(id, 0, 10));
  change(0, replica_state::failed);
  BOOST_TEST((submit_one(std::make_shared<recording_sink>()).status == errc::ok));
  commit(event_of(id, 1, 11));
  change(0, replica_state::restarted); // its last lane had just begun
  tell(router, cancel{id});
  respawn(table);
  change(0, replica_state::failed);
  BOOST_TEST(schedulers[1]->requests.size() == 1U, "new ones only");
  change(0, replica_state::ended);
  BOOST_REQUIRE(schedulers[1]->requests.size() == 2U);
  BOOST_TEST((schedulers[1]->requests[1]->id == id));
  const std::vector<token_id> expected{10, 11};
  BOOST_TEST(schedulers[1]->requests[1]->generated == expected, boost::test_tools::per_element());
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
  BOOST_TEST((schedulers[1]->cancels == std::vector{id}));
  change(0, replica_state::ended); // told twice
  BOOST_TEST(schedulers[1]->requests.size() == 2U);
}

BOOST_FIXTURE_TEST_CASE(fails_nothing_before_the_last_replica_has_ended, small_router) { // O-6
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  change(0, replica_state::failed);
  commit(event_of(id, 0, 10, finish_reason::length));
  BOOST_TEST(sink->ends() == 0U);
  change(0, replica_state::ended);
  BOOST_TEST((sink->events.back().reason == finish_reason::length), "it had got there");
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST((submit_one(sink).status == errc::closed));
}

/// The message of it is lost, wherever it was.
BOOST_FIXTURE_TEST_CASE(finds_a_cancel_that_died_in_a_mailbox, router_fixture) { // O-7
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  end(router);
  sink->wants_no_more = true;
  respawn(table);
  change(0, replica_state::restarted);
  BOOST_TEST((schedulers[0]->cancels == std::vector{id}));
  sink->wants_no_more = false;
  change(0, replica_state::restarted); // this time it died in a scheduler's mailbox, or in an inbox
  BOOST_TEST((schedulers[0]->cancels == std::vector{id, id}));
}

BOOST_FIXTURE_TEST_CASE(ends_each_request_once_when_no_replica_is_left, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  give_up(1);
  give_up(0);
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
  commit(event_of(id, 0, 10));
  publish(0, event_of(id, 0, 10));
  respawn(table);
  publish(0, event_of(id, 0, 10));
  publish(0, event_of(id, 1, 11, finish_reason::length));
  BOOST_TEST(sink->tokens().size() == 2U);
  BOOST_TEST(sink->ends() == 1U);
  const auto status = ask<router_status>(router, get_router_status{});
  BOOST_TEST(status.accepted == 1U);
  BOOST_TEST(status.finished == 1U);
  BOOST_TEST(status.active == 0U);
}

BOOST_FIXTURE_TEST_CASE(fills_a_gap_from_the_ledger, router_fixture) { // O-2, Q-2
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  auto first = event_of(id, 0, 10);
  first.logprob = -0.25F;
  first.top = {{10, -0.25F}};
  commit(first); // its message is lost
  commit(event_of(id, 1, 11));
  publish(0, event_of(id, 1, 11));
  BOOST_REQUIRE(sink->events.size() == 2U);
  BOOST_TEST(sink->events[0].logprob == -0.25F);
  BOOST_REQUIRE(sink->events[0].top.size() == 1U);
  BOOST_TEST(sink->events[0].top[0].token == 10);
  // A refusal is said by one who does not know how far the request is.
  auto refused = event_of(id, 0, -1, finish_reason::failed);
  refused.message = "no room";
  commit(refused);
  publish(0, refused);
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST(sink->events.back().position == 2);
  BOOST_TEST(sink->events.back().message == "no room");
  publish(0, event_of(id, 9, 9)); // of nobody any longer
  BOOST_TEST(sink->events.size() == 3U);
}

BOOST_FIXTURE_TEST_CASE(a_replica_that_runs_again_gets_its_streams_up_to_date, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  commit(event_of(id, 0, 10, finish_reason::length)); // its message is lost
  change(0, replica_state::running);
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST(schedulers[0]->requests.size() == 1U, "nothing is handed over again");
}

BOOST_FIXTURE_TEST_CASE(what_is_committed_comes_before_a_failure, router_fixture) { // O-2
  const auto sink = std::make_shared<recording_sink>();
  const auto ended_sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  give_up(1);
  const auto ended = submit_one(ended_sink).id;
  commit(event_of(id, 0, 10));
  commit(event_of(ended, 0, 10, finish_reason::length));
  give_up(0);
  BOOST_TEST(sink->tokens().size() == 1U);
  BOOST_TEST((sink->events.back().reason == finish_reason::failed));
  BOOST_TEST(sink->events.back().position == 1);
  BOOST_TEST(journal.replay(id)->back().message == "for the test");
  BOOST_TEST((ended_sink->events.back().reason == finish_reason::length), "it had ended before");
  BOOST_TEST(ended_sink->ends() == 1U);
}

BOOST_FIXTURE_TEST_CASE(a_known_key_finds_its_request_although_nothing_is_accepted,
                        small_router) { // O-4
  const auto id = submit_one(std::make_shared<recording_sink>(), 70).id;
  const auto other = submit_one(std::make_shared<recording_sink>(), 71).id;
  auto event = event_of(id, 0, 10);
  event.logprob = -0.5F;
  commit(event);
  publish(0, event);
  commit(event_of(other, 0, 10, finish_reason::length));
  publish(0, event_of(other, 0, 10, finish_reason::length));
  submit_one(std::make_shared<recording_sink>());
  BOOST_TEST((submit_one(std::make_shared<recording_sink>()).status == errc::queue_full));
  static_cast<void>(ask<router_status>(router, drain{}));
  const auto sent = schedulers[0]->requests.size();
  const auto running = std::make_shared<recording_sink>();
  const auto again = submit_one(running, 70);
  BOOST_TEST((again.status == errc::ok));
  BOOST_TEST((again.id == id));
  BOOST_REQUIRE(running->events.size() == 1U);
  BOOST_TEST(running->events[0].logprob == -0.5F);
  const auto finished = std::make_shared<recording_sink>();
  BOOST_TEST((submit_one(finished, 71).id == other));
  BOOST_TEST(finished->tokens().size() == 1U);
  BOOST_TEST(finished->ends() == 1U);
  give_up(0);
  const auto failed = std::make_shared<recording_sink>();
  BOOST_TEST((submit_one(failed, 70).id == id));
  BOOST_TEST(failed->tokens().size() == 1U);
  BOOST_TEST(failed->events.back().message == "for the test");
  BOOST_TEST(schedulers[0]->requests.size() == sent, "nothing is computed twice");
  BOOST_TEST(table.accepted() == 3U);
  BOOST_TEST((submit_one(std::make_shared<recording_sink>(), 72).status == errc::closed));
}

BOOST_FIXTURE_TEST_CASE(a_known_key_with_another_body_is_refused, router_fixture) { // O-4
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink, 70).id;
  const auto other = [this](auto&& change) {
    auto request = request_with(70);
    change(request);
    return ask<submit_reply>(router,
                             submit{std::make_shared<protocol::request>(std::move(request)),
                                    std::make_shared<recording_sink>()});
  };
  BOOST_TEST((other([](auto& r) { r.prompt.back() = 4; }).status == errc::invalid_argument));
  const auto refused = other([](auto& r) { r.sampling.seed = 1; });
  BOOST_TEST((refused.status == errc::invalid_argument));
  BOOST_TEST(refused.message.find("client_key=70") != std::string::npos, refused.message);
  const auto last = event_of(id, 0, 10, finish_reason::length);
  commit(last);
  publish(0, last);
  BOOST_TEST(sink->ends() == 1U, "the first stream stays");
  BOOST_TEST((other([](auto& r) { r.max_tokens = 9; }).status == errc::invalid_argument));
  const auto same = other([](auto& r) { r.id = request_id(500); });
  BOOST_TEST((same.status == errc::ok));
  BOOST_TEST((same.id == id));
}

BOOST_FIXTURE_TEST_CASE(sequences_that_belong_together_find_room_together, small_router) {
  auto request = std::make_shared<protocol::request>();
  request->prompt = {1, 2, 3};
  request->max_tokens = 8;
  const auto with = [&](std::int32_t followers) {
    const auto sink = std::make_shared<recording_sink>();
    return ask<submit_reply>(router, submit{request, sink, followers}).status;
  };
  BOOST_TEST((with(2) == errc::queue_full)); // there is room for 2
  BOOST_TEST(table.accepted() == 0U);
  BOOST_TEST((with(1) == errc::ok));
  BOOST_TEST((with(0) == errc::ok));
}

BOOST_FIXTURE_TEST_CASE(the_newest_stream_of_a_key_gets_the_events, router_fixture) { // O-4
  const auto first = std::make_shared<recording_sink>();
  const auto second = std::make_shared<recording_sink>();
  const auto id = submit_one(first, 70).id;
  commit(event_of(id, 0, 10));
  publish(0, event_of(id, 0, 10));
  submit_one(second, 70);
  submit_one(second, 70); // the same one goes on where it is
  commit(event_of(id, 1, 11, finish_reason::length));
  publish(0, event_of(id, 1, 11, finish_reason::length));
  BOOST_TEST(first->tokens().size() == 1U);
  BOOST_TEST((first->events.back().reason == finish_reason::failed));
  BOOST_TEST(first->ends() == 1U);
  BOOST_TEST(second->tokens().size() == 2U);
  BOOST_TEST(second->ends() == 1U);
}

BOOST_FIXTURE_TEST_CASE(a_forgotten_key_is_a_new_request, router_fixture) { // O-4
  ledger::memory_ledger forgetful({.finished_max = 0});
  end(router);
  router = actors().spawn(
      make_router,
      router_config{.table = &table, .journal = &forgetful, .schedulers = scheduler_handles});
  const auto id = submit_one(std::make_shared<recording_sink>(), 70).id;
  BOOST_REQUIRE(forgetful.finish(id, finish_reason::cancelled).has_value());
  publish(0, event_of(id, 0, -1, finish_reason::cancelled));
  BOOST_TEST((submit_one(std::make_shared<recording_sink>(), 70).id > id));
  end(router); // it refers to the ledger
}

BOOST_FIXTURE_TEST_CASE(takes_up_what_only_the_ledger_knows, router_fixture) { // O-3, Q-5
  auto lost = request_with(70); // accepted, and then the router died
  lost.id = request_id(41);
  lost.arrival = 41;
  BOOST_REQUIRE(journal.accept(lost).has_value());
  lost.id = request_id(40);
  lost.arrival = 40;
  lost.client_key = 0; // its client cannot come back
  BOOST_REQUIRE(journal.accept(lost).has_value());
  commit(event_of(request_id(41), 0, 10));
  request_table next(2);
  respawn(next);
  BOOST_TEST(next.orphans() == 2U);
  BOOST_REQUIRE(schedulers[0]->requests.size() == 1U); // spread as new ones
  BOOST_REQUIRE(schedulers[1]->requests.size() == 1U);
  BOOST_TEST(schedulers[0]->requests[0]->id.value == 40U);
  BOOST_TEST(schedulers[1]->requests[0]->id.value == 41U);
  BOOST_TEST(schedulers[1]->requests[0]->generated.size() == 1U);
  commit(event_of(request_id(40), 0, 10, finish_reason::length));
  publish(0, event_of(request_id(40), 0, 10, finish_reason::length));
  BOOST_TEST(next.orphans() == 1U);
  BOOST_TEST(next.delivered_to_nobody() == 2U); // of 41 one, by catching up
  const auto sink = std::make_shared<recording_sink>();
  BOOST_TEST(submit_one(sink, 70).id.value == 41U);
  BOOST_TEST(next.orphans() == 0U);
  BOOST_TEST(sink->tokens().size() == 1U);
  BOOST_TEST(submit_one(std::make_shared<recording_sink>(), 71).id.value == 42U);
  end(router); // it refers to the table
}

BOOST_FIXTURE_TEST_CASE(a_request_that_the_ledger_lost_ends_with_that_reason, router_fixture) {
  const auto sink = std::make_shared<recording_sink>();
  const auto id = submit_one(sink).id;
  ledger::memory_ledger empty;
  end(router);
  router = actors().spawn(
      make_router,
      router_config{.table = &table, .journal = &empty, .schedulers = scheduler_handles});
  settle();
  BOOST_TEST(sink->ends() == 1U);
  BOOST_TEST(sink->events.back().message.find("lost the request") != std::string::npos);
  BOOST_TEST(table.find(id) == nullptr);
  end(router);
}

BOOST_AUTO_TEST_SUITE_END()
