#include "transport/vault/memory_vault.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

using namespace vdist;
using namespace vdist::vault;

BOOST_AUTO_TEST_SUITE(memory_vault_suite)

namespace {

constexpr region_key weights_of_0{rank_id(0), region_kind::weights, 0};
constexpr region_key cache_of_0{rank_id(0), region_kind::kv_cache, 0};

} // namespace

BOOST_AUTO_TEST_CASE(keeps_address_and_contents_for_the_next_incarnation) { // V-1, V-2
  memory_vault held;
  constexpr std::size_t bytes = 3'000'000;
  const auto first = held.map(weights_of_0, bytes);
  BOOST_REQUIRE(first);
  BOOST_TEST(first->is_new);
  BOOST_TEST(first->memory.size() == bytes);
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(first->memory.data()) % region_alignment == 0U);
  BOOST_TEST(std::all_of(
      first->memory.begin(), first->memory.end(), [](std::byte b) { return b == std::byte{0}; }));
  first->memory.front() = std::byte{1};
  first->memory.back() = std::byte{2};
  const auto second = held.map(weights_of_0, bytes);
  BOOST_REQUIRE(second);
  BOOST_TEST(!second->is_new);
  BOOST_CHECK(second->memory.data() == first->memory.data());
  BOOST_CHECK(second->memory.front() == std::byte{1});
  BOOST_CHECK(second->memory.back() == std::byte{2});
}

BOOST_AUTO_TEST_CASE(tells_complete_contents_from_half_written_ones) { // V-3
  memory_vault held;
  BOOST_TEST(!held.ready_hash(weights_of_0).has_value());
  BOOST_CHECK(held.mark_ready(weights_of_0, 1).error().code == errc::not_found);
  BOOST_REQUIRE(held.map(weights_of_0, 100));
  BOOST_TEST(!held.map(weights_of_0, 100)->ready_hash.has_value());
  BOOST_REQUIRE(held.mark_ready(weights_of_0, 0xabc));
  BOOST_TEST(held.map(weights_of_0, 100)->ready_hash.value() == 0xabcU);
  BOOST_REQUIRE(held.release(weights_of_0));
  BOOST_TEST(!held.ready_hash(weights_of_0).has_value());
  const auto again = held.map(weights_of_0, 100);
  BOOST_TEST(again->is_new);
  BOOST_TEST(!again->ready_hash.has_value());
}

BOOST_AUTO_TEST_CASE(says_how_much_is_missing) {
  memory_vault held(3 * 4096);
  BOOST_REQUIRE(held.map(weights_of_0, 4097)); // two pages
  BOOST_TEST(held.total_bytes() == 8192U);
  const auto refused = held.map(cache_of_0, 10000);
  BOOST_REQUIRE(!refused);
  BOOST_CHECK(refused.error().code == errc::resource_exhausted);
  BOOST_TEST(refused.error().context
             == "vault: the limit is reached (kind=kv_cache rank=0 index=0 bytes=12288 "
                "missing=8192 held=8192 limit=12288)");
  BOOST_REQUIRE(held.release(weights_of_0));
  BOOST_TEST(held.total_bytes() == 0U);
  BOOST_TEST(held.map(cache_of_0, 10000).has_value());
}

BOOST_AUTO_TEST_CASE(refuses_another_size_and_no_size) {
  memory_vault held;
  BOOST_CHECK(held.map(weights_of_0, 0).error().code == errc::invalid_argument);
  BOOST_REQUIRE(held.map(weights_of_0, 100));
  BOOST_CHECK(held.map(weights_of_0, 101).error().code == errc::invalid_argument);
  BOOST_CHECK(held.release(cache_of_0).error().code == errc::not_found);
}

BOOST_AUTO_TEST_CASE(reserves_far_more_than_it_touches) {
  memory_vault held;
  constexpr std::size_t bytes = std::size_t{64} << 30U;
  const auto large = held.map(cache_of_0, bytes);
  BOOST_REQUIRE(large);
  large->memory.back() = std::byte{1};
  BOOST_TEST(held.total_bytes() == bytes);
}

BOOST_AUTO_TEST_CASE(serves_many_threads) {
  memory_vault held;
  std::atomic<int> made{0};
  std::array<std::thread, 4> threads;
  for (auto& thread : threads) {
    thread = std::thread([&held, &made] {
      for (std::uint32_t i = 0; i < 200; ++i) {
        const auto mapped = held.map({rank_id(1), region_kind::exchange, i}, 5000);
        made += mapped && mapped->is_new ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(made == 200);
  BOOST_TEST(held.total_bytes() == 200U * 8192);
}

BOOST_AUTO_TEST_SUITE_END()
