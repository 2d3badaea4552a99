// The way of a watched layer's rows: the words that order it, the worker's end, the reader's end, and who takes over.
#include "actors/gateway/layer_rows.hpp"

#include "actors/system/layer_watch.hpp"
#include "actors/worker/layer_writer.hpp"

#include "transport/vault/memory_vault.hpp"

#include "runtime/base/clock.hpp"

#include <boost/test/unit_test.hpp>

#include <future>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t width = 5;
constexpr rank_id watched_rank(3);

/// A step of two sequences: `first` tokens of request 7 from position 10 on, `second` of request 8 from 0 on.
struct step_of_two {
  std::vector<std::uint64_t> ids{7, 8};
  std::vector<std::int32_t> starts;
  std::vector<std::int32_t> positions;
  std::vector<float> values;

  step_of_two(std::int32_t first, std::int32_t second) : starts{0, first, first + second} {
    for (std::int32_t i = 0; i < first; ++i) {
      positions.push_back(10 + i);
    }
    for (std::int32_t i = 0; i < second; ++i) {
      positions.push_back(i);
    }
    values.resize(positions.size() * width);
    std::iota(values.begin(), values.end(), 0.5F);
  }

  [[nodiscard]] exec::tapped_step view(std::uint64_t step, std::int32_t rows) const {
    return {.step = step,
            .epoch = 2,
            .layer = 1,
            .width = width,
            .tokens = starts.back(),
            .rows = rows,
            .request_ids = ids,
            .query_start = starts.data(),
            .positions = positions.data(),
            .values = values.data()};
  }

  [[nodiscard]] exec::tapped_step view(std::uint64_t step) const {
    return view(step, starts.back());
  }
};

struct rows_fixture {
  [[nodiscard]] result<std::unique_ptr<layer_watch>> try_watch(const layer_watch_config& config) {
    return layer_watch::start(config, width, *orders, {.memory = &memory, .mutex = &mutex}, waits);
  }

  [[nodiscard]] std::unique_ptr<layer_watch> watch(std::int32_t rows_max) {
    auto made = try_watch({.layer = 1, .rank = watched_rank.value, .rows_max = rows_max});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
    return std::move(*made);
  }

  [[nodiscard]] layer_writer writer_of(rank_id rank = watched_rank) {
    return {rank, width, *orders, memory, waits};
  }

  /// Everything that is there.
  static std::vector<layer_row> read_all(layer_watch& watch) {
    std::vector<layer_row> all;
    while (true) {
      auto row = watch.next(0s);
      BOOST_REQUIRE_MESSAGE(row.has_value(), (row ? "" : row.error().context));
      if (!*row) {
        return all;
      }
      all.push_back(std::move(**row));
    }
  }

  system_clock time;
  frame::wait_policy waits{{.spin_budget = 0us}, time};
  vault::memory_vault memory;
  std::unique_ptr<layer_orders> orders = std::make_unique<layer_orders>();
  std::mutex mutex;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(rows_of_a_watched_layer, rows_fixture)

BOOST_AUTO_TEST_CASE(come_with_request_position_step_and_values) {
  auto worker = writer_of();
  BOOST_TEST(!worker.wanted().has_value(), "nobody watches");
  const auto watch = this->watch(16);
  const auto wanted = worker.wanted();
  BOOST_REQUIRE(wanted.has_value());
  BOOST_TEST(wanted->layer == 1);
  BOOST_TEST(wanted->rows_max == 16);
  BOOST_TEST(!writer_of(rank_id(2)).wanted().has_value(), "another rank");
  const step_of_two step(3, 2);
  worker.take(step.view(40));
  const auto rows = read_all(*watch);
  BOOST_REQUIRE(rows.size() == 5U);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    BOOST_TEST(rows[i].request.value == (i < 3 ? 7U : 8U));
    BOOST_TEST(rows[i].position == step.positions[i]);
    BOOST_TEST(rows[i].step == 40U);
    BOOST_TEST(rows[i].epoch == 2U);
    BOOST_TEST(rows[i].layer == 1);
    const auto first = step.values.begin() + static_cast<std::ptrdiff_t>(i * width);
    BOOST_TEST(rows[i].values == std::vector<float>(first, first + width),
               boost::test_tools::per_element());
  }
  BOOST_TEST(watch->lost() == 0U);
}

BOOST_AUTO_TEST_CASE(that_find_no_room_are_lost_and_counted_and_later_ones_come) {
  const auto watch = this->watch(4);
  auto worker = writer_of();
  BOOST_REQUIRE(worker.wanted().has_value());
  const step_of_two step(4, 3);
  worker.take(step.view(1, 4)); // the step has more tokens than rows were copied
  BOOST_TEST(watch->lost() == 3U);
  worker.take(step.view(2, 4)); // the ring is full
  BOOST_TEST(watch->lost() == 10U);
  BOOST_TEST(read_all(*watch).size() == 4U);
  worker.take(step.view(3, 2));
  const auto rows = read_all(*watch);
  BOOST_REQUIRE(rows.size() == 2U);
  BOOST_TEST(rows[0].step == 3U);
  BOOST_TEST(watch->lost() == 15U);
}

BOOST_AUTO_TEST_CASE(go_on_with_the_successor_of_the_worker) {
  const auto watch = this->watch(16);
  const step_of_two step(1, 1);
  {
    auto first = writer_of();
    BOOST_REQUIRE(first.wanted().has_value());
    first.take(step.view(1));
  }
  auto second = writer_of();
  BOOST_REQUIRE(second.wanted().has_value());
  second.take(step.view(2));
  const auto rows = read_all(*watch);
  BOOST_REQUIRE(rows.size() == 4U);
  BOOST_TEST(rows[1].step == 1U);
  BOOST_TEST(rows[2].step == 2U);
  BOOST_TEST(watch->lost() == 0U);
}

BOOST_AUTO_TEST_CASE(end_with_the_watch_and_leave_nothing_in_the_vault) {
  auto worker = writer_of();
  const step_of_two step(1, 1);
  {
    const auto watch = this->watch(16);
    BOOST_REQUIRE(worker.wanted().has_value());
    BOOST_TEST(memory.total_bytes() > 0U);
  }
  BOOST_TEST(memory.total_bytes() == 0U);
  worker.take(step.view(1)); // it has not looked again: its memory is still mapped
  BOOST_TEST(!worker.wanted().has_value());
  const auto again = this->watch(8);
  BOOST_REQUIRE(worker.wanted().has_value());
  worker.take(step.view(2));
  const auto rows = read_all(*again);
  BOOST_REQUIRE(rows.size() == 2U);
  BOOST_TEST(rows[0].step == 2U);
}

BOOST_AUTO_TEST_CASE(are_not_written_for_an_order_that_is_over) {
  const layer_order over{.number = 9, .rank = 3, .layer = 1, .rows = 4};
  const auto opened = open_layer_rows(over, width, memory, waits);
  BOOST_REQUIRE(!opened.has_value());
  BOOST_TEST((opened.error().code == errc::stale));
  BOOST_TEST(memory.total_bytes() == 0U);
}

BOOST_AUTO_TEST_CASE(end_for_their_reader_when_the_watch_is_closed) {
  const auto watch = this->watch(16);
  auto read = std::async(std::launch::async, [&watch] { return watch->next(1h); });
  watch->close(); // whether it waits already or not
  BOOST_REQUIRE((read.wait_for(60s) == std::future_status::ready));
  BOOST_TEST((read.get().error().code == errc::closed));
  BOOST_TEST((watch->next(0s).error().code == errc::closed));
  BOOST_TEST(orders->find(watched_rank).number != 0, "until it is destroyed");
}

BOOST_AUTO_TEST_CASE(of_a_dead_control_process_are_ended_by_the_next_one) { // W-4
  const auto watch = this->watch(16);
  auto worker = writer_of();
  BOOST_REQUIRE(worker.wanted().has_value());
  end_layer_watches(*orders, memory);
  BOOST_TEST(!worker.wanted().has_value());
  BOOST_TEST(memory.total_bytes() == 0U);
}

BOOST_AUTO_TEST_CASE(are_watched_once_per_rank_and_by_so_many) { // O-2
  std::vector<std::unique_ptr<layer_watch>> all;
  for (std::int32_t rank = 0; rank < static_cast<std::int32_t>(layer_watches_max); ++rank) {
    auto made = try_watch({.layer = 0, .rank = rank, .rows_max = 2});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
    all.push_back(std::move(*made));
  }
  const auto twice = try_watch({.layer = 1, .rank = 3, .rows_max = 2});
  BOOST_REQUIRE(!twice.has_value());
  BOOST_TEST((twice.error().code == errc::invalid_argument));
  BOOST_TEST(twice.error().context.find("rank 3 is watched already (layer=0)")
             != std::string::npos);
  const auto more = try_watch({.layer = 1, .rank = 100, .rows_max = 2});
  BOOST_REQUIRE(!more.has_value());
  BOOST_TEST((more.error().code == errc::resource_exhausted));
  all.erase(all.begin());
  BOOST_TEST(try_watch({.layer = 1, .rank = 100, .rows_max = 2}).has_value());
}

BOOST_AUTO_TEST_CASE(have_numbers_that_no_living_order_has) { // O-1
  orders->places[0].store({.number = 1, .rank = 0, .layer = 0, .rows = 2});
  orders->last.store(65534);
  BOOST_TEST(orders->next_number() == 65535);
  BOOST_TEST(orders->next_number() == 2, "neither 0 nor the one that is used");
}

BOOST_AUTO_TEST_CASE(need_a_legal_bound) {
  for (const std::int32_t rows : {-1, 0, 1, 65536}) {
    const auto refused = try_watch({.layer = 0, .rank = 0, .rows_max = rows});
    BOOST_REQUIRE(!refused.has_value());
    BOOST_TEST((refused.error().code == errc::invalid_argument));
    BOOST_TEST(refused.error().context.find("legal=2 to 65535") != std::string::npos);
  }
  BOOST_TEST(memory.total_bytes() == 0U);
  vault::memory_vault small(std::size_t{1} << 20U);
  const auto too_many = layer_watch::start({.layer = 0, .rank = 0, .rows_max = 65535},
                                           width,
                                           *orders,
                                           {.memory = &small, .mutex = &mutex},
                                           waits);
  BOOST_REQUIRE(!too_many.has_value());
  BOOST_TEST((too_many.error().code == errc::resource_exhausted));
  BOOST_TEST(orders->find(rank_id(0)).number == 0);
}

BOOST_AUTO_TEST_SUITE_END()
