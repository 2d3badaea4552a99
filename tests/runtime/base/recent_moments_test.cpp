#include "runtime/base/recent_moments.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <thread>

using namespace vdist;
using kind = fault_moment_kind;

namespace {

struct moments_fixture {
  std::unique_ptr<recent_moments_table> table = std::make_unique<recent_moments_table>();
  recent_moments ring{*table};

  static fault_moment
  at(std::int64_t ns, kind what, std::uint32_t epoch, std::int32_t slot = -1, int replica = 0) {
    return {.what = what, .replica = replica, .slot = slot, .epoch = epoch, .at_ns = ns};
  }

  [[nodiscard]] std::vector<recovery_summary> recoveries(std::size_t max = 100) const {
    return recoveries_of(ring.read(), max);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(recent_moments_of_recoveries, moments_fixture)

BOOST_AUTO_TEST_CASE(the_newest_are_kept_in_the_order_of_noting) { // N-1
  constexpr auto most = recent_moments_table::moments_max;
  for (std::size_t i = 0; i < most + 3; ++i) {
    ring.note(at(static_cast<std::int64_t>(i), kind::begun, 7, 5, 3));
  }
  const auto found = ring.read();
  BOOST_REQUIRE(found.size() == most);
  for (std::size_t i = 0; i < most; ++i) {
    BOOST_REQUIRE((found[i] == at(static_cast<std::int64_t>(i + 3), kind::begun, 7, 5, 3)));
  }
}

BOOST_AUTO_TEST_CASE(a_reader_sees_whole_moments_only) { // N-2
  constexpr std::size_t count = 200'000;
  std::atomic<bool> is_over{false};
  std::thread writer([&] {
    for (std::uint32_t i = 1; !is_over; ++i) {
      ring.note(at(i, static_cast<kind>(i % fault_moment_kinds), i, static_cast<std::int32_t>(i)));
    }
  });
  std::size_t read = 0;
  std::size_t broken = 0;
  while (read < count) {
    for (const auto& one : ring.read()) {
      const auto i = static_cast<std::uint32_t>(one.at_ns);
      ++read;
      broken += one.epoch != i || one.slot != static_cast<std::int32_t>(i)
                || static_cast<std::uint32_t>(one.what) != i % fault_moment_kinds;
    }
  }
  is_over = true;
  writer.join();
  BOOST_TEST(read > 0U);
  BOOST_TEST(broken == 0U);
}

BOOST_AUTO_TEST_CASE(a_recovery_is_what_lies_between_fault_and_first_tokens) {
  for (const auto& one : {at(1, kind::spawned, 1, 0), // of the start: no recovery
                          at(2, kind::begun, 1),
                          at(3, kind::first_tokens, 1),
                          at(100, kind::detected, 2, 1),
                          at(110, kind::fenced, 2),
                          at(120, kind::quiesced, 2, 0),
                          at(125, kind::quiesced, 2, 2),
                          at(130, kind::spawned, 2, 1),
                          at(140, kind::attached, 2, 1),
                          at(150, kind::begun, 2),
                          at(170, kind::first_tokens, 2)}) {
    ring.note(one);
  }
  const auto all = recoveries();
  BOOST_REQUIRE(all.size() == 1U);
  BOOST_TEST(all[0].epoch == 2U);
  BOOST_TEST(all[0].slots == std::vector<std::int32_t>{1}, boost::test_tools::per_element());
  BOOST_TEST(all[0].at(kind::detected) == 100);
  BOOST_TEST(all[0].at(kind::quiesced) == 125);
  BOOST_TEST(all[0].at(kind::begun) == 150);
  BOOST_TEST(all[0].at(kind::first_tokens) == 170);
}

BOOST_AUTO_TEST_CASE(a_fault_during_a_recovery_prolongs_it) {
  for (const auto& one : {at(100, kind::detected, 2, 1),
                          at(110, kind::detected, 3, 0),
                          at(115, kind::detected, 4, 1),
                          at(150, kind::begun, 4),
                          at(200, kind::detected, 5)}) {
    ring.note(one);
  }
  const auto all = recoveries();
  BOOST_REQUIRE(all.size() == 2U);
  BOOST_TEST(all[0].at(kind::detected) == 100);
  BOOST_TEST(all[0].at(kind::begun) == 150);
  BOOST_TEST(all[0].epoch == 4U);
  BOOST_TEST(all[0].slots == (std::vector<std::int32_t>{1, 0}), boost::test_tools::per_element());
  BOOST_TEST(all[1].epoch == 5U);
  BOOST_TEST(all[1].slots.empty());
  BOOST_TEST(all[1].at(kind::begun) == 0);
}

BOOST_AUTO_TEST_CASE(replicas_recover_each_for_itself_and_the_newest_are_told) {
  for (const auto& one : {at(100, kind::detected, 2, 1, 0),
                          at(110, kind::detected, 7, 0, 1),
                          at(120, kind::begun, 2, -1, 0),
                          at(130, kind::given_up, 7, -1, 1),
                          at(140, kind::detected, 3, 0, 0)}) {
    ring.note(one);
  }
  BOOST_REQUIRE(recoveries().size() == 3U);
  BOOST_TEST(recoveries()[0].at(kind::begun) == 120);
  BOOST_TEST(recoveries()[1].at(kind::given_up) == 130);
  BOOST_REQUIRE(recoveries(1).size() == 1U);
  BOOST_TEST(recoveries(1)[0].epoch == 3U);
}

BOOST_AUTO_TEST_CASE(the_last_spare_of_the_workers_at_fault_ends_the_time_without_one) {
  for (const auto& one :
       {at(10, kind::spare_ready, 1, 1), // of the start
        at(100, kind::detected, 2, 1),
        at(105, kind::detected, 2, 0),
        at(110, kind::spare_ready, 2, 1), // before the fault was over: that of before
        at(150, kind::begun, 2),
        at(300, kind::spare_ready, 2, 1),
        at(310, kind::spare_ready, 2, 2), // of one that was not at fault
        at(305, kind::spare_ready, 2, 0)}) {
    ring.note(one);
  }
  BOOST_REQUIRE(recoveries().size() == 1U);
  BOOST_TEST(recoveries()[0].at(kind::spare_ready) == 305);
  BOOST_TEST(recoveries()[0].epoch == 2U);
}

BOOST_AUTO_TEST_CASE(tokens_that_come_long_after_did_not_wait) {
  ring.note(at(100, kind::detected, 2, 1));
  ring.note(at(200, kind::begun, 2));
  ring.note(at(201 + first_tokens_within_ns, kind::first_tokens, 2));
  BOOST_TEST(recoveries().at(0).at(kind::first_tokens) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
