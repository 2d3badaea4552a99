// Which replica runs a request: the formula, its bound, and counts that stay exact whatever happens.
#include "runtime/sched/replica_choice.hpp"

#include "runtime/kv/prefix_index.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <numeric>
#include <random>

using namespace vdist;
using namespace vdist::sched;

namespace {

constexpr std::int32_t block_size = 16;

struct choice_world {
  explicit choice_world(std::int32_t replicas,
                        bool weighs_prefix = true,
                        std::int32_t blocks = 4096)
      : standings(static_cast<std::size_t>(replicas), standing::usable) {
    std::vector<const replica_view*> seen;
    for (std::int32_t i = 0; i < replicas; ++i) {
      seen.push_back(&views.emplace_back(blocks));
    }
    choice.emplace(replica_choice_config{.replicas = replicas,
                                         .block_size = block_size,
                                         .weighs_prefix = weighs_prefix},
                   seen);
  }

  /// The replica has computed this prompt: its full blocks are published.
  void publish(std::size_t replica, const std::vector<token_id>& prompt) {
    std::vector<std::uint64_t> chain;
    kv::chain_of(prompt, block_size, 1 << 20, 0, chain);
    for (const auto hash : chain) {
      if (!views[replica].prefixes.contains(hash)) {
        views[replica].prefixes.add(hash);
      }
    }
  }

  std::int32_t choose(const std::vector<token_id>& prompt) {
    return choice->choose(prompt, standings).value().replica;
  }

  std::deque<replica_view> views;
  std::vector<standing> standings;
  std::optional<replica_choice> choice;
};

std::vector<token_id> prompt_of(std::size_t tokens, token_id first = 0) {
  std::vector<token_id> made(tokens);
  std::iota(made.begin(), made.end(), first);
  return made;
}

} // namespace

BOOST_AUTO_TEST_SUITE(replica_choice_rules)

BOOST_AUTO_TEST_CASE(takes_the_least_work_and_the_lowest_of_equals) { // B-1
  choice_world world(3);
  const auto prompt = prompt_of(100);
  BOOST_TEST(world.choose(prompt) == 0);
  world.choice->give(0, 100);
  BOOST_TEST(world.choose(prompt) == 1);
  world.choice->give(1, 4000);
  world.choice->give(2, 50);
  BOOST_TEST(world.choose(prompt) == 2, "one each: the tokens to compute decide");
  world.choice->give(2, 50);
  BOOST_TEST(world.choose(prompt) == 0);
  world.choice->begin(1, 4000);
  BOOST_TEST(world.choose(prompt) == 1, "it decodes and has no prompt to compute");
  world.choice->take(1, 0);
  BOOST_TEST(world.choose(prompt) == 1);
}

BOOST_AUTO_TEST_CASE(uses_nobody_who_is_absent_and_who_drains_only_for_want_of_others) { // B-1
  choice_world world(3);
  const auto prompt = prompt_of(10);
  world.standings = {standing::draining, standing::usable, standing::absent};
  for (int i = 0; i < 50; ++i) {
    BOOST_REQUIRE_EQUAL(world.choose(prompt), 1);
    world.choice->give(1, 10);
  }
  world.standings = {standing::draining, standing::absent, standing::absent};
  BOOST_TEST(world.choose(prompt) == 0);
  world.standings.assign(3, standing::absent);
  BOOST_TEST(!world.choice->choose(prompt, world.standings).has_value());
}

BOOST_AUTO_TEST_CASE(knows_how_much_of_a_prompt_each_replica_holds) { // B-2
  choice_world world(2);
  const auto prompt = prompt_of(100);
  BOOST_TEST(world.choice->held(1, prompt) == 0);
  world.publish(1, prompt_of(50));
  BOOST_TEST(world.choice->held(1, prompt) == 48, "three blocks of 16");
  BOOST_TEST(world.choice->held(0, prompt) == 0);
  BOOST_TEST(world.choice->held(1, prompt_of(49)) == 48);
  BOOST_TEST(world.choice->held(1, prompt_of(48)) == 32, "at least one token is computed");
  BOOST_TEST(world.choice->held(1, prompt_of(100, 1)) == 0);
  const auto chosen = world.choice->choose(prompt, world.standings).value();
  BOOST_TEST(chosen.replica == 1);
  BOOST_TEST(chosen.prefill == 52);
  choice_world blind(2, false);
  blind.publish(1, prompt);
  BOOST_TEST(blind.choose(prompt) == 0);
  BOOST_TEST(blind.choice->held(1, prompt) == 0);
}

BOOST_AUTO_TEST_CASE(a_prefix_is_worth_the_tokens_that_it_saves) {
  choice_world world(2);
  const auto prompt = prompt_of(3 * sequence_tokens + 1);
  world.publish(1, prompt);
  for (int i = 0; i < 3; ++i) {
    world.choice->give(1, 0);
  }
  BOOST_TEST(world.choose(prompt) == 0, "equal costs: the lowest index");
  world.choice->take(1, 0);
  BOOST_TEST(world.choose(prompt) == 1);
}

BOOST_AUTO_TEST_CASE(avoids_a_replica_that_has_no_room) {
  choice_world world(2);
  const auto prompt = prompt_of(320);
  world.publish(0, prompt_of(32));
  BOOST_TEST(world.choose(prompt) == 0);
  world.views[0].blocks_available = 10; // of 18 that it needs
  BOOST_TEST(world.choose(prompt) == 1);
  world.views[1].blocks_available = 0;
  BOOST_TEST(world.choose(prompt) == 0, "both lack some, the other one more");
  world.views[0].blocks_available = 100;
  world.views[1].blocks_available = 200;
  world.choice->give(0, 1500); // what was given before takes its blocks first
  world.choice->give(1, 1540);
  BOOST_TEST(world.choose(prompt_of(320, 7)) == 1);
}

/// Everybody has the same long prefix, and it is on one replica only.
BOOST_AUTO_TEST_CASE(a_prefix_that_all_share_fills_no_replica) { // B-3
  for (const std::int32_t replicas : {2, 3, 8}) {
    choice_world world(replicas);
    const auto prompt = prompt_of(20000);
    world.publish(1, prompt);
    for (int i = 0; i < 500; ++i) {
      const auto& active = world.choice->sequences();
      const auto [fewest, most] = std::minmax_element(active.begin(), active.end());
      BOOST_REQUIRE_LE(
          *most, static_cast<std::uint64_t>(imbalance_of(static_cast<std::int64_t>(*fewest))));
      const auto chosen = world.choice->choose(prompt, world.standings).value();
      world.choice->give(chosen.replica, chosen.prefill);
      world.choice->begin(chosen.replica, chosen.prefill);
      // What a replica has computed it holds, too; here only the first one ever does.
    }
    BOOST_TEST(world.choice->sequences()[1] > 500U / static_cast<unsigned>(replicas));
    BOOST_TEST(*std::ranges::min_element(world.choice->sequences()) > 0U);
  }
}

BOOST_AUTO_TEST_CASE(without_prefixes_equal_requests_are_dealt_evenly) {
  choice_world world(4);
  for (int i = 0; i < 400; ++i) {
    const auto prompt = prompt_of(64, static_cast<token_id>(i * 100));
    const auto chosen = world.choice->choose(prompt, world.standings).value();
    BOOST_REQUIRE_EQUAL(chosen.replica, i % 4);
    world.choice->give(chosen.replica, chosen.prefill);
  }
}

/// Random requests, ends, moves, losses: the sums are those of a book that is kept beside, no choice falls on whom it must
/// not, no more work than one request lies between the chosen one and the least loaded, and all of it twice is the same twice.
BOOST_AUTO_TEST_CASE(counts_stay_exact_and_choices_the_same_in_any_interleaving) { // B-1, B-2
  constexpr std::int32_t replicas = 4;

  struct entry {
    std::int32_t replica = 0;
    std::int64_t prefill = 0;
  };

  const auto play = [](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    choice_world world(replicas);
    std::vector<entry> book;
    std::vector<std::int32_t> chosen_ones;
    for (int round = 0; round < 1500; ++round) {
      const auto dice = random() % 10;
      if (dice < 5 || book.empty()) {
        const auto prompt = prompt_of(1 + random() % 400, static_cast<token_id>(random() % 3));
        for (auto& one : world.standings) {
          one = static_cast<standing>(random() % 8 == 0 ? 0 : random() % 8 == 0 ? 1 : 2);
        }
        const auto best = *std::ranges::max_element(world.standings);
        const auto chosen = world.choice->choose(prompt, world.standings);
        BOOST_REQUIRE_EQUAL(chosen.has_value(), best != standing::absent);
        if (!chosen) {
          continue;
        }
        const auto at = static_cast<std::size_t>(chosen->replica);
        BOOST_REQUIRE((world.standings[at] == best));
        BOOST_REQUIRE_EQUAL(chosen->prefill,
                            static_cast<std::int64_t>(prompt.size())
                                - world.choice->held(chosen->replica, prompt));
        const auto work = [&world](std::size_t replica) {
          return world.choice->prefill()[replica]
                 + sequence_tokens * static_cast<std::int64_t>(world.choice->sequences()[replica]);
        };
        for (std::size_t replica = 0; replica < replicas; ++replica) {
          if (world.standings[replica] == best) {
            BOOST_REQUIRE_LE(work(at), work(replica) + static_cast<std::int64_t>(prompt.size()));
          }
        }
        world.choice->give(chosen->replica, chosen->prefill);
        book.push_back({chosen->replica, chosen->prefill});
        chosen_ones.push_back(chosen->replica);
      } else {
        std::swap(book[random() % book.size()], book.back());
        auto& one = book.back();
        if (dice < 7) {
          world.choice->begin(one.replica, std::exchange(one.prefill, 0));
          world.publish(static_cast<std::size_t>(one.replica),
                        prompt_of(random() % 400, static_cast<token_id>(random() % 3)));
        } else if (dice < 9) {
          world.choice->take(one.replica, one.prefill);
          book.pop_back();
        } else { // to another one
          world.choice->take(one.replica, one.prefill);
          one = {static_cast<std::int32_t>(random() % replicas), one.prefill + 7};
          world.choice->give(one.replica, one.prefill);
        }
      }
      std::vector<std::uint64_t> sequences(replicas);
      std::vector<std::int64_t> prefill(replicas);
      for (const auto& one : book) {
        ++sequences[static_cast<std::size_t>(one.replica)];
        prefill[static_cast<std::size_t>(one.replica)] += one.prefill;
      }
      BOOST_REQUIRE((world.choice->sequences() == sequences));
      BOOST_REQUIRE((world.choice->prefill() == prefill));
    }
    return chosen_ones;
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    BOOST_REQUIRE((play(seed) == play(seed)));
  }
}

BOOST_AUTO_TEST_CASE(a_choice_for_a_long_prompt_takes_microseconds) {
  choice_world world(8);
  const auto prompt = prompt_of(2048);
  for (std::size_t replica = 0; replica < 8; ++replica) {
    world.publish(replica, prompt); // the dearest case: all blocks are looked up everywhere
  }
  using clock = std::chrono::steady_clock;
  auto best = clock::duration::max();
  for (int i = 0; i < 50; ++i) {
    constexpr int calls = 20;
    const auto begun = clock::now();
    for (int call = 0; call < calls; ++call) {
      BOOST_REQUIRE(world.choice->choose(prompt, world.standings).has_value());
    }
    best = std::min(best, (clock::now() - begun) / calls);
  }
  const auto us = std::chrono::duration<double, std::micro>(best).count();
  BOOST_TEST_MESSAGE("a choice among 8 replicas that hold all of 2048 tokens: " << us << " us");
  BOOST_TEST(us < 100, "ten times the budget of a quiet machine: " << us << " us");
}

BOOST_AUTO_TEST_SUITE_END()
