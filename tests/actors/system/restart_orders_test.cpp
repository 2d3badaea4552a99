// What an order to replace a part means, without a cluster.
#include "actors/system/restart_orders.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>

using namespace vdist;
using namespace vdist::actors;
using control::restart_order;
using kind = restart_order::kind;

namespace {

restart_order order_of(kind what, std::int32_t index, std::vector<std::uint32_t> above) {
  return {.what = what, .index = index, .above = std::move(above), .claim = 7};
}

/// Of ranks 2 and 3.
replica_status second_replica(replica_state state = replica_state::running) {
  return {.replica = 1, .state = state, .incarnations = {4, 5}};
}

} // namespace

BOOST_AUTO_TEST_SUITE(restart_orders)

BOOST_AUTO_TEST_CASE(what_was_left_behind_is_not_replaced_again) { // P-1
  const auto first = need_of(order_of(kind::worker, 3, {5}), 2, second_replica());
  BOOST_REQUIRE(first.has_value());
  BOOST_TEST((first->wanted == std::vector<std::uint32_t>{0, 5}));
  BOOST_TEST(!first->wait);
  const auto again = need_of(order_of(kind::worker, 3, {4}), 2, second_replica());
  BOOST_TEST((again && again->wanted.empty() && !again->wait));
  const auto half = need_of(order_of(kind::replica, 1, {3, 5}), 2, second_replica());
  BOOST_TEST((half && half->wanted == std::vector<std::uint32_t>{0, 5}));
  const auto whole = need_of(order_of(kind::replica, 1, {4, 5}), 2, second_replica());
  BOOST_TEST((whole && whole->wanted == std::vector<std::uint32_t>{4, 5}));
}

BOOST_AUTO_TEST_CASE(a_replica_that_does_not_run_is_waited_for) { // P-2
  for (const auto state : {replica_state::loading, replica_state::recovering}) {
    const auto need = need_of(order_of(kind::worker, 2, {4}), 2, second_replica(state));
    BOOST_TEST((need && need->wait && need->wanted.empty()));
  }
  const auto lost =
      need_of(order_of(kind::worker, 2, {4}), 2, second_replica(replica_state::failed));
  BOOST_REQUIRE(!lost);
  BOOST_TEST((lost.error().code == errc::aborted));
}

BOOST_AUTO_TEST_CASE(one_at_a_time_replaces_until_it_lets_go_or_is_silent) { // P-3
  const auto words = std::make_unique<operator_words>();
  BOOST_TEST(claim_restart(*words, 7, 100).has_value());
  BOOST_TEST(claim_restart(*words, 7, 200).has_value());
  const auto refused = claim_restart(*words, 8, 200 + claim_ns - 1);
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::queue_full));
  BOOST_TEST(claim_restart(*words, 8, 200 + claim_ns).has_value(), "it has lapsed");
  release_restart(*words, 7);
  BOOST_TEST(!claim_restart(*words, 9, 200 + claim_ns).has_value(), "not by a stranger");
  release_restart(*words, 8);
  BOOST_TEST(claim_restart(*words, 9, 200 + claim_ns).has_value());
}

BOOST_AUTO_TEST_CASE(parts_that_are_not_there_are_named) {
  const topology::parallel_sizes sizes{.data = 2, .tensor = 2};
  const auto check = [&sizes](const restart_order& order, node_kind node = node_kind::child) {
    const auto checked = check_restart(order, sizes, node);
    return checked ? errc::ok : checked.error().code;
  };
  BOOST_TEST((check(order_of(kind::worker, 3, {1})) == errc::ok));
  BOOST_TEST((check(order_of(kind::worker, 4, {1})) == errc::invalid_argument));
  BOOST_TEST((check(order_of(kind::worker, 3, {})) == errc::invalid_argument));
  BOOST_TEST((check(order_of(kind::replica, 1, {1, 1})) == errc::ok));
  BOOST_TEST((check(order_of(kind::replica, 1, {1})) == errc::invalid_argument));
  BOOST_TEST((check(order_of(kind::replica, 2, {1, 1})) == errc::invalid_argument));
  BOOST_TEST((check(order_of(kind::node, 0, {1})) == errc::ok));
  BOOST_TEST((check(order_of(kind::node, 0, {1}), node_kind::whole) == errc::unsupported));
  BOOST_TEST((check(order_of(kind::node, 0, {1}), node_kind::embedded) == errc::unsupported));
  BOOST_TEST((check({.what = kind::worker, .index = 0, .above = {1}}) == errc::invalid_argument),
             "without a claim");
}

BOOST_AUTO_TEST_SUITE_END()
