#include "model/exec/slot_table.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

namespace vdist {

namespace {

constexpr std::int32_t block_size = 4;

exec::slot_table make_table() {
  return exec::slot_table({.slots = 4,
                           .max_positions = 32,
                           .block_size = block_size,
                           .max_batch_tokens = 16,
                           .tokens = exec::token_memory::keep});
}

struct part {
  std::uint32_t slot;
  std::int32_t first;
  std::vector<token_id> tokens; // of the plan's column
  std::vector<std::int32_t> blocks;
  std::uint8_t flags = 0;
};

protocol::step_plan plan_of(const std::vector<part>& parts) {
  protocol::step_plan plan;
  plan.step = 1;
  for (const auto& one : parts) {
    const bool is_new = (one.flags & protocol::flag_new) != 0;
    const auto given = static_cast<std::int32_t>(one.tokens.size());
    plan.slots.push_back(one.slot);
    plan.request_ids.push_back(100 + one.slot);
    plan.flags.push_back(one.flags);
    plan.first_position.push_back(one.first);
    plan.token_counts.push_back(is_new ? given - one.first : given);
    plan.block_counts.push_back(static_cast<std::int32_t>(one.blocks.size()));
    plan.new_blocks.insert(plan.new_blocks.end(), one.blocks.begin(), one.blocks.end());
    plan.tokens.insert(plan.tokens.end(), one.tokens.begin(), one.tokens.end());
    if (is_new) {
      plan.sampling.push_back({.prompt_tokens = given});
    }
  }
  return plan;
}

constexpr auto is_new = protocol::flag_new;
constexpr auto samples = protocol::flag_samples;

bool is_refused(exec::slot_table& table,
                const std::vector<part>& parts,
                const std::string& reason) {
  const auto done = table.apply(plan_of(parts));
  return !done && done.error().code == errc::corrupt
         && done.error().context.find(reason) != std::string::npos;
}

template <class T>
std::vector<T> as_vector(const T* first, std::size_t count) {
  return {first, first + count};
}

} // namespace

BOOST_AUTO_TEST_SUITE(slot_table)

BOOST_AUTO_TEST_CASE(a_step_of_new_and_running_sequences_is_laid_out_in_plan_order) {
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{2, 0, {5, 6, 7}, {9}, is_new | samples}})));
  // Slot 0 has two tokens whose KV exists already (a shared prefix); slot 2 goes on with a second
  // block.
  BOOST_REQUIRE(
      table.apply(plan_of({{0, 2, {1, 2, 3, 4}, {30}, is_new}, {2, 3, {8, 9}, {31}, samples}})));
  const auto& batch = table.batch();
  BOOST_TEST(batch.sequences == 2);
  BOOST_TEST(batch.tokens == 4);
  BOOST_TEST(as_vector(table.token_ids(), 4) == (std::vector<token_id>{3, 4, 8, 9}),
             boost::test_tools::per_element());
  BOOST_TEST(as_vector(table.positions(), 4) == (std::vector<std::int32_t>{2, 3, 3, 4}),
             boost::test_tools::per_element());
  BOOST_TEST(as_vector(batch.query_start, 3) == (std::vector<std::int32_t>{0, 2, 4}),
             boost::test_tools::per_element());
  BOOST_TEST(as_vector(batch.first_position, 2) == (std::vector<std::int32_t>{2, 3}),
             boost::test_tools::per_element());
  BOOST_TEST(batch.blocks_of(0)[0] == 30);
  BOOST_TEST(batch.blocks_of(1)[0] == 9);
  BOOST_TEST(batch.blocks_of(1)[1] == 31);
  BOOST_TEST(batch.longest_query == 2);
  BOOST_TEST(as_vector(table.token_slots(), 4) == (std::vector<std::int32_t>{0, 0, 2, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(table.new_blocks().rows == (std::vector<std::int32_t>{0, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(table.new_blocks().columns == (std::vector<std::int32_t>{0, 1}),
             boost::test_tools::per_element());
  BOOST_TEST(table.new_blocks().blocks == (std::vector<std::int32_t>{30, 31}),
             boost::test_tools::per_element());
  BOOST_TEST(table.max_position() == 5);
  BOOST_TEST(table.sampled().size() == 1U);
  BOOST_TEST(table.sampled()[0] == 1);
  BOOST_TEST(table.sampled_rows()[0] == 3);
  BOOST_TEST(table.last_rows()[0] == 1);
  const auto view = table.view(2);
  BOOST_TEST(view.request_id == 102U);
  BOOST_TEST(std::vector<token_id>(view.tokens.begin(), view.tokens.end())
                 == (std::vector<token_id>{5, 6, 7, 8, 9}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(biases_and_suppressed_ids_belong_to_their_sequence) {
  auto table = make_table();
  auto plan = plan_of({{0, 0, {1}, {1}, is_new}, {1, 0, {2}, {2}, is_new}});
  plan.sampling[0].bias_count = 1;
  plan.sampling[1].bias_count = 2;
  plan.sampling[1].suppressed_count = 1;
  plan.bias_ids = {10, 20, 21};
  plan.bias_values = {0.5F, 1.5F, -2.0F};
  plan.suppressed_ids = {7};
  BOOST_REQUIRE(table.apply(plan));
  BOOST_TEST(table.view(0).bias_ids.size() == 1U);
  BOOST_TEST(table.view(0).suppressed_ids.empty());
  BOOST_TEST(table.view(1).bias_ids[1] == 21);
  BOOST_TEST(table.view(1).bias_values[1] == -2.0F);
  BOOST_TEST(table.view(1).suppressed_ids[0] == 7);
}

//
BOOST_AUTO_TEST_CASE(a_sequence_that_does_not_continue_where_it_ended_is_refused) {
  for (const std::int32_t first : {0, 2, 4}) {
    auto table = make_table();
    BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7}, {1, 2}, is_new}})));
    BOOST_TEST(is_refused(table, {{1, first, {8}, {}, 0}}, "does not continue"));
  }
}

BOOST_AUTO_TEST_CASE(slots_that_hold_no_sequence_cannot_continue) {
  auto table = make_table();
  BOOST_TEST(is_refused(table, {{1, 0, {5}, {1}, 0}}, "holds no sequence"));
  table.clear();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5}, {1}, is_new}})));
  auto plan = plan_of({{1, 1, {5}, {}, 0}});
  plan.retired_slots = {1};
  BOOST_TEST(!table.apply(plan));
  table.clear();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5}, {1}, is_new}})));
  table.clear(); // an epoch ends
  BOOST_TEST(is_refused(table, {{1, 1, {5}, {}, 0}}, "holds no sequence"));
}

BOOST_AUTO_TEST_CASE(a_retired_slot_takes_another_sequence) {
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6}, {1}, is_new}})));
  auto plan = plan_of({{1, 0, {9}, {3}, is_new}});
  plan.retired_slots = {1};
  BOOST_REQUIRE(table.apply(plan));
  BOOST_TEST(table.view(1).tokens.size() == 1U);
  BOOST_TEST(table.batch().blocks_of(0)[0] == 3);
}

//
BOOST_AUTO_TEST_CASE(a_token_on_the_device_is_known_once_it_was_resolved) {
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6}, {1}, is_new | samples}})));
  const auto request = table.view(1).request_id;
  table.feed_on_device(1);
  BOOST_REQUIRE(table.apply(plan_of({{1, 2, {protocol::fed_token}, {}, samples}})));
  BOOST_TEST(table.token_ids()[0] == protocol::fed_token); // the device fills it in
  table.feed_on_device(1);
  table.resolve(1, request, 2, 42); // late: the step that it was fed to is under way
  BOOST_TEST(table.view(1).tokens[2] == 42);
  table.resolve(1, request, 3, 43); // in time: the next plan gets the token itself
  BOOST_REQUIRE(table.apply(plan_of({{1, 3, {protocol::fed_token}, {}, samples}})));
  BOOST_TEST(table.token_ids()[0] == 43);
  table.resolve(1, request + 1, 3, 44); // of another request
  BOOST_TEST(table.view(1).tokens[3] == 43);
  BOOST_TEST(is_refused(table, {{1, 4, {protocol::fed_token}, {2}, samples}}, "did not sample"));
}

//
BOOST_AUTO_TEST_CASE(blocks_must_cover_the_positions_and_no_more_than_a_sequence_has) {
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7, 8}, {1}, is_new}})));
  BOOST_TEST(is_refused(table, {{1, 4, {9}, {}, 0}}, "too few blocks"));
  auto other = make_table();
  BOOST_TEST(is_refused(
      other, {{1, 0, {5}, {0, 1, 2, 3, 4, 5, 6, 7, 8}, is_new}}, "more blocks than positions"));
}

// X-4, P-8
BOOST_AUTO_TEST_CASE(a_fed_token_serves_the_next_plan_of_its_slot_and_no_later_one) {
  const part next{1, 3, {protocol::fed_token}, {}, samples};
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7}, {1, 2}, is_new | samples}})));
  BOOST_TEST(is_refused(table, {next}, "is fed"));
  table.clear();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7}, {1, 2}, is_new | samples}})));
  table.feed(1, 8);
  BOOST_REQUIRE(table.apply(plan_of({{2, 0, {1}, {3}, is_new}}))); // without the slot
  BOOST_REQUIRE(table.apply(plan_of({next})));
  BOOST_TEST(table.token_ids()[0] == 8);
  BOOST_TEST(table.view(1).tokens.back() == 8);
  BOOST_TEST(is_refused(table, {{1, 4, {protocol::fed_token}, {}, samples}}, "is fed"));
  // Neither does it survive the sequence: another one in the same slot knows nothing of it.
  table.feed(1, 8);
  table.clear();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7}, {1, 2}, is_new | samples}})));
  BOOST_TEST(is_refused(table, {next}, "is fed"));
}

BOOST_AUTO_TEST_CASE(a_plan_may_name_the_token_that_was_fed) {
  auto table = make_table();
  BOOST_REQUIRE(table.apply(plan_of({{1, 0, {5, 6, 7}, {1, 2}, is_new | samples}})));
  table.feed(1, 8);
  BOOST_REQUIRE(table.apply(plan_of({{1, 3, {8}, {}, samples}})));
  BOOST_TEST(table.token_ids()[0] == 8);
  BOOST_TEST(is_refused(table, {{1, 4, {protocol::fed_token}, {}, samples}}, "is fed"));
}

BOOST_AUTO_TEST_CASE(a_slot_named_twice_is_refused) {
  auto table = make_table();
  BOOST_TEST(
      is_refused(table, {{1, 0, {5}, {1}, is_new}, {1, 0, {5}, {2}, is_new}}, "named twice"));
}

BOOST_AUTO_TEST_CASE(a_step_larger_than_the_workspace_is_refused) {
  auto table = make_table();
  BOOST_TEST(is_refused(table,
                        {{0, 0, std::vector<token_id>(17, 1), {0, 1, 2, 3, 4}, is_new}},
                        "max_batch_tokens=16"));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
