// tests/transport/vault/vault_conformance.hpp — what every vault must do, whatever its memory is:
// the rules V-1 to V-3 of transport/vault/vault.hpp as tests. A vault's own test file says how to
// make one (vault_factory) and VDIST_VAULT_CONFORMANCE(suite name, factory).
#pragma once

#include "transport/vault/vault.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace vdist::testing {

struct vault_factory {
  /// A vault with this limit (0: none), and whatever must live as long.
  std::function<std::shared_ptr<vault::vault>(std::size_t limit_bytes)> make;
  std::size_t page_bytes = 4096; // its memory comes in multiples of it

  std::shared_ptr<vault::vault> operator()(std::size_t limit_bytes) const {
    return make(limit_bytes);
  }
};

inline constexpr vault::region_key weights_of_0{rank_id(0), vault::region_kind::weights, 0};
inline constexpr vault::region_key cache_of_0{rank_id(0), vault::region_kind::kv_cache, 0};

inline bool is_zero(std::span<const std::byte> memory) {
  return std::all_of(memory.begin(), memory.end(), [](std::byte b) { return b == std::byte{0}; });
}

inline void keeps_address_and_contents(const vault_factory& make) { // V-1, V-2
  const auto held = make(0);
  constexpr std::size_t bytes = 3'000'000;
  const auto first = held->map(weights_of_0, bytes);
  BOOST_REQUIRE(first);
  BOOST_TEST(first->is_new);
  BOOST_TEST(first->memory.size() == bytes);
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(first->memory.data()) % vault::region_alignment
             == 0U);
  BOOST_TEST(is_zero(first->memory));
  first->memory.front() = std::byte{1};
  first->memory.back() = std::byte{2};
  const auto second = held->map(weights_of_0, bytes);
  BOOST_REQUIRE(second);
  BOOST_TEST(!second->is_new);
  BOOST_TEST((second->memory.data() == first->memory.data()));
  BOOST_TEST((second->memory.front() == std::byte{1}));
  BOOST_TEST((second->memory.back() == std::byte{2}));
}

inline void tells_complete_contents_from_half_written_ones(const vault_factory& make) { // V-3
  const auto held = make(0);
  BOOST_TEST(!held->ready_hash(weights_of_0).has_value());
  const auto unknown = held->mark_ready(weights_of_0, 1);
  BOOST_REQUIRE(!unknown);
  BOOST_CHECK(unknown.error().code == errc::not_found);
  BOOST_TEST(unknown.error().context
             == "vault: no such region to mark ready (kind=weights rank=0 index=0)");
  BOOST_REQUIRE(held->map(weights_of_0, 100));
  BOOST_TEST(!held->map(weights_of_0, 100)->ready_hash.has_value());
  BOOST_REQUIRE(held->mark_ready(weights_of_0, 0xabc));
  BOOST_TEST(held->map(weights_of_0, 100)->ready_hash.value() == 0xabcU);
  BOOST_TEST(held->ready_hash(weights_of_0).value() == 0xabcU);
  BOOST_REQUIRE(held->mark_ready(weights_of_0, 0)); // 0 is a hash like any other
  BOOST_TEST(held->map(weights_of_0, 100)->ready_hash.value() == 0U);
  BOOST_REQUIRE(held->release(weights_of_0));
  BOOST_TEST(!held->ready_hash(weights_of_0).has_value());
  const auto again = held->map(weights_of_0, 100);
  BOOST_TEST(again->is_new);
  BOOST_TEST(!again->ready_hash.has_value());
}

inline void says_how_much_is_missing(const vault_factory& make) {
  const auto page = make.page_bytes;
  const auto held = make(3 * page);
  BOOST_TEST(held->limit_bytes() == 3 * page);
  BOOST_REQUIRE(held->map(weights_of_0, page + 1)); // two pages
  BOOST_TEST(held->total_bytes() == 2 * page);
  const auto refused = held->map(cache_of_0, 3 * page - 1);
  BOOST_REQUIRE(!refused);
  BOOST_CHECK(refused.error().code == errc::resource_exhausted);
  BOOST_TEST(refused.error().context
             == fmt::format("vault: the limit is reached (kind=kv_cache rank=0 index=0 bytes={} "
                            "missing={} held={} limit={})",
                            3 * page,
                            2 * page,
                            2 * page,
                            3 * page));
  BOOST_REQUIRE(held->release(weights_of_0));
  BOOST_TEST(held->total_bytes() == 0U);
  const auto fits = held->map(cache_of_0, 3 * page - 1);
  BOOST_REQUIRE(fits); // the refusal left nothing behind
  BOOST_TEST(fits->is_new);
}

inline void refuses_another_size_and_no_size(const vault_factory& make) {
  const auto held = make(0);
  BOOST_CHECK(held->map(weights_of_0, 0).error().code == errc::invalid_argument);
  BOOST_CHECK(held->map(weights_of_0, ~std::size_t{0}).error().code == errc::invalid_argument);
  BOOST_REQUIRE(held->map(weights_of_0, 100));
  BOOST_CHECK(held->map(weights_of_0, 101).error().code == errc::invalid_argument);
  BOOST_CHECK(held->release(cache_of_0).error().code == errc::not_found);
}

inline void reserves_far_more_than_it_touches(const vault_factory& make) {
  const auto held = make(0);
  constexpr std::size_t bytes = std::size_t{64} << 30U;
  const auto large = held->map(cache_of_0, bytes);
  BOOST_REQUIRE(large);
  large->memory.back() = std::byte{1};
  BOOST_TEST(held->total_bytes() == bytes);
}

inline void a_hold_keeps_the_bytes_beyond_release(const vault_factory& make) { // V-1
  constexpr std::size_t bytes = 3'000'000;
  vault::region kept;
  {
    const auto held = make(0);
    kept = held->map(weights_of_0, bytes).value();
    kept.memory.front() = std::byte{1};
    kept.memory.back() = std::byte{2};
    BOOST_REQUIRE(held->release(weights_of_0));
    BOOST_TEST(held->total_bytes() == 0U);
    const auto again = held->map(weights_of_0, bytes);
    BOOST_REQUIRE(again);
    BOOST_TEST(again->is_new);
    BOOST_TEST(is_zero(again->memory)); // V-2: another memory
    BOOST_TEST((again->memory.data() != kept.memory.data()));
    again->memory.front() = std::byte{3};
    BOOST_TEST((kept.memory.front() == std::byte{1}));
  }
  BOOST_TEST((kept.memory.front() == std::byte{1})); // and beyond the vault
  BOOST_TEST((kept.memory.back() == std::byte{2}));
}

inline void keys_that_differ_anywhere_are_different_regions(const vault_factory& make) {
  const auto held = make(0);
  std::vector<vault::region_key> keys;
  for (const std::int32_t rank : {-1, 0, 1}) {
    for (std::uint8_t kind = 0; kind <= static_cast<std::uint8_t>(vault::region_kind_last);
         ++kind) {
      for (const std::uint32_t index : {0U, 1U, ~0U}) {
        keys.push_back({rank_id(rank), static_cast<vault::region_kind>(kind), index});
      }
    }
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto made = held->map(keys[i], 1);
    BOOST_REQUIRE(made);
    BOOST_TEST(made->is_new);
    made->memory[0] = static_cast<std::byte>(i + 1);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    BOOST_TEST((held->map(keys[i], 1)->memory[0] == static_cast<std::byte>(i + 1)));
  }
}

inline void serves_many_threads(const vault_factory& make) { // V-2: new to one of them
  const auto held = make(0);
  std::atomic<int> made{0};
  std::array<std::thread, 4> threads;
  for (auto& thread : threads) {
    thread = std::thread([&held, &made, &make] {
      for (std::uint32_t i = 0; i < 200; ++i) {
        const auto mapped =
            held->map({rank_id(1), vault::region_kind::exchange, i}, make.page_bytes + 1);
        made += mapped && mapped->is_new ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(made == 200);
  BOOST_TEST(held->total_bytes() == 200U * 2 * make.page_bytes);
}

} // namespace vdist::testing

#define VDIST_VAULT_CASE(name, factory)                                                            \
  BOOST_AUTO_TEST_CASE(name) {                                                                     \
    ::vdist::testing::name(::vdist::testing::vault_factory{factory});                              \
  }

#define VDIST_VAULT_CONFORMANCE(suite, factory)                                                    \
  BOOST_AUTO_TEST_SUITE(suite)                                                                     \
  VDIST_VAULT_CASE(keeps_address_and_contents, factory)                                            \
  VDIST_VAULT_CASE(tells_complete_contents_from_half_written_ones, factory)                        \
  VDIST_VAULT_CASE(says_how_much_is_missing, factory)                                              \
  VDIST_VAULT_CASE(refuses_another_size_and_no_size, factory)                                      \
  VDIST_VAULT_CASE(reserves_far_more_than_it_touches, factory)                                     \
  VDIST_VAULT_CASE(a_hold_keeps_the_bytes_beyond_release, factory)                                 \
  VDIST_VAULT_CASE(keys_that_differ_anywhere_are_different_regions, factory)                       \
  VDIST_VAULT_CASE(serves_many_threads, factory)                                                   \
  BOOST_AUTO_TEST_SUITE_END()
