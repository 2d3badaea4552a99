// Which requests are in flight, as a successor finds it.
#include "actors/gateway/flight_log.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <vector>

using namespace vdist;
using namespace vdist::actors;

namespace {

struct flights_fixture {
  static protocol::step_plan
  plan(std::uint64_t step, std::vector<std::uint32_t> slots, std::vector<std::uint64_t> requests) {
    protocol::step_plan made;
    made.step = step;
    made.slots = std::move(slots);
    made.request_ids = std::move(requests);
    return made;
  }

  [[nodiscard]] std::vector<std::uint64_t> flying() const {
    std::vector<std::uint64_t> ids;
    for (const auto id : flight_log(*words, 4).flying()) { // another one over the same words
      ids.push_back(id.value);
    }
    return ids;
  }

  std::unique_ptr<flight_words> words = std::make_unique<flight_words>();
  flight_log flights{*words, 4};
};

} // namespace

#define CHECK_FLYING(...)                                                                          \
  BOOST_TEST(flying() == (std::vector<std::uint64_t>{__VA_ARGS__}),                                \
             boost::test_tools::per_element())

BOOST_FIXTURE_TEST_SUITE(flight_log_rules, flights_fixture)

BOOST_AUTO_TEST_CASE(requests_of_every_step_in_flight_are_told_once) {
  CHECK_FLYING();
  flights.take_off(plan(7, {0, 1}, {10, 11}));
  flights.take_off(plan(8, {1, 3}, {11, 13}));
  CHECK_FLYING(10, 11, 13);
  flights.land(step_id(7));
  CHECK_FLYING(11, 13);
  flights.land(step_id(8));
  CHECK_FLYING();
}

BOOST_AUTO_TEST_CASE(a_slot_tells_its_newest_request) { // G-2
  flights.take_off(plan(1, {2}, {10}));
  flights.land(step_id(1));
  flights.take_off(plan(2, {2}, {20}));
  CHECK_FLYING(20);
}

BOOST_AUTO_TEST_CASE(steps_that_never_happened_are_forgotten) {
  flights.take_off(plan(1, {0}, {10}));
  flights.take_off(plan(2, {0}, {10}));
  flights.forget(step_id(2));
  CHECK_FLYING();
  flights.take_off(plan(3, {0}, {10}));
  CHECK_FLYING(10);
}

BOOST_AUTO_TEST_CASE(a_writer_that_dies_within_a_slot_names_nobody_new) {
  flights.take_off(plan(1, {0}, {10}));
  flights.land(step_id(1));
  words->slots[0].request.store(20); // and no step: its plan never left
  CHECK_FLYING();
}

BOOST_AUTO_TEST_CASE(slots_beyond_the_table_are_not_told) {
  flights.take_off(plan(1, {4, 1}, {14, 11}));
  CHECK_FLYING(11);
}

BOOST_AUTO_TEST_CASE(a_culprit_is_one_of_a_row_until_a_step_is_committed) {
  flights.take_off(plan(1, {0}, {10}));
  BOOST_TEST(!flights.judge(), "nothing was ever committed");
  flights.land(step_id(1));
  flights.take_off(plan(2, {0}, {10}));
  flights.forget(step_id(2));
  BOOST_TEST(flight_log(*words, 4).judge());
  BOOST_TEST(!flights.judge());
}

BOOST_AUTO_TEST_SUITE_END()
