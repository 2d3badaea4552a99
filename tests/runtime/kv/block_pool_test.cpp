#include "runtime/kv/block_pool.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace vdist;

namespace {

/// Owners that take, share, publish and give back blocks at random, beside a book of what each
/// block holds and how often it is held.
class pool_world {
public:
  pool_world(std::uint64_t seed, const kv::block_pool_config& config)
      : random_(seed), config_(config), pool_(config) {}

  void step() {
    switch (random_() % 8) {
    case 0:
    case 1:
    case 2:
      open();
      break;
    case 3:
    case 4:
      close();
      break;
    case 5:
      if (random_() % 4 == 0) {
        expose();
      } else if (random_() % 16 == 0) {
        pool_.lift();
        exposed_.clear();
      } else if (random_() % 40 == 0) {
        pool_.forget_content();
        content_.clear();
        for (auto& owner : owners_) {
          owner.published = 0;
          owner.node = {};
        }
      }
      break;
    default:
      publish();
      break;
    }
    check();
  }

  [[nodiscard]] std::uint64_t hits() const { return hits_; }

  [[nodiscard]] std::uint64_t evictions() const { return pool_.evictions(); }

private:
  struct owner {
    std::vector<token_id> tokens;
    std::vector<block_id> blocks;
    std::size_t published = 0;
    kv::prefix_node node;
  };

  std::vector<token_id> prefix_of(const owner& who, std::size_t blocks) const {
    const auto end = blocks * static_cast<std::size_t>(config_.block_size);
    return {who.tokens.begin(), who.tokens.begin() + static_cast<std::ptrdiff_t>(end)};
  }

  void open() {
    const auto blocks = static_cast<std::int32_t>(1 + random_() % 5);
    owner fresh;
    for (std::int32_t i = 0; i < blocks * config_.block_size; ++i) {
      fresh.tokens.push_back(static_cast<token_id>(random_() % 8 == 0));
    }
    std::vector<block_id> hits;
    fresh.node = pool_.match(fresh.tokens, blocks, hits);
    fresh.published = hits.size();
    for (std::size_t i = 0; i < hits.size(); ++i) {
      BOOST_REQUIRE(content_.at(hits[i]) == prefix_of(fresh, i + 1)); // never other tokens
    }
    const auto count = blocks - static_cast<std::int32_t>(hits.size());
    const bool fits = pool_.can_reserve(count, hits);
    const auto kept = std::count_if(hits.begin(), hits.end(), [this](block_id b) {
      return held_[b] == 0 && !exposed_.contains(b);
    });
    BOOST_REQUIRE(fits == (count + kept <= usable()));
    if (!fits) {
      return;
    }
    hits_ += hits.size();
    pool_.retain(hits);
    fresh.blocks = hits;
    pool_.reserve(count, fresh.blocks);
    for (std::size_t i = 0; i < fresh.blocks.size(); ++i) {
      if (i >= hits.size()) {
        BOOST_REQUIRE(held_[fresh.blocks[i]] == 0);         // K-1
        BOOST_REQUIRE(!exposed_.contains(fresh.blocks[i])); // K-5
        content_.erase(fresh.blocks[i]);
      }
      ++held_[fresh.blocks[i]];
    }
    owners_.push_back(std::move(fresh));
  }

  void close() {
    if (owners_.empty()) {
      return;
    }
    const auto index = random_() % owners_.size();
    for (const auto block : owners_[index].blocks) {
      --held_[block];
    }
    pool_.release(owners_[index].blocks);
    owners_.erase(owners_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void expose() {
    if (!owners_.empty()) {
      const auto& blocks = owners_[random_() % owners_.size()].blocks;
      pool_.expose(blocks);
      exposed_.insert(blocks.begin(), blocks.end());
    }
  }

  [[nodiscard]] std::int32_t usable() {
    std::int32_t usable = 0;
    for (std::int32_t b = 0; b < config_.blocks; ++b) {
      usable += held_[block_id(b)] == 0 && !exposed_.contains(block_id(b)) ? 1 : 0;
    }
    return usable;
  }

  void publish() {
    if (owners_.empty()) {
      return;
    }
    auto& who = owners_[random_() % owners_.size()];
    if (who.published == who.blocks.size() || who.published < shared_of(who)) {
      return;
    }
    const auto size = static_cast<std::size_t>(config_.block_size);
    const auto block = who.blocks[who.published];
    who.node =
        pool_.publish(who.node, std::span(who.tokens).subspan(who.published * size, size), block);
    ++who.published;
    content_[block] = prefix_of(who, who.published);
  }

  /// After forget_content() a block may be held by two: both would publish it, which no scheduler
  /// does.
  std::size_t shared_of(const owner& who) {
    std::size_t shared = 0;
    for (std::size_t i = 0; i < who.blocks.size(); ++i) {
      if (held_[who.blocks[i]] > 1) {
        shared = i + 1;
      }
    }
    return shared;
  }

  void check() {
    const auto outcome = pool_.check_integrity();
    const auto text = outcome ? std::string() : outcome.error().context;
    BOOST_REQUIRE_MESSAGE(outcome.has_value(), text);
    std::int32_t owned = 0;
    for (std::int32_t b = 0; b < config_.blocks; ++b) {
      BOOST_REQUIRE(pool_.refs(block_id(b)) == held_[block_id(b)]); // K-2
      owned += held_[block_id(b)] > 0 ? 1 : 0;
    }
    BOOST_REQUIRE(pool_.owned_count() == owned);
    BOOST_REQUIRE(pool_.available_count() == usable());
    BOOST_REQUIRE(pool_.held_count() == config_.blocks - owned - usable());
  }

  std::mt19937_64 random_;
  kv::block_pool_config config_;
  kv::block_pool pool_;
  std::vector<owner> owners_;
  std::map<block_id, std::int32_t> held_;
  std::set<block_id> exposed_;
  std::map<block_id, std::vector<token_id>> content_; // of published blocks, with all before them
  std::uint64_t hits_ = 0;
};

} // namespace

BOOST_AUTO_TEST_CASE(random_owners_never_share_what_they_must_not) { // K-1, K-2, K-4, K-5
  std::uint64_t hits = 0;
  std::uint64_t evictions = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    pool_world world(seed,
                     {.blocks = static_cast<std::int32_t>(5 + seed % 20),
                      .block_size = static_cast<std::int32_t>(1 + seed % 3)});
    for (int i = 0; i < 600; ++i) {
      world.step();
    }
    hits += world.hits();
    evictions += world.evictions();
  }
  BOOST_TEST(hits > 500U);
  BOOST_TEST(evictions > 500U);
}

BOOST_AUTO_TEST_CASE(planning_changes_nothing) {
  kv::block_pool pool({.blocks = 4, .block_size = 2});
  BOOST_TEST(pool.can_reserve(4));
  BOOST_TEST(!pool.can_reserve(5));
  BOOST_TEST(pool.free_count() == 4);
}

BOOST_AUTO_TEST_CASE(free_blocks_go_before_cached_ones_and_tails_before_heads) {
  kv::block_pool pool({.blocks = 4, .block_size = 1});
  const std::vector<token_id> tokens{1, 2, 3};
  std::vector<block_id> owned;
  pool.reserve(3, owned);
  kv::prefix_node node;
  for (std::size_t i = 0; i < 3; ++i) {
    node = pool.publish(node, std::span(tokens).subspan(i, 1), owned[i]);
  }
  pool.release(owned);
  BOOST_TEST(pool.cached_count() == 3);
  std::vector<block_id> taken;
  std::vector<block_id> hits;
  pool.reserve(1, taken);
  pool.match(tokens, 3, hits);
  BOOST_TEST(hits.size() == 3U); // the free block went first
  pool.reserve(1, taken);
  pool.match(tokens, 3, hits);
  BOOST_TEST(hits.size() == 2U); // then the tail
  BOOST_TEST((taken.back() == owned.back()));
}

BOOST_AUTO_TEST_CASE(an_exposed_block_is_handed_out_when_it_is_lifted) { // K-5
  kv::block_pool pool({.blocks = 3, .block_size = 1});
  const std::vector<token_id> tokens{1};
  std::vector<block_id> owned;
  pool.reserve(2, owned);
  pool.publish({}, tokens, owned[0]);
  pool.expose(owned);
  pool.release(owned);
  BOOST_TEST(pool.free_count() == 2);
  BOOST_TEST(pool.cached_count() == 1);
  BOOST_TEST(pool.available_count() == 1);
  BOOST_TEST(pool.held_count() == 2);
  std::vector<block_id> hits;
  pool.match(tokens, 1, hits);
  BOOST_TEST(hits.size() == 1U, "it is still read");
  pool.retain(hits);
  BOOST_TEST(pool.can_reserve(1));
  BOOST_TEST(!pool.can_reserve(2));
  pool.release(hits);
  BOOST_TEST(pool.held_count() == 2);
  pool.lift();
  BOOST_TEST(pool.can_reserve(3));
  std::vector<block_id> taken;
  pool.reserve(3, taken);
  BOOST_TEST(pool.check_integrity().has_value());
}

BOOST_AUTO_TEST_CASE(eviction_passes_over_what_is_exposed) { // K-5
  kv::block_pool pool({.blocks = 2, .block_size = 1});
  const std::vector<token_id> tokens{1, 2};
  std::vector<block_id> owned;
  pool.reserve(2, owned);
  pool.publish({}, std::span(tokens).first(1), owned[0]);
  pool.publish({}, std::span(tokens).subspan(1), owned[1]);
  pool.expose(std::span(owned).subspan(1));
  pool.release(owned); // the exposed one is the oldest
  std::vector<block_id> taken;
  pool.reserve(1, taken);
  BOOST_TEST((taken.front() == owned[0]));
  BOOST_TEST(!pool.can_reserve(1));
  pool.forget_content();
  BOOST_TEST(!pool.can_reserve(1));
  BOOST_TEST(pool.check_integrity().has_value());
  pool.lift();
  BOOST_TEST(pool.can_reserve(1));
}

BOOST_AUTO_TEST_CASE(a_match_is_capped) {
  kv::block_pool pool({.blocks = 4, .block_size = 1});
  const std::vector<token_id> tokens{1, 2};
  std::vector<block_id> owned;
  pool.reserve(2, owned);
  pool.publish(pool.publish({}, std::span(tokens).first(1), owned[0]),
               std::span(tokens).subspan(1),
               owned[1]);
  std::vector<block_id> hits;
  pool.match(tokens, 1, hits);
  BOOST_TEST(hits.size() == 1U);
  pool.match(tokens, 0, hits);
  BOOST_TEST(hits.empty());
}

BOOST_AUTO_TEST_CASE(without_a_prefix_cache_nothing_is_kept) {
  kv::block_pool pool({.blocks = 2, .block_size = 1, .prefix_cache = false});
  const std::vector<token_id> tokens{1};
  std::vector<block_id> owned;
  pool.reserve(1, owned);
  pool.publish({}, tokens, owned[0]);
  pool.release(owned);
  std::vector<block_id> hits;
  pool.match(tokens, 1, hits);
  BOOST_TEST(hits.empty());
  BOOST_TEST(pool.free_count() == 2);
}

BOOST_AUTO_TEST_CASE(lost_content_is_forgotten_and_owned_blocks_stay) {
  kv::block_pool pool({.blocks = 3, .block_size = 1});
  const std::vector<token_id> tokens{1, 2};
  std::vector<block_id> owned;
  pool.reserve(2, owned);
  const auto node = pool.publish({}, std::span(tokens).first(1), owned[0]);
  pool.publish(node, std::span(tokens).subspan(1), owned[1]);
  pool.release(std::span(owned).subspan(1));
  BOOST_TEST(pool.cached_count() == 1);
  pool.forget_content();
  BOOST_TEST(pool.cached_count() == 0);
  BOOST_TEST(pool.owned_count() == 1);
  std::vector<block_id> hits;
  pool.match(tokens, 2, hits);
  BOOST_TEST(hits.empty());
  pool.release(std::span(owned).first(1));
  BOOST_TEST(pool.free_count() == 3);
  BOOST_TEST(pool.check_integrity().has_value());
}
