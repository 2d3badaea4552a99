// Spare workers: who becomes whom, and what a spare that fails may cost. The pool and the children are real, the programs
// stand-ins, and the clock is the test's own where it is about rests.
#include "host/spare_pool.hpp"

#include "tests/host/probe_folder.hpp"

#include "transport/socket/shared_file.hpp"

#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "host/standby.hpp"

using namespace vdist;
using namespace vdist::host;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t rank = 3;
constexpr std::uint64_t hash = 99;

std::vector<std::byte> bytes_of(std::string_view words) {
  const auto* bytes = reinterpret_cast<const std::byte*>(words.data());
  return {bytes, bytes + words.size()};
}

struct pool_fixture : probe_folder {
  pool_fixture() : probe_folder(true) {
    clock.advance(1h);
    words.emplace(std::move(*board::make()));
    children.emplace(*words, 300ms);
    const spare_pool_links links{
        .children = &*children,
        .time = &clock,
        .new_vault_client = [] { return socket::make_shared_file("no-vault", 1); },
        .on_ready =
            [this](const auto& one) {
              ready.push_back(one);
            }};
    pool.emplace(programs() / "vdist-worker", links);
    pool->configure({.prepares_spares = true});
  }

  void look() {
    for (const auto& event : children->look(real.now())) {
      if (is_spare(event.key)) {
        lost += event.what == child_event::kind::ended ? 1 : 0;
        pool->on_lost(event.key);
      }
    }
    pool->look();
  }

  /// The spares that there are, ended ones not counted.
  std::vector<pid_t> spares() {
    std::vector<pid_t> pids;
    for (const auto& [key, child] : children->all()) {
      if (is_spare(key) && !children->has_died(child)) {
        pids.push_back(child.pid());
      }
    }
    return pids;
  }

  void prepare(std::string_view order, std::uint64_t named = hash) {
    pool->prepare({.rank = rank, .order = bytes_of(order), .order_hash = named});
  }

  /// A spare of the order that is ready.
  pid_t make_ready(std::string_view order = "idle", std::uint64_t named = hash) {
    prepare(order, named);
    return make_ready_again();
  }

  pid_t make_ready_again() {
    const auto before = ready.size();
    clock.advance(spare_rest);
    wait_until("a spare is ready", [&] {
      look();
      pool->keep();
      return ready.size() > before;
    });
    BOOST_TEST(ready.back().rank == rank);
    return ready.back().pid;
  }

  /// 0: nobody could be promoted.
  pid_t promote(std::uint64_t named = hash) {
    const protocol::spawn_worker wanted{.key = {.rank = rank, .incarnation = ++incarnation},
                                        .order = bytes_of("idle"),
                                        .spare_hash = named};
    const auto order = make_order_file(wanted.order);
    BOOST_REQUIRE(order.has_value());
    const auto is_promoted = pool->promote(wanted, *order);
    BOOST_REQUIRE(is_promoted.has_value());
    return *is_promoted ? children->pid_of(wanted.key) : 0;
  }

  void wait_until_gone(pid_t pid) {
    wait_until("it is gone", [&] {
      look();
      return !is_running(pid);
    });
  }

  manual_clock clock;
  system_clock real; // of child_table, whose times are those of processes
  std::optional<board> words;
  std::optional<child_table> children;
  std::optional<spare_pool> pool;
  std::vector<protocol::spare_ready> ready;
  std::uint32_t incarnation = 0;
  int lost = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(spares, pool_fixture)

BOOST_AUTO_TEST_CASE(a_prepared_spare_becomes_the_worker_of_its_rank) { // Y-1, Y-2
  const auto spare = make_ready();
  prepare("idle"); // the same again
  BOOST_TEST(spares() == std::vector{spare}, boost::test_tools::per_element());
  BOOST_TEST(promote() == spare);
  clock.advance(1h);
  pool->keep();
  BOOST_TEST(spares().empty(), "nobody has asked for another one");
  BOOST_TEST(!pool->next_start().has_value());
  const auto next = make_ready();
  BOOST_TEST(next != spare);
  BOOST_TEST(is_running(spare));
}

BOOST_AUTO_TEST_CASE(one_that_still_prepares_is_promoted_and_one_that_hangs_is_not) { // Y-2
  prepare("hangs 60000");
  clock.advance(spare_rest);
  pool->keep();
  const auto young = spares().at(0);
  BOOST_TEST(promote() == young);
  prepare("hangs 60000");
  clock.advance(spare_rest);
  pool->keep();
  const auto old = spares().at(0);
  clock.advance(preparing_max);
  BOOST_TEST(promote() == 0);
  wait_until_gone(old);
}

BOOST_AUTO_TEST_CASE(one_of_another_order_is_ended_and_not_used) { // Y-1, Y-2
  const auto first = make_ready();
  BOOST_TEST(promote(hash + 1) == 0);
  wait_until_gone(first);
  const auto second = make_ready();
  prepare("idle", hash + 1); // another shape of the cluster
  wait_until_gone(second);
  BOOST_TEST(make_ready_again() != second);
  BOOST_TEST(promote(hash) == 0);
}

BOOST_AUTO_TEST_CASE(one_of_a_replaced_program_is_ended_and_not_used) { // H-12
  const auto first = make_ready();
  const auto replace = [this] {
    std::filesystem::copy_file(VDIST_PROBE, programs() / "new");
    std::filesystem::rename(programs() / "new", programs() / "vdist-worker");
  };
  replace();
  BOOST_TEST(promote() == 0);
  wait_until_gone(first);
  const auto second = make_ready();
  replace();
  prepare("idle"); // its worker was replaced, too
  wait_until_gone(second);
  const auto third = make_ready_again();
  BOOST_TEST(promote() == third);
}

BOOST_AUTO_TEST_CASE(one_that_is_not_wanted_any_more_is_ended) {
  const auto given_up = make_ready();
  pool->prepare({.rank = rank, .order = {}});
  wait_until_gone(given_up);
  const auto switched_off = make_ready();
  pool->configure({.prepares_spares = false});
  wait_until_gone(switched_off);
  prepare("idle");
  clock.advance(1h);
  pool->keep();
  BOOST_TEST(spares().empty());
  pool->configure({.standby = 2});
  pool->keep();
  BOOST_TEST(spares().size() == 2U);
  pool->configure({.standby = 1});
  BOOST_TEST(spares().size() == 1U);
}

BOOST_AUTO_TEST_CASE(one_that_is_killed_is_replaced_after_a_rest) { // Y-3, Y-4
  const auto first = make_ready();
  ::kill(first, SIGKILL);
  wait_until("its end is known", [this] {
    look();
    return lost == 1;
  });
  pool->keep();
  BOOST_TEST(spares().empty(), "not at once");
  BOOST_REQUIRE(pool->next_start().has_value());
  BOOST_TEST((*pool->next_start() - clock.now() == duration(spare_rest)));
  BOOST_TEST(make_ready_again() != first);
}

BOOST_AUTO_TEST_CASE(one_that_always_dies_is_given_up_until_somebody_asks_again) { // Y-3
  const auto die_for = [this](std::chrono::seconds time) {
    const auto end = clock.now() + time;
    while (pool->next_start() && clock.now() < end) {
      pool->keep();
      const auto before = lost;
      if (!spares().empty() || !children->all().empty()) {
        wait_until("it dies", [&] {
          look();
          return lost > before;
        });
      }
      clock.advance(100ms);
    }
  };
  prepare("dies");
  clock.advance(spare_rest);
  const auto begun = clock.now();
  die_for(600s);
  BOOST_TEST(lost == static_cast<int>(spare_limits.restarts_max) + 1);
  BOOST_TEST((clock.now() - begun > 14s), "rests of 0.2, 1, 2, 4 and 8 s");
  BOOST_TEST(!pool->next_start().has_value());
  prepare("dies"); // another worker has loaded
  clock.advance(spare_rest);
  die_for(600s);
  BOOST_TEST(lost == static_cast<int>(spare_limits.restarts_max) + 2, "within the window: one try");
}

BOOST_AUTO_TEST_CASE(one_that_hangs_while_it_prepares_is_found) {
  prepare("hangs 100");
  clock.advance(spare_rest);
  pool->keep();
  const auto hung = spares().at(0);
  wait_until("it has been reaped", [&] {
    look();
    return children->all().empty();
  });
  BOOST_TEST(!is_running(hung));
  BOOST_TEST(ready.empty());
  BOOST_TEST(pool->next_start().has_value(), "it is tried again");
}

BOOST_AUTO_TEST_CASE(none_is_started_while_a_process_of_its_rank_comes_to_its_end) { // Y-4
  const protocol::process_key worker{.rank = rank, .incarnation = 1};
  const auto order = make_order_file(bytes_of("idle"));
  BOOST_REQUIRE(children
                    ->start(worker,
                            {.program = programs() / "vdist-worker",
                             .arguments = {"--order-fd", "3"},
                             .descriptors = {order->get()}})
                    .has_value());
  prepare("idle");
  clock.advance(1h);
  children->kill(worker, "of the test");
  pool->keep();
  BOOST_TEST(spares().empty());
  BOOST_TEST(!pool->next_start().has_value(), "its end is waited for, not a time");
  wait_until("it has been reaped", [&] {
    look();
    return children->find(worker) == nullptr;
  });
  pool->keep();
  BOOST_TEST(spares().size() == 1U);
}

BOOST_AUTO_TEST_CASE(nothing_of_before_is_used_behind_the_end_of_the_vault) { // H-6, H-13
  const auto spare = make_ready();
  pool->forget_all();
  children->kill_all("of the test");
  wait_until_gone(spare);
  clock.advance(1h);
  pool->keep();
  BOOST_TEST(spares().empty());
  BOOST_TEST(promote() == 0);
}

BOOST_AUTO_TEST_CASE(a_key_names_the_rank_that_a_spare_is_for) {
  std::set<protocol::process_key> keys;
  for (std::int32_t of = no_rank; of < 5; ++of) {
    const auto key = spare_key(7, of);
    BOOST_TEST(is_spare(key));
    BOOST_TEST(rank_of_spare(key) == of);
    keys.insert(key);
  }
  BOOST_TEST(keys.size() == 6U);
  BOOST_TEST(!is_spare({.rank = 0}));
}

BOOST_AUTO_TEST_SUITE_END()
