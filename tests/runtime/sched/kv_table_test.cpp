// The table alone, its bytes in every state, and takeovers at every store of every step.
#include "runtime/sched/kv_table.hpp"

#include "tests/runtime/ledger/child_process.hpp"
#include "tests/runtime/sched/sched_harness.hpp"
#include "tests/runtime/sched/torn_table.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <functional>
#include <random>
#include <sys/mman.h>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr sched::kv_table_config small{
    .max_sequences = 3, .blocks = 8, .block_size = 4, .blocks_per_sequence = 4};

void write(sched::kv_table& table,
           std::uint32_t slot,
           std::uint64_t id,
           const std::vector<std::int32_t>& blocks,
           std::int32_t computed) {
  table.claim(slot, request_id(id));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    table.set_block(slot, static_cast<std::int32_t>(i), block_id(blocks[i]));
  }
  table.publish(slot, computed);
}

/// Ids of the records that are believed.
std::vector<std::uint64_t> believed(const sched::kv_table& table) {
  std::vector<std::uint64_t> ids;
  for (const auto& record : table.read()) {
    ids.push_back(record.id.value);
  }
  return ids;
}

using ids = std::vector<std::uint64_t>;

} // namespace

BOOST_AUTO_TEST_SUITE(kv_table_suite)

BOOST_AUTO_TEST_CASE(a_table_keeps_what_was_published_and_forgets_what_was_cleared) { // T-1, T-7
  const table_memory memory(small);
  sched::kv_table table(memory.span(), small);
  BOOST_TEST(table.read().empty());
  write(table, 1, 7, {5, 2}, 6);
  table.set_content(99);
  sched::kv_table again(memory.span(), small);
  BOOST_TEST(again.content() == 99U);
  BOOST_REQUIRE_EQUAL(again.read().size(), 1U);
  const auto record = again.read().front();
  BOOST_TEST(record.id.value == 7U);
  BOOST_TEST(record.slot == 1U);
  BOOST_TEST(record.computed == 6);
  BOOST_TEST((record.blocks == std::vector{block_id(5), block_id(2)}));
  BOOST_TEST((again.keepers() == std::vector{request_id(7)}));
  BOOST_TEST(again.without().empty());
  table.clear(1);
  BOOST_TEST(again.read().empty());
  BOOST_TEST(again.keepers().empty());
  table.note_without(request_id(7));
  BOOST_TEST((again.without() == std::vector{request_id(7)}));
}

BOOST_AUTO_TEST_CASE(a_table_of_another_configuration_is_empty) {
  const table_memory memory(small);
  sched::kv_table table(memory.span(), small);
  write(table, 0, 7, {5}, 3);
  table.set_content(99);
  auto other = small;
  other.blocks = 7;
  const sched::kv_table changed(memory.span(), other);
  BOOST_TEST(changed.read().empty());
  BOOST_TEST(changed.without().empty());
  BOOST_TEST(changed.content() == 0U);
}

BOOST_AUTO_TEST_CASE(records_that_cannot_be_are_left_out) { // T-5
  const table_memory memory(small);
  sched::kv_table table(memory.span(), small);
  const auto fresh = memory.copy();
  const auto start_over = [&memory, &fresh] {
    memory.assign(fresh);
  };
  write(table, 0, 1, {0, 1}, 17); // more than blocks_per_sequence
  write(table, 1, 2, {8}, 1);     // no such block
  write(table, 2, 3, {-1}, 4);
  BOOST_TEST(believed(table).empty());
  start_over();
  write(table, 0, 1, {0}, -3);
  write(table, 1, 0, {1}, 3); // nobody's
  write(table, 2, 3, {2, 2}, 5);
  BOOST_TEST(believed(table).empty());
  start_over();
  write(table, 0, 1, {0}, 3); // twice the same request
  write(table, 1, 1, {1}, 3);
  write(table, 2, 3, {2}, 3);
  BOOST_TEST(believed(table) == ids{3}, boost::test_tools::per_element());
  start_over();
  write(table, 0, 1, {0, 1}, 8); // a full block at the same place may be of both
  write(table, 1, 2, {0, 2}, 6);
  BOOST_TEST((believed(table) == ids{1, 2}));
  auto apart = small;
  apart.shares_blocks = false;
  const table_memory elsewhere(apart);
  sched::kv_table unshared(elsewhere.span(), apart);
  write(unshared, 0, 1, {0, 1}, 8);
  write(unshared, 1, 2, {0, 2}, 6);
  BOOST_TEST(believed(unshared).empty());
  start_over();
  write(table, 0, 1, {0, 1}, 8); // at another place, or half full
  write(table, 1, 2, {1, 2}, 8);
  BOOST_TEST(believed(table).empty());
  start_over();
  write(table, 0, 1, {0, 1}, 7);
  write(table, 1, 2, {3, 1}, 8);
  write(table, 2, 3, {4}, 2);
  BOOST_TEST(believed(table) == ids{3}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(no_bytes_of_a_table_break_the_scheduler_that_reads_them) { // T-5
  auto config = small_config(8, 4, 16);
  config.max_sequences = 3;
  const auto layout = sched::table_config_of(config);
  std::mt19937_64 random(11);
  for (int round = 0; round < 20000; ++round) {
    const table_memory memory(layout);
    sched::kv_table table(memory.span(), layout);
    for (std::uint32_t slot = 0; slot < 3; ++slot) {
      std::vector<std::int32_t> blocks;
      for (int i = 0; i < 4; ++i) {
        blocks.push_back(static_cast<std::int32_t>(random() % 10) - 1);
      }
      write(table, slot, random() % 4, blocks, static_cast<std::int32_t>(random() % 18) - 1);
    }
    config.prefix_cache = round % 3 != 0;
    const auto shared = sched::table_config_of(config);
    if (shared != layout) {
      continue;
    }
    sched::scheduler scheduler(config, &table);
    scheduler.keep(table.read());
    scheduler.start_epoch(epoch(2));
    for (std::uint64_t id = 1; id <= 4; ++id) {
      std::vector<token_id> prompt(1 + random() % 12, static_cast<token_id>(random() % 2));
      BOOST_REQUIRE(scheduler.add(make_request(id, std::move(prompt), 3)).has_value());
      const auto intact = scheduler.check_integrity();
      BOOST_REQUIRE_MESSAGE(intact.has_value(), (intact ? "" : intact.error().context));
    }
    scheduler.give_up_kept();
    protocol::step_plan plan;
    std::vector<protocol::token_event> events;
    for (std::uint64_t step = 1; scheduler.plan(step_id(step), epoch(2), plan); ++step) {
      BOOST_REQUIRE(scheduler.commit(result_of(plan, 1), events).has_value());
      const auto intact = scheduler.check_integrity();
      BOOST_REQUIRE_MESSAGE(intact.has_value(), (intact ? "" : intact.error().context));
    }
    BOOST_TEST(events.size() >= 4U);
  }
}

BOOST_AUTO_TEST_CASE(a_table_that_was_made_while_its_maker_died_is_made_again) {
  const table_memory memory(small);
  std::mt19937_64 random(3);
  for (auto& byte : memory.span()) {
    byte = static_cast<std::byte>(random());
  }
  const sched::kv_table table(memory.span(), small);
  BOOST_TEST(table.read().empty());
  BOOST_TEST(table.content() == 0U);
}

namespace {

/// Three requests of which two share their beginning, in a pool that is large enough, or not.
std::unique_ptr<sched_harness> table_world(std::int32_t blocks, const sched::overlap& ahead) {
  auto config = small_config(blocks, 2, 14);
  config.max_batch_tokens = 3; // prompts come in chunks
  config.max_steps_in_flight = ahead.steps_in_flight;
  config.feeds_tokens = ahead.feeds_tokens;
  auto world = std::make_unique<sched_harness>(config);
  world->add(make_request(1, {1, 2, 3, 4, 5}, 6));
  world->add(make_request(2, {1, 2, 3, 4, 6, 7, 8}, 6));
  world->add(make_request(3, {9}, 5));
  return world;
}

enum class death : std::uint8_t { between, in_plan, in_commit };

} // namespace

/// S-9, T-1 to T-4: any step, any store, then again at once, or with requests that come late.
BOOST_AUTO_TEST_CASE(a_successor_goes_on_wherever_its_predecessor_died) {
  std::uint64_t restored = 0;
  int worlds = 0;
  for (const auto& ahead : {sched::overlap{1, false}, {2, false}, {2, true}, {3, true}}) {
    for (const std::int32_t blocks : {7, 9, 21}) {
      for (const auto how : {death::between, death::in_plan, death::in_commit}) {
        for (int step = 1; step <= 14; ++step) {
          for (std::uint64_t store = 0; store < (how == death::between ? 2U : 12U); ++store) {
            BOOST_TEST_CONTEXT("blocks=" << blocks << " in_flight=" << ahead.steps_in_flight
                                         << " feeds=" << ahead.feeds_tokens
                                         << " how=" << static_cast<int>(how) << " step=" << step
                                         << " store=" << store) {
              const auto world = table_world(blocks, ahead);
              for (int i = 0; i < step; ++i) {
                while (world->submit()) {
                }
                if (i + 1 < step) {
                  world->retire();
                }
              }
              switch (how) {
              case death::between:
                world->take_over(store == 1);
                world->check_integrity();
                world->hand_over_rest();
                break;
              case death::in_plan:
                world->retire();
                world->die_in_plan(store);
                break;
              case death::in_commit:
                world->die_in_commit(store);
                world->die_in_plan(store);
                break;
              }
              world->check_integrity();
              world->drain(200);
              world->check_end();
              restored += world->tokens_restored();
              ++worlds;
            }
          }
        }
      }
    }
  }
  BOOST_TEST_MESSAGE(worlds << " deaths, " << restored << " tokens restored");
  BOOST_TEST(restored > 10000U);
}

namespace {

/// Memory for one table that a child shares.
class shared_table_memory {
public:
  explicit shared_table_memory(std::size_t bytes)
      : memory_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        bytes_(bytes) {
    BOOST_REQUIRE(memory_ != MAP_FAILED);
  }

  ~shared_table_memory() { munmap(memory_, bytes_); }

  shared_table_memory(const shared_table_memory&) = delete;
  shared_table_memory& operator=(const shared_table_memory&) = delete;

  [[nodiscard]] std::span<std::byte> span() const {
    return {static_cast<std::byte*>(memory_), bytes_};
  }

  [[nodiscard]] table_bytes copy() const { return {span().begin(), span().end()}; }

  void assign(const table_bytes& bytes) const {
    std::copy(bytes.begin(), bytes.end(), span().begin());
  }

private:
  void* memory_;
  std::size_t bytes_;
};

/// Every state of the memory while a child does it, one instruction at a time; the memory is as before then.
std::vector<table_bytes> states_while(const shared_table_memory& memory,
                                      const std::function<void()>& act) {
  std::vector<table_bytes> states{memory.copy()};
  traced_child child([&act](const traced_child::mark& begin) {
    begin();
    act();
  });
  while (child.is_traced() && child.step()) {
    const auto now = memory.span();
    if (!std::equal(now.begin(), now.end(), states.back().begin())) {
      states.push_back(memory.copy());
    }
  }
  memory.assign(states.front());
  return states;
}

} // namespace

/// So that states_between() may stand for it everywhere else.
BOOST_AUTO_TEST_CASE(a_scheduler_writes_its_table_in_the_order_that_a_successor_needs) { // T-3
  auto config = small_config(9, 2, 14);
  config.max_batch_tokens = 6;
  config.max_sequences = 3;
  const auto layout = sched::table_config_of(config);
  const shared_table_memory memory(sched::kv_table::bytes_for(layout));
  sched::kv_table table(memory.span(), layout);
  sched::scheduler scheduler(config, &table);
  for (std::uint64_t id = 1; id <= 4; ++id) { // the pool is too small for all: some give way
    const auto length = static_cast<std::size_t>(id + 1);
    BOOST_REQUIRE(scheduler.add(make_request(id, std::vector<token_id>(length, 5), 6)).has_value());
  }
  protocol::step_plan plan;
  std::vector<protocol::token_event> events;
  std::size_t stores = 0;
  for (std::uint64_t step = 1; step < 100; ++step) {
    const auto planning = [&scheduler, &plan, step] {
      return scheduler.plan(step_id(step), epoch(1), plan);
    };
    const auto planned = states_while(memory, [&planning] { (void)planning(); });
    if (!planning()) {
      break;
    }
    BOOST_TEST((planned.size() == 1 || planned.back() == memory.copy()));
    const auto result = result_of(plan, 1);
    const auto committed = states_while(
        memory, [&scheduler, &result, &events] { (void)scheduler.commit(result, events); });
    BOOST_REQUIRE(scheduler.commit(result, events).has_value());
    const auto expected = states_between(committed.front(), memory.copy(), plan.slots, layout);
    if (committed.size() == 1 && expected.size() > 1) {
      BOOST_TEST_MESSAGE("skipped: no child can be traced here");
      return;
    }
    BOOST_TEST((committed == expected), "step " << step);
    stores += expected.size() - 1;
  }
  BOOST_TEST(stores > 40U);
  BOOST_TEST(scheduler.stats().preemptions > 0U);
}

BOOST_AUTO_TEST_SUITE_END()
