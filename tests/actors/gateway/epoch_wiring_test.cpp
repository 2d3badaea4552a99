#include "actors/gateway/epoch_wiring.hpp"

#include "actors/gateway/regions.hpp"

#include "transport/vault/memory_vault.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::actors;

namespace {

struct wiring_fixture {
  system_clock time;
  frame::wait_policy waits{{}, time};
  frame::fence stop;
  vault::memory_vault memory;
  wiring_config config{.cluster = 42, .replica = 1, .first_rank = 4, .stage_of_slot = {0, 0, 1}};
  wiring_links links{.memory = &memory, .stop = &stop};
  std::shared_ptr<epoch_wiring> wiring =
      *make_wiring(config, epoch(3), epoch(0), {1, 2, 1}, links, waits);
  std::vector<worker_wiring> workers = open_all(epoch(3));

  std::vector<worker_wiring> open_all(epoch now) {
    std::vector<worker_wiring> opened;
    for (std::int32_t slot = 0; slot < 3; ++slot) {
      opened.push_back(*open_worker_wiring(config, now, slot, links, waits));
    }
    return opened;
  }

  [[nodiscard]] frame::envelope plan_of(std::uint32_t at) const {
    return {.protocol = protocol::step_protocol,
            .version = protocol::step_version,
            .kind = protocol::step_plan_kind,
            .cluster = 42,
            .group = 1,
            .epoch = at};
  }

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
    BOOST_REQUIRE(workers[slot].results->write(header, body, time.now()).has_value());
    return wiring->results[slot]->read(time.now()).has_value();
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(epoch_wiring_rules)

BOOST_FIXTURE_TEST_CASE(has_a_plan_ring_per_stage_and_a_result_ring_per_worker, wiring_fixture) {
  BOOST_TEST(wiring->plans.size() == 2U);
  BOOST_TEST(wiring->results.size() == 3U);
  BOOST_TEST((wiring->now == epoch(3)));
}

BOOST_FIXTURE_TEST_CASE(every_worker_of_a_stage_reads_its_plans_and_no_others, wiring_fixture) {
  const std::vector<std::byte> body(100, std::byte{7});
  BOOST_REQUIRE(wiring->plans[0]->write(plan_of(3), body, time.now()).has_value());
  for (const std::size_t slot : {0U, 1U}) {
    const auto read = workers[slot].plans->read(time.now());
    BOOST_REQUIRE(read.has_value());
    BOOST_TEST(read->body.size() == 100U);
  }
  BOOST_TEST((workers[2].plans->read(time.now()).error().code == errc::timed_out));
}

BOOST_FIXTURE_TEST_CASE(a_worker_that_opens_late_misses_nothing, wiring_fixture) {
  wiring = *make_wiring(config, epoch(4), epoch(3), {1, 2, 1}, links, waits);
  const std::vector<std::byte> body(100, std::byte{7});
  BOOST_REQUIRE(wiring->plans[1]->write(plan_of(4), body, time.now()).has_value());
  auto late = *open_worker_wiring(config, epoch(4), 2, links, waits);
  BOOST_TEST(late.plans->read(time.now()).has_value());
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
  BOOST_TEST((workers[0].plans->read(later).error().code == errc::aborted));
  BOOST_TEST((wiring->results[2]->read(later).error().code == errc::aborted));
}

BOOST_FIXTURE_TEST_CASE(an_epoch_that_is_over_cannot_be_entered_and_leaves_no_memory,
                        wiring_fixture) { // E-1
  wiring = *make_wiring(config, epoch(4), epoch(3), {1, 2, 1}, links, waits);
  const auto before = memory.total_bytes();
  const auto opened = open_worker_wiring(config, epoch(3), 0, links, waits);
  BOOST_REQUIRE(!opened.has_value());
  BOOST_TEST((opened.error().code == errc::stale));
  BOOST_TEST(memory.total_bytes() == before);
}

BOOST_FIXTURE_TEST_CASE(an_epoch_whose_channels_are_gone_already_can_be_followed,
                        wiring_fixture) { // E-1
  BOOST_REQUIRE(memory.release(channels_key(rank_id(4), epoch(3))).has_value());
  BOOST_TEST(make_wiring(config, epoch(5), epoch(3), {1, 2, 1}, links, waits).has_value());
  BOOST_TEST(make_wiring(config, epoch(6), epoch(5), {1, 2, 1}, links, waits).has_value());
}

BOOST_FIXTURE_TEST_CASE(what_is_open_stays_usable_when_the_epoch_ends, wiring_fixture) { // E-1
  auto past =
      std::exchange(wiring, *make_wiring(config, epoch(4), epoch(3), {1, 2, 1}, links, waits));
  const std::vector<std::byte> body(10);
  BOOST_TEST(workers[0].results->write(result_of(0, 1), body, time.now()).has_value());
  past.reset();
  BOOST_TEST(
      (workers[0].results->write(result_of(0, 1), body, time.now()).error().code == errc::closed));
}

BOOST_AUTO_TEST_SUITE_END()
