// Random operations on both forms at once: the one in plain memory is the oracle.
#include "tests/runtime/ledger/ledger_driver.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"

#include "runtime/ledger/ledger_reader.hpp"

#include <unordered_map>

using namespace vdist;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(ledger_random_suite)

namespace {

/// Small enough that requests, tokens and finished ones all meet their bounds.
constexpr ledger::ledger_limits tight{.requests_max = 12, .tokens_max = 1500, .finished_max = 6};

void check_reader(const shared_memory& memory, ledger::ledger& journal) {
  const auto reader = ledger::ledger_reader::open(memory.read_only());
  BOOST_REQUIRE(reader.has_value());
  const auto stats = reader->stats();
  BOOST_REQUIRE(stats.has_value());
  BOOST_TEST(stats->tokens_reserved == journal.stats().tokens_reserved);
  BOOST_TEST(stats->tokens_committed == journal.stats().tokens_committed);
  const auto seen = reader->list(1000);
  const auto expected = journal.list(1000);
  BOOST_REQUIRE(seen.has_value());
  BOOST_REQUIRE(seen->size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto from = expected[i].committed / 2;
    BOOST_TEST((*seen)[i].id.value == expected[i].id.value);
    BOOST_TEST((*seen)[i].committed == expected[i].committed);
    BOOST_TEST((*reader->tokens(expected[i].id, from) == *journal.tokens(expected[i].id, from)));
    BOOST_TEST((*seen)[i].strikes == expected[i].strikes);
    BOOST_TEST((*seen)[i].client_key == expected[i].client_key);
    BOOST_TEST((*seen)[i].body_hash == expected[i].body_hash);
    BOOST_TEST(dump(*reader->replay(expected[i].id, from))
               == dump(*journal.replay(expected[i].id, from)));
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(both_forms_answer_the_same_to_everything) { // L-1, L-2, I3
  constexpr int operations = 6000;
  int refusals = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    memory_form oracle(tight);
    shared_form shared(tight);
    ledger_driver expected(seed, *oracle);
    ledger_driver tested(seed, *shared);
    for (int n = 1; n <= operations; ++n) {
      const auto wanted = expected.step();
      BOOST_REQUIRE_EQUAL(tested.step(), wanted);
      if (n % 64 == 0) {
        BOOST_REQUIRE_EQUAL(dump(*shared), dump(*oracle));
        check_reader(shared.memory(), *shared);
      }
      if (n % 192 == 0) { // what a successor finds is the same
        shared.reopen();
        tested.retarget(*shared);
        BOOST_REQUIRE_EQUAL(dump(*shared), dump(*oracle));
      }
      if (n % 1000 == 0) {
        BOOST_REQUIRE(tested.drain() && expected.drain());
      }
    }
    refusals += tested.refusals();
  }
  BOOST_TEST(refusals > 1000); // full, and later not
}

BOOST_AUTO_TEST_CASE(nothing_kept_is_a_bound_too) {
  constexpr ledger::ledger_limits none{.requests_max = 3, .tokens_max = 500, .finished_max = 0};
  memory_form oracle(none);
  shared_form shared(none);
  ledger_driver expected(7, *oracle);
  ledger_driver tested(7, *shared);
  for (int n = 0; n < 2000; ++n) {
    const auto wanted = expected.step();
    BOOST_REQUIRE_EQUAL(tested.step(), wanted);
    BOOST_REQUIRE_EQUAL(dump(*shared), dump(*oracle));
  }
}

BOOST_AUTO_TEST_CASE(the_index_finds_what_is_there_and_nothing_else) {
  constexpr std::size_t capacity = 60;
  ledger::request_index index(capacity);
  std::unordered_map<std::uint64_t, std::uint32_t> expected;
  std::mt19937_64 random(3);
  for (std::uint32_t n = 0; n < 20000; ++n) {
    const auto id = random() % 100; // neighbours, so that runs of cells form and break
    const bool is_there = expected.contains(id);
    BOOST_REQUIRE(index.find(request_id(id))
                  == (is_there ? expected[id] : ledger::request_index::none));
    if (is_there) {
      index.erase(request_id(id));
      expected.erase(id);
    } else if (expected.size() < capacity) {
      index.insert(request_id(id), n);
      expected[id] = n;
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
