#include "runtime/kv/published_prefixes.hpp"

#include "runtime/kv/block_pool.hpp"
#include "runtime/kv/prefix_index.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <thread>

using namespace vdist;

namespace {

/// Adds and removes at random and compares after every change. `values`: of how many hashes; `stride` apart, so that a small
/// one makes neighbours and a multiple of the slots makes all of them want the same slot.
void run_random(std::uint64_t seed, std::uint64_t values, std::uint64_t stride) {
  constexpr std::int32_t blocks = 24;
  std::mt19937_64 random(seed);
  kv::published_prefixes shown(blocks);
  std::multiset<std::uint64_t> known;
  const auto hash_of = [stride](std::uint64_t value) {
    return value == 0 ? 0 : value * stride + 1; // 0 is what a free slot looks like
  };
  for (int round = 0; round < 3000; ++round) {
    const auto hash = hash_of(random() % values);
    const bool adds = known.size() < blocks && random() % 2 == 0;
    if (adds) {
      shown.add(hash);
      known.insert(hash);
    } else if (const auto one = known.find(hash); one != known.end()) {
      shown.remove(hash);
      known.erase(one);
    }
    for (std::uint64_t value = 0; value < values; ++value) {
      BOOST_REQUIRE_EQUAL(shown.contains(hash_of(value)), known.contains(hash_of(value)));
    }
  }
  BOOST_TEST(!known.empty());
  shown.clear();
  BOOST_TEST(std::ranges::none_of(known, [&shown](auto hash) { return shown.contains(hash); }));
}

} // namespace

BOOST_AUTO_TEST_SUITE(published_prefixes_rules)

BOOST_AUTO_TEST_CASE(holds_exactly_what_was_added_and_not_removed) { // B-1, B-2
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    run_random(seed, 40, 1);    // runs of neighbours, also around the end
    run_random(seed, 40, 64);   // one home for all
    run_random(seed, 6, 1);     // the same ones again and again
    run_random(seed, 40, 7919); // spread
  }
}

BOOST_AUTO_TEST_CASE(counts_the_blocks_before_the_first_that_is_missing) {
  kv::published_prefixes shown(8);
  for (const std::uint64_t hash : {11U, 22U, 44U}) {
    shown.add(hash);
  }
  const auto count = [&shown](std::vector<std::uint64_t> chain) {
    return shown.count_leading(chain);
  };
  BOOST_TEST(count({11, 22, 33, 44}) == 2);
  BOOST_TEST(count({33, 11}) == 0);
  BOOST_TEST(count({44, 11, 22}) == 3);
  BOOST_TEST(count({}) == 0);
}

BOOST_AUTO_TEST_CASE(a_chain_is_that_of_the_index) {
  constexpr std::int32_t block_size = 4;
  constexpr std::uint64_t salt = 99;
  const std::vector<token_id> tokens{5, 6, 7, 8, 1, 2, 3, 4, 9, 9, 9, 9, 1};
  kv::prefix_index index(8, block_size, salt);
  std::vector<std::uint64_t> expected;
  kv::prefix_node node;
  for (std::int32_t block = 0; block < 3; ++block) {
    const auto from = static_cast<std::size_t>(block) * block_size;
    node = index.insert(node, std::span(tokens).subspan(from, block_size), block_id(block));
    expected.push_back(node.hash);
  }
  std::vector<std::uint64_t> chain{1, 2, 3};
  kv::chain_of(tokens, block_size, 100, salt, chain);
  BOOST_TEST(chain == expected, boost::test_tools::per_element());
  kv::chain_of(tokens, block_size, 2, salt, chain);
  BOOST_TEST(chain.size() == 2U);
  kv::chain_of(std::span(tokens).first(3), block_size, 100, salt, chain);
  BOOST_TEST(chain.empty());
}

/// The router's count against the pool's own, while sequences come, go and evict each other.
BOOST_AUTO_TEST_CASE(shows_what_a_pool_would_match) { // B-1
  constexpr std::int32_t block_size = 2;
  std::size_t found = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    kv::block_pool pool({.blocks = 12, .block_size = block_size, .salt = seed});
    kv::published_prefixes shown(12);
    pool.show_prefixes(shown);
    std::vector<std::uint64_t> chain;
    std::vector<block_id> hits;
    for (int round = 0; round < 500; ++round) {
      std::vector<token_id> tokens(8);
      std::ranges::generate(tokens, [&random] { return static_cast<token_id>(random() % 2); });
      auto node = pool.match(tokens, 4, hits);
      kv::chain_of(tokens, block_size, 4, seed, chain);
      BOOST_REQUIRE_EQUAL(shown.count_leading(chain), hits.size());
      found += hits.size();
      auto blocks = hits; // a sequence that runs alone and ends
      pool.retain(hits);
      pool.reserve(static_cast<std::int32_t>(4 - hits.size()), blocks);
      for (auto block = hits.size(); block < blocks.size(); ++block) {
        node = pool.publish(
            node, std::span(tokens).subspan(block * block_size, block_size), blocks[block]);
      }
      pool.release(blocks);
      if (random() % 100 == 0) {
        pool.forget_content();
      }
    }
    BOOST_REQUIRE(pool.check_integrity().has_value());
  }
  BOOST_TEST(found > 1000U);
}

BOOST_AUTO_TEST_CASE(a_late_looker_sees_what_was_published_before) {
  kv::prefix_index index(4, 1, 0);
  const token_id one = 1;
  const auto node = index.insert({}, std::span(&one, 1), block_id(0));
  kv::published_prefixes shown(4);
  shown.add(77); // of a predecessor
  index.show_in(shown);
  BOOST_TEST(shown.contains(node.hash));
  BOOST_TEST(!shown.contains(77));
}

/// Whatever a reader meets, it finds nothing that was never there, and always what stays.
BOOST_AUTO_TEST_CASE(a_reader_beside_the_writer_finds_nothing_that_is_not_there) { // B-1
  kv::published_prefixes shown(64);
  constexpr std::uint64_t strangers = 1000;
  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> looks{0};
  std::uint64_t wrong = 0;
  std::thread reader([&shown, &is_over, &looks, &wrong] {
    for (std::uint64_t value = 0; !is_over; value = (value + 1) % 128) {
      wrong += shown.contains(strangers + value) ? 1U : 0U;
      ++looks;
    }
  });
  std::mt19937_64 random(3);
  std::vector<std::uint64_t> there;
  for (int round = 0; round < 200000 || looks < 1000; ++round) {
    if (there.size() < 64 && random() % 2 == 0) {
      there.push_back(random() % 512 % strangers);
      shown.add(there.back());
    } else if (!there.empty()) {
      std::swap(there[random() % there.size()], there.back());
      shown.remove(there.back());
      there.pop_back();
    }
  }
  is_over = true;
  reader.join();
  BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
