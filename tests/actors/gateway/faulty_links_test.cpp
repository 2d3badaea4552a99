#include "actors/gateway/faulty_links.hpp"

#include <boost/test/unit_test.hpp>

#include <utility>

using namespace vdist;
using namespace vdist::actors;

BOOST_AUTO_TEST_SUITE(faulty_links)

BOOST_AUTO_TEST_CASE(every_frame_fault_becomes_its_tampering) {
  using act = failpoint_action;
  using frame::tampering;
  for (const auto& [action, expected] : {std::pair(act::drop, tampering::drop),
                                         std::pair(act::duplicate, tampering::duplicate),
                                         std::pair(act::reorder, tampering::reorder),
                                         std::pair(act::corrupt, tampering::corrupt),
                                         std::pair(act::truncate, tampering::truncate),
                                         std::pair(act::old_epoch, tampering::old_epoch),
                                         std::pair(act::full, tampering::full),
                                         std::pair(act::delay, tampering::none)}) {
    failpoints points;
    faulty_link link(points, {.point = "channel.plans", .stage = 1});
    BOOST_TEST((link.on_frame({}) == tampering::none));
    BOOST_REQUIRE(points.arm({.point = "channel.plans", .stage = 1, .action = action}));
    BOOST_TEST((link.on_frame({}) == expected), to_string(action));
    BOOST_TEST((link.on_frame({}) == tampering::none));
  }
}

BOOST_AUTO_TEST_CASE(strikes_in_its_own_channel_only) {
  failpoints points;
  faulty_link plans(points, {.point = "channel.plans", .replica = 0, .stage = 1});
  faulty_link results(points, {.point = "channel.results", .replica = 0, .stage = 1, .rank = 2});
  BOOST_REQUIRE(
      points.arm({.point = "channel.results", .rank = 2, .action = failpoint_action::drop}));
  BOOST_TEST((plans.on_frame({}) == frame::tampering::none));
  BOOST_TEST((results.on_frame({}) == frame::tampering::drop));
  BOOST_TEST(points.log().at(0).rank == 2);
}

BOOST_AUTO_TEST_CASE(without_points_there_is_no_tamper) {
  failpoints points;
  BOOST_TEST((tamper_with(nullptr, {}) == nullptr));
  BOOST_TEST((tamper_with(&points, {.point = "channel.plans"}) != nullptr));
}

BOOST_AUTO_TEST_SUITE_END()
