#include "actors/router/request_table.hpp"

#include "tests/actors/router/recording_sink.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <random>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;

namespace {

request_id
add_to(request_table& table, std::int32_t replica, const std::shared_ptr<recording_sink>& sink) {
  const auto id = table.next_id();
  table.add(id,
            {.request = std::make_shared<protocol::request>(), .sink = sink, .replica = replica});
  return id;
}

/// Of a prompt that nobody holds; -1: nobody is usable.
std::int32_t chosen(request_table& table, const std::vector<std::int32_t>& among = {}) {
  const std::vector<token_id> prompt{1, 2, 3};
  const auto choice = table.choose_replica(prompt, among);
  return choice ? choice->replica : -1;
}

protocol::token_event event_of(request_id id, std::int32_t position, token_id token) {
  return {.id = id, .position = position, .token = token};
}

} // namespace

BOOST_AUTO_TEST_SUITE(request_table_rules)

BOOST_AUTO_TEST_CASE(gives_the_replica_with_the_fewest_requests_the_lowest_of_equals) {
  request_table table(3);
  const auto sink = std::make_shared<recording_sink>();
  BOOST_TEST(chosen(table) == 0);
  add_to(table, 0, sink);
  BOOST_TEST(chosen(table) == 1);
  add_to(table, 1, sink);
  add_to(table, 2, sink);
  BOOST_TEST(chosen(table) == 0);
  table.set_usable(0, false);
  BOOST_TEST(chosen(table) == 1);
  table.set_usable(1, false);
  table.set_usable(2, false);
  BOOST_TEST(chosen(table) == -1);
}

BOOST_AUTO_TEST_CASE(a_replica_that_has_ended_is_never_used_again) {
  request_table table(2);
  table.set_usable(0, false);
  BOOST_TEST(!table.has_ended(0));
  table.set_usable(0, true);
  BOOST_TEST(table.is_usable(0));
  table.set_ended(0);
  BOOST_TEST(table.has_ended(0));
  table.set_usable(0, true);
  BOOST_TEST(!table.is_usable(0));
  BOOST_TEST(chosen(table) == 1);
}

BOOST_AUTO_TEST_CASE(gives_a_replica_that_drains_nothing_as_long_as_another_is_usable) {
  request_table table(3);
  const auto sink = std::make_shared<recording_sink>();
  table.set_draining(0, true);
  for (const std::int32_t replica : {1, 1, 2}) {
    add_to(table, replica, sink);
  }
  BOOST_TEST(chosen(table) == 2);
  table.set_draining(2, true);
  BOOST_TEST(chosen(table) == 1, "however many it has");
  table.set_usable(1, false);
  BOOST_TEST(chosen(table) == 0, "rather than nobody");
  table.set_usable(1, true);
  table.set_draining(0, false);
  BOOST_TEST(chosen(table) == 0);
}

BOOST_AUTO_TEST_CASE(gives_a_request_to_none_but_those_that_may_run_it) {
  request_table table(3);
  const auto sink = std::make_shared<recording_sink>();
  for (int i = 0; i < 5; ++i) {
    BOOST_TEST(chosen(table, {2}) == 2, "however many it has");
    add_to(table, 2, sink);
  }
  BOOST_TEST(chosen(table, {1, 2}) == 1);
  table.set_draining(2, true);
  BOOST_TEST(chosen(table, {2}) == -1, "one that drains is no last resort");
  table.set_draining(2, false);
  table.set_ended(2);
  BOOST_TEST(chosen(table, {2}) == -1);
  BOOST_TEST(chosen(table, {2, 1}) == 1);
  BOOST_TEST(chosen(table, {7}) == -1);
}

/// Requests come, begin, end, move, are handed over again and attached to, in any order.
BOOST_AUTO_TEST_CASE(counts_the_work_of_every_replica_exactly) {
  constexpr std::int32_t replicas = 3;

  struct twin {
    std::int32_t replica = 0;
    std::int64_t prefill = 0;
    std::int32_t delivered = 0;
    std::int32_t reached = 0;
  };

  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    sched::replica_choice choice({.replicas = replicas}, {});
    request_table table(std::move(choice));
    std::map<request_id, twin> book;
    for (int round = 0; round < 2000; ++round) {
      const auto dice = random() % 8;
      if (dice < 2 || book.empty()) {
        const auto id = table.next_id();
        const twin made{static_cast<std::int32_t>(random() % replicas),
                        static_cast<std::int64_t>(random() % 100)};
        table.add(id,
                  {.request = std::make_shared<protocol::request>(),
                   .sink = random() % 2 == 0 ? std::make_shared<recording_sink>() : nullptr,
                   .replica = made.replica,
                   .prefill = made.prefill});
        book.emplace(id, made);
      } else {
        const auto one =
            std::next(book.begin(), static_cast<std::ptrdiff_t>(random() % book.size()));
        auto& [id, mine] = *one;
        auto event = event_of(id, mine.delivered, 7);
        switch (dice) {
        case 2:
        case 3:
          table.deliver(event);
          table.deliver(event); // a replay
          if (mine.delivered++ == mine.reached) {
            ++mine.reached;
            mine.prefill = 0;
          }
          break;
        case 4:
          mine.replica = static_cast<std::int32_t>(random() % replicas);
          mine.prefill = static_cast<std::int64_t>(random() % 100);
          table.move(id, mine.replica, mine.prefill);
          break;
        case 5: // the stream begins anew, the replica does not
          table.attach(id, std::make_shared<recording_sink>());
          mine.delivered = 0;
          break;
        default:
          event.reason = random() % 2 == 0 ? protocol::finish_reason::length
                                           : protocol::finish_reason::cancelled;
          event.token = event.reason == protocol::finish_reason::length ? 7 : -1;
          BOOST_REQUIRE((table.deliver(event) == delivery::ended));
          table.deliver(event);
          book.erase(one);
          break;
        }
      }
      std::vector<std::uint64_t> active(replicas);
      std::vector<std::int64_t> prefill(replicas);
      for (const auto& [id, mine] : book) {
        ++active.at(static_cast<std::size_t>(mine.replica));
        prefill.at(static_cast<std::size_t>(mine.replica)) += mine.prefill;
      }
      BOOST_REQUIRE((table.active_by_replica() == active));
      BOOST_REQUIRE((table.prefill_by_replica() == prefill));
    }
  }
}

BOOST_AUTO_TEST_CASE(delivers_each_position_once_and_drops_repetitions) {
  request_table table(1);
  const auto sink = std::make_shared<recording_sink>();
  const auto id = add_to(table, 0, sink);
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::taken));
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::repeated));
  BOOST_TEST((table.deliver(event_of(id, 1, 11)) == delivery::taken));
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::repeated));
  BOOST_TEST((table.deliver(event_of(request_id(99), 0, 10)) == delivery::repeated));
  const std::vector<token_id> expected{10, 11};
  BOOST_TEST(sink->tokens() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(takes_nothing_behind_a_gap) {
  request_table table(1);
  const auto sink = std::make_shared<recording_sink>();
  const auto id = add_to(table, 0, sink);
  auto end = event_of(id, 1, -1);
  end.reason = protocol::finish_reason::failed;
  BOOST_TEST((table.deliver(event_of(id, 1, 11)) == delivery::gap));
  BOOST_TEST((table.deliver(end) == delivery::gap));
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::taken));
  end.position = 0; // said by somebody who does not know how far the request is
  BOOST_TEST((table.deliver(end) == delivery::gap));
  end.position = 1;
  BOOST_TEST((table.deliver(end) == delivery::ended));
  BOOST_TEST(sink->events.size() == 2U);
}

BOOST_AUTO_TEST_CASE(counts_orphans_and_what_reaches_nobody_until_a_sink_is_attached) {
  request_table table(1);
  const auto id = add_to(table, 0, nullptr);
  const auto other = add_to(table, 0, nullptr);
  BOOST_TEST(table.orphans() == 2U);
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::taken));
  BOOST_TEST(table.delivered_to_nobody() == 1U);
  const auto sink = std::make_shared<recording_sink>();
  BOOST_TEST(!table.attach(id, sink));
  BOOST_TEST(table.orphans() == 1U);
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::taken), "from the beginning");
  BOOST_TEST(!table.attach(id, sink), "the same sink goes on where it is");
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::repeated));
  const auto next = std::make_shared<recording_sink>();
  BOOST_TEST((table.attach(id, next) == sink));
  BOOST_TEST((table.deliver(event_of(id, 0, 10)) == delivery::taken));
  BOOST_TEST(next->events.size() == 1U);
  auto end = event_of(other, 0, 10);
  end.reason = protocol::finish_reason::length;
  BOOST_TEST((table.deliver(end) == delivery::ended));
  BOOST_TEST(table.orphans() == 0U);
  BOOST_TEST(table.delivered_to_nobody() == 2U);
}

BOOST_AUTO_TEST_CASE(gives_no_id_that_a_predecessor_gave) {
  request_table table(1);
  table.skip_ids(request_id(7));
  BOOST_TEST(table.next_id().value == 8U);
  table.skip_ids(request_id(3));
  BOOST_TEST(table.next_id().value == 9U);
}

BOOST_AUTO_TEST_CASE(forgets_a_request_with_its_terminal_event) {
  request_table table(2);
  const auto sink = std::make_shared<recording_sink>();
  const auto id = add_to(table, 1, sink);
  BOOST_TEST(table.active_by_replica()[1] == 1U);
  auto last = event_of(id, 0, 10);
  last.reason = protocol::finish_reason::length;
  BOOST_TEST((table.deliver(last) == delivery::ended));
  BOOST_TEST((table.deliver(last) == delivery::repeated), "a second end reaches nobody");
  BOOST_TEST(sink->events.size() == 1U);
  BOOST_TEST(table.size() == 0U);
  BOOST_TEST(table.active_by_replica()[1] == 0U);
  BOOST_TEST(table.accepted() == 1U);
  BOOST_TEST(table.finished() == 1U);
}

BOOST_AUTO_TEST_CASE(moves_a_request_and_lists_by_order_of_acceptance) {
  request_table table(2);
  const auto sink = std::make_shared<recording_sink>();
  std::vector<request_id> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(add_to(table, 0, sink));
  }
  table.move(ids[3], 1, 0);
  table.move(ids[1], 1, 0);
  BOOST_TEST((table.requests_of(0) == std::vector{ids[0], ids[2], ids[4]}));
  BOOST_TEST((table.requests_of(1) == std::vector{ids[1], ids[3]}));
  BOOST_TEST(table.active_by_replica()[0] == 3U);
}

BOOST_AUTO_TEST_SUITE_END()
