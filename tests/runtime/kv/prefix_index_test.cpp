#include "runtime/kv/prefix_index.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <random>

using namespace vdist;

namespace {

using content = std::vector<token_id>;

/// Random prefixes over two tokens, entered and erased; `known` is what each block really holds,
/// from the first token of the prefix on. Every hit must hold exactly what was asked for.
void run_random(std::uint64_t seed, std::uint64_t hash_mask) {
  constexpr std::int32_t blocks = 24;
  constexpr std::int32_t block_size = 2;
  std::mt19937_64 random(seed);
  kv::prefix_index index(blocks, block_size, seed, hash_mask);
  std::map<std::int32_t, content> known;
  std::size_t hits = 0;
  for (int round = 0; round < 2000; ++round) {
    content tokens;
    for (int i = 0; i < 8; ++i) {
      tokens.push_back(static_cast<token_id>(random() % 2));
    }
    kv::prefix_node node;
    for (std::size_t depth = 1; depth <= 4; ++depth) {
      const content prefix(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(depth * 2));
      const std::span<const token_id> last(prefix.data() + (depth - 1) * 2, 2);
      if (const auto hit = index.find(node, last)) {
        BOOST_REQUIRE(known.at(hit->block.value) == prefix);
        node = hit->node;
        ++hits;
        continue;
      }
      const auto block = static_cast<std::int32_t>(random() % blocks);
      if (known.erase(block) != 0) {
        index.erase(block_id(block)); // may be a parent of this very prefix: it must not matter
      }
      node = index.insert(node, last, block_id(block));
      known[block] = prefix;
    }
    BOOST_REQUIRE(index.size() == static_cast<std::int32_t>(known.size()));
    BOOST_REQUIRE(index.check_integrity().has_value());
  }
  BOOST_TEST(hits > 100U);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_hit_holds_exactly_the_tokens_asked_for) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    run_random(seed, ~std::uint64_t{0});
  }
}

BOOST_AUTO_TEST_CASE(colliding_hashes_never_give_a_wrong_block) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    run_random(seed, 0); // every hash is the same
    run_random(seed, 3);
  }
}

BOOST_AUTO_TEST_CASE(equal_content_is_entered_once) {
  kv::prefix_index index(4, 2, 0);
  const content tokens{5, 6};
  const auto first = index.insert({}, tokens, block_id(0));
  const auto again = index.insert({}, tokens, block_id(1));
  BOOST_TEST(first.serial == again.serial);
  BOOST_TEST(!index.contains(block_id(1)));
  BOOST_TEST(index.find({}, tokens)->block.value == 0);
  BOOST_TEST(index.size() == 1);
}

BOOST_AUTO_TEST_CASE(a_serial_number_is_never_used_again) {
  kv::prefix_index index(4, 2, 0);
  const content head{1, 2};
  const content tail{3, 4};
  const auto old = index.insert({}, head, block_id(0));
  index.insert(old, tail, block_id(1));
  index.erase(block_id(0));
  const auto fresh = index.insert({}, head, block_id(2));
  BOOST_TEST(fresh.serial != old.serial);
  BOOST_TEST(!index.find(fresh, tail).has_value()); // the orphan is out of reach
  index.clear();
  BOOST_TEST(index.insert({}, head, block_id(3)).serial > fresh.serial);
}

BOOST_AUTO_TEST_CASE(hashes_depend_on_content_and_salt_alone) {
  kv::prefix_index one(8, 2, 7);
  kv::prefix_index two(32, 2, 7);
  kv::prefix_index other(8, 2, 8);
  const content head{1, 2};
  const content tail{3, 4};
  two.insert({}, tail, block_id(9)); // another history
  const auto a = one.insert(one.insert({}, head, block_id(0)), tail, block_id(1));
  const auto b = two.insert(two.insert({}, head, block_id(4)), tail, block_id(2));
  const auto c = other.insert(other.insert({}, head, block_id(0)), tail, block_id(1));
  BOOST_TEST(a.hash == b.hash);
  BOOST_TEST(a.hash != c.hash);
}
