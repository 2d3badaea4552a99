#include "actors/gateway/epoch_wiring.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::actors;

namespace {

struct wiring_fixture {
  system_clock time;
  frame::wait_policy waits{{}, time};
  frame::fence stop;
  wiring_config config{
      .cluster = 42, .replica = 1, .first_rank = 4, .stage_of_slot = {0, 0, 1}, .stop = &stop};
  std::shared_ptr<epoch_wiring> wiring = *make_wiring(config, epoch(3), {1, 2, 1}, waits);

  [[nodiscard]] frame::envelope result_of(std::int32_t slot, std::uint32_t incarnation) const {
    return {.protocol = protocol::step_protocol,
            .version = protocol::step_version,
            .kind = protocol::step_result_kind,
            .sender = config.first_rank + slot,
            .cluster = config.cluster,
            .incarnation = incarnation,
            .group = config.replica,
            .epoch = 3};
  }

  [[nodiscard]] bool is_heard(std::size_t slot, const frame::envelope& header) {
    const std::vector<std::byte> body(10);
    BOOST_REQUIRE(wiring->result_rings[slot]->writer().write(header, body, time.now()).has_value());
    return wiring->result_readers[slot]->read(time.now()).has_value();
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(epoch_wiring_rules)

BOOST_FIXTURE_TEST_CASE(has_a_plan_ring_per_stage_and_a_result_ring_per_worker, wiring_fixture) {
  BOOST_TEST(wiring->plan_rings.size() == 2U);
  BOOST_TEST(wiring->plan_readers.size() == 3U);
  BOOST_TEST(wiring->result_rings.size() == 3U);
  BOOST_TEST(wiring->result_readers.size() == 3U);
  BOOST_TEST((wiring->now == epoch(3)));
}

BOOST_FIXTURE_TEST_CASE(every_worker_of_a_stage_reads_its_plans_and_no_others, wiring_fixture) {
  const frame::envelope plan{.protocol = protocol::step_protocol,
                             .version = protocol::step_version,
                             .kind = protocol::step_plan_kind,
                             .cluster = 42,
                             .group = 1,
                             .epoch = 3};
  const std::vector<std::byte> body(100, std::byte{7});
  BOOST_REQUIRE(wiring->plan_rings[0]->writer().write(plan, body, time.now()).has_value());
  for (const std::size_t slot : {0U, 1U}) {
    const auto read = wiring->plan_readers[slot]->read(time.now());
    BOOST_REQUIRE(read.has_value());
    BOOST_TEST(read->body.size() == 100U);
  }
  BOOST_TEST((wiring->plan_readers[2]->read(time.now()).error().code == errc::timed_out));
}

BOOST_FIXTURE_TEST_CASE(believes_only_the_incarnation_epoch_and_rank_that_it_was_made_for,
                        wiring_fixture) { // A-1, P-1
  BOOST_TEST(is_heard(1, result_of(1, 2)));
  BOOST_TEST(!is_heard(1, result_of(1, 1)), "an incarnation that was replaced");
  BOOST_TEST(!is_heard(1, result_of(0, 2)), "another rank");
  auto stale = result_of(1, 2);
  stale.epoch = 2;
  BOOST_TEST(!is_heard(1, stale));
  auto foreign = result_of(1, 2);
  foreign.cluster = 43;
  BOOST_TEST(!is_heard(1, foreign));
}

BOOST_FIXTURE_TEST_CASE(a_raised_fence_ends_every_wait, wiring_fixture) {
  stop.raise(epoch(4));
  const auto later = time.now() + std::chrono::seconds(60);
  BOOST_TEST((wiring->plan_readers[0]->read(later).error().code == errc::aborted));
  BOOST_TEST((wiring->result_readers[2]->read(later).error().code == errc::aborted));
}

BOOST_AUTO_TEST_SUITE_END()
