#include "runtime/topology/groups.hpp"

#include <boost/test/unit_test.hpp>

#include <set>
#include <vector>

using namespace vdist;
using namespace vdist::topology;

namespace {

using ranks = std::vector<std::int32_t>;

std::vector<ranks> lists(group_kind kind, const parallel_sizes& sizes) {
  std::vector<ranks> all;
  for (const group& g : make_groups(kind, sizes)) {
    all.emplace_back();
    for (const rank_id r : g.ranks) {
      all.back().push_back(r.value);
    }
  }
  return all;
}

void check_lists(group_kind kind, const parallel_sizes& sizes, const std::vector<ranks>& expected) {
  const std::vector<ranks> got = lists(kind, sizes);
  BOOST_TEST_CONTEXT(to_string(kind)) {
    BOOST_REQUIRE_EQUAL(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      BOOST_TEST(got[i] == expected[i], boost::test_tools::per_element());
    }
  }
}

constexpr parallel_sizes cube{.data = 2, .pipeline = 2, .tensor = 2};

} // namespace

BOOST_AUTO_TEST_SUITE(groups)

// T-1
BOOST_AUTO_TEST_CASE(every_kind_partitions_all_ranks_into_equal_groups) {
  for (const parallel_sizes& sizes : {parallel_sizes{},
                                      cube,
                                      parallel_sizes{3, 2, 1, 4, 2, true},
                                      parallel_sizes{1, 3, 2, 2, 4, false},
                                      parallel_sizes{2, 1, 2, 3, 2, true}}) {
    for (std::int32_t k = 0; k < group_kind_count; ++k) {
      const auto kind = static_cast<group_kind>(k);
      std::set<std::int32_t> seen;
      std::int32_t index = 0;
      const std::vector<group> all = make_groups(kind, sizes);
      for (const group& g : all) {
        BOOST_TEST(g.index == index++);
        BOOST_TEST((g.kind == kind));
        BOOST_TEST(g.size() == all.front().size());
        for (const rank_id r : g.ranks) {
          BOOST_TEST(seen.insert(r.value).second);
        }
      }
      BOOST_TEST(static_cast<std::int32_t>(seen.size()) == sizes.world());
      BOOST_TEST(*seen.rbegin() == sizes.world() - 1);
    }
  }
}

BOOST_AUTO_TEST_CASE(groups_of_two_by_two_by_two) {
  check_lists(group_kind::tensor, cube, {{0, 1}, {2, 3}, {4, 5}, {6, 7}});
  check_lists(group_kind::pipeline, cube, {{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  check_lists(group_kind::data, cube, {{0, 4}, {1, 5}, {2, 6}, {3, 7}});
  check_lists(group_kind::expert, cube, {{0, 1, 4, 5}, {2, 3, 6, 7}});
  check_lists(group_kind::expert_balance, cube, {{0, 1, 4, 5}, {2, 3, 6, 7}});
  check_lists(group_kind::replica, cube, {{0, 1, 2, 3}, {4, 5, 6, 7}});
}

BOOST_AUTO_TEST_CASE(decode_context_groups_are_pieces_of_the_tensor_group) {
  check_lists(group_kind::decode_context,
              {.pipeline = 2, .tensor = 4, .decode_context = 2},
              {{0, 1}, {2, 3}, {4, 5}, {6, 7}});
}

BOOST_AUTO_TEST_CASE(decode_context_runs_over_prefill_context_first) {
  // One stage, ranks = prefill_context * 2 + tensor.
  check_lists(group_kind::decode_context,
              {.prefill_context = 2, .tensor = 2, .decode_context = 2},
              {{0, 2}, {1, 3}});
  check_lists(group_kind::decode_context,
              {.prefill_context = 2, .tensor = 2, .decode_context = 4},
              {{0, 2, 1, 3}});
  check_lists(group_kind::prefill_context, {.prefill_context = 2, .tensor = 2}, {{0, 2}, {1, 3}});
}

BOOST_AUTO_TEST_CASE(decode_context_is_legal_only_where_the_ranks_divide) {
  BOOST_TEST(is_legal_decode_context({.tensor = 4, .decode_context = 2}));
  BOOST_TEST(!is_legal_decode_context({.tensor = 4, .decode_context = 3}));
  BOOST_TEST(!is_legal_decode_context({.tensor = 4, .decode_context = 0}));
  BOOST_TEST(is_legal_decode_context({.prefill_context = 2, .tensor = 4, .decode_context = 8}));
  BOOST_TEST(!is_legal_decode_context({.prefill_context = 2, .tensor = 4, .decode_context = 4}));
}

BOOST_AUTO_TEST_SUITE_END()
