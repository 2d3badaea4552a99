#include "transport/vault/address_window.hpp"

#include <boost/test/unit_test.hpp>

#include <optional>
#include <random>
#include <utility>
#include <vector>

using namespace vdist::vault;

namespace {

constexpr std::uint64_t granule = 1U << 12U;
constexpr std::uint64_t base = 64 * granule;
constexpr std::uint64_t granules = 50;

struct taken_range {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

/// The oracle: one flag per granule.
class naive_window {
public:
  [[nodiscard]] bool has_room(std::uint64_t length) const { return longest() >= length; }

  [[nodiscard]] std::uint64_t longest() const {
    std::uint64_t best = 0;
    std::uint64_t run = 0;
    for (const bool is_taken : taken_) {
      run = is_taken ? 0 : run + 1;
      best = std::max(best, run);
    }
    return best;
  }

  void mark(std::uint64_t first, std::uint64_t count, bool is_taken) {
    for (auto i = first; i < first + count; ++i) {
      BOOST_REQUIRE(taken_.at(i) != is_taken); // W-1
      taken_[i] = is_taken;
    }
  }

private:
  std::vector<bool> taken_ = std::vector<bool>(granules);
};

std::uint64_t in_granules(std::uint64_t bytes) {
  return (bytes + granule - 1) / granule;
}

} // namespace

BOOST_AUTO_TEST_SUITE(address_window_suite)

BOOST_AUTO_TEST_CASE(agrees_with_a_bitmap) { // W-1, W-3
  address_window window(base, granules * granule, granule);
  naive_window oracle;
  std::vector<taken_range> taken;
  std::mt19937 draw(7);
  for (int i = 0; i < 20'000; ++i) {
    const bool gives = !taken.empty() && draw() % 2 == 0;
    if (gives) {
      const auto place = draw() % taken.size();
      const auto [address, bytes] = taken[place];
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(place));
      window.give(address, bytes);
      oracle.mark((address - base) / granule, in_granules(bytes), false);
    } else {
      const std::uint64_t bytes = 1 + draw() % (12 * granule);
      const auto address = window.take(bytes);
      BOOST_REQUIRE(address.has_value() == oracle.has_room(in_granules(bytes)));
      if (address) {
        BOOST_REQUIRE(*address >= base);
        BOOST_REQUIRE(*address % granule == 0U);
        oracle.mark((*address - base) / granule, in_granules(bytes), true);
        taken.push_back({*address, bytes});
      }
    }
    BOOST_REQUIRE(window.longest_free() == oracle.longest() * granule);
  }
}

BOOST_AUTO_TEST_CASE(an_address_comes_again_only_after_a_turn_of_the_window) { // W-2
  address_window window(base, granules * granule, granule);
  for (std::uint64_t turn = 0; turn < 3; ++turn) {
    for (std::uint64_t i = 0; i < granules / 5; ++i) {
      const auto address = window.take(5 * granule);
      BOOST_REQUIRE(address.has_value());
      BOOST_TEST(*address == base + i * 5 * granule);
      window.give(*address, 5 * granule);
    }
  }
}

/// One that is made anew from what is taken, again and again, beside one that never is.
BOOST_AUTO_TEST_CASE(a_window_made_of_what_was_taken_goes_on_like_the_first) { // W-2
  address_window first(base, granules * granule, granule);
  std::optional<address_window> made(std::in_place, base, granules * granule, granule);
  std::vector<taken_range> taken;
  std::uint64_t end = 0; // of what was taken last, unrounded
  std::mt19937 draw(9);
  for (int i = 0; i < 5'000; ++i) {
    if (draw() % 8 == 0) {
      made.emplace(base, granules * granule, granule);
      for (const auto& [address, bytes] : taken) {
        BOOST_REQUIRE(made->take_at(address, bytes));
        BOOST_REQUIRE(!made->take_at(address, 1));
      }
      made->search_from(end);
    }
    if (!taken.empty() && draw() % 2 == 0) {
      const auto place = draw() % taken.size();
      const auto [address, bytes] = taken[place];
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(place));
      first.give(address, bytes);
      made->give(address, bytes);
      continue;
    }
    const std::uint64_t bytes = 1 + draw() % (12 * granule);
    const auto address = first.take(bytes);
    BOOST_REQUIRE(made->take(bytes) == address);
    if (address) {
      taken.push_back({*address, bytes});
      end = *address + bytes;
    }
  }
}

BOOST_AUTO_TEST_CASE(takes_nothing_that_is_no_free_range_of_it) { // W-1
  address_window window(base, granules * granule, granule);
  BOOST_TEST(!window.take_at(base, 0));
  BOOST_TEST(!window.take_at(base + 1, 1));
  BOOST_TEST(!window.take_at(base - granule, granule));
  BOOST_TEST(!window.take_at(base + granules * granule, 1));
  BOOST_TEST(!window.take_at(base + (granules - 1) * granule, granule + 1));
  BOOST_TEST(!window.take_at(base, ~std::uint64_t{0}));
  BOOST_TEST(!window.take_at(~std::uint64_t{0} - granule + 1, 2 * granule));
  BOOST_TEST(window.take_at(base + granule, 2 * granule));
  BOOST_TEST(!window.take_at(base + 2 * granule, 1));
  BOOST_TEST(!window.take_at(base, 2 * granule));
  BOOST_TEST(window.take_at(base, granule));
  window.search_from(0);
  window.search_from(~std::uint64_t{0});
  BOOST_TEST(window.take(1).value() == base + 3 * granule);
}

BOOST_AUTO_TEST_CASE(refuses_what_cannot_fit) {
  address_window window(base, granules * granule, granule);
  BOOST_TEST(!window.take(0).has_value());
  BOOST_TEST(!window.take(granules * granule + 1).has_value());
  BOOST_TEST(!window.take(~std::uint64_t{0}).has_value());
  BOOST_TEST(window.take(granules * granule).value() == base);
  BOOST_TEST(!window.take(1).has_value());
  window.give(base, granules * granule);
  BOOST_TEST(window.take(1).value() == base);
}

BOOST_AUTO_TEST_SUITE_END()
