// Random workloads by seed, and small worlds exhaustively: whatever happens, the streams are those
// of the direct computation.
#include "tests/runtime/sched/sched_harness.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>
#include <functional>
#include <random>
#include <stdexcept>

using namespace vdist;
using namespace vdist::testing;

namespace {

class dice {
public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}

  std::int32_t between(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }

  bool one_in(std::int32_t n) { return between(1, n) == 1; }

private:
  std::mt19937_64 engine_;
};

sched::scheduler_config random_config(dice& roll) {
  const auto block_size = roll.between(1, 5);
  const auto max_model_len = roll.between(8, 40);
  const auto least = (max_model_len + block_size - 1) / block_size;
  auto config = small_config(
      least + roll.between(0, (roll.one_in(2) ? 3 : 1) * least), block_size, max_model_len);
  config.max_batch_tokens = roll.one_in(3) ? roll.between(1, 4) : roll.between(4, 64);
  config.max_sequences = roll.between(1, 10);
  config.max_prefill_chunk = roll.one_in(3) ? roll.between(1, 8) : 0;
  config.max_steps_in_flight = roll.between(1, 4);
  config.feeds_tokens = roll.one_in(2);
  config.watermark_blocks = roll.one_in(2) ? -1 : roll.between(0, 3);
  config.prefix_cache = !roll.one_in(4);
  config.policy =
      roll.one_in(2) ? sched::admission_policy::fcfs : sched::admission_policy::priority;
  config.promote_every = roll.between(1, 8);
  return config;
}

protocol::request
random_request(dice& roll, std::uint64_t id, const sched::scheduler_config& config) {
  // A few families of prompts share long beginnings.
  const auto length = roll.between(1, config.max_model_len - 1);
  const auto family = roll.between(0, 2);
  const auto fork = roll.between(0, length);
  std::vector<token_id> prompt;
  for (std::int32_t i = 0; i < length; ++i) {
    prompt.push_back(i < fork ? (family * 5 + i * i) % 13 : roll.between(0, 12));
  }
  auto request = make_request(id, std::move(prompt), roll.between(1, 30));
  request.priority = roll.between(-2, 2);
  request.sampling.seed = static_cast<std::uint64_t>(roll.between(0, 2));
  request.sampling.min_tokens = roll.one_in(2) ? 0 : roll.between(1, 6);
  request.eos_ids = {0};
  request.ignore_eos = roll.one_in(2);
  if (roll.one_in(3)) {
    request.stop_token_ids = {roll.between(0, 12)};
  }
  if (roll.one_in(4)) {
    request.logit_bias = {{roll.between(0, 12), 1.5F}, {3, -1.0F}};
  }
  return request;
}

struct random_outcome {
  std::uint64_t steps = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t prefix_hits = 0;
  std::uint64_t promotions = 0;
  std::uint64_t dropped = 0;
  std::uint64_t restored = 0;
  std::uint64_t written_late = 0;
  std::uint64_t saved = 0;
  std::uint64_t loaded = 0;
};

/// Too small for all, or large.
store_shape random_store(dice& roll) {
  return {.slots = roll.one_in(2) ? roll.between(1, 8) : roll.between(8, 200),
          .saves_max = roll.between(1, 6)};
}

random_outcome run_workload(std::uint64_t seed, bool has_store) {
  dice roll(seed);
  dice other(seed);
  const auto config = random_config(roll);
  sched_harness world(config, has_store ? random_store(other) : store_shape{});
  const auto requests = static_cast<std::uint64_t>(roll.between(1, 25));
  const bool has_faults = roll.one_in(2);
  std::uint64_t added = 0;
  while (added < requests || world.open_requests() > 0) {
    require(world.steps() < 20000, "requests do not end");
    if (world.has_late() && roll.one_in(4)) {
      world.hand_over_rest();
    }
    if (world.has_late_writers()) {
      world.write_late(static_cast<std::uint64_t>(roll.between(0, 99)));
      if (roll.one_in(12)) {
        world.writers_go();
      }
    }
    switch (roll.between(0, 19)) {
    case 0:
    case 1:
    case 2:
      if (added < requests) {
        ++added;
        world.add(random_request(roll, added, config));
      }
      break;
    case 3:
      if (added > 0 && roll.one_in(4)) {
        world.cancel(request_id(
            static_cast<std::uint64_t>(roll.between(1, static_cast<std::int32_t>(added)))));
      }
      break;
    case 4:
      if (has_faults && roll.one_in(6)) {
        if (roll.one_in(3)) {
          world.fence();
        } else {
          world.fence_late();
        }
        auto struck = roll.one_in(2) ? world.open_ids() : std::vector<request_id>{};
        std::erase_if(struck, [&roll](request_id) { return roll.one_in(3); });
        world.suspect(struck);
      } else if (has_faults && roll.one_in(12)) {
        world.fence_and_lose_kv();
      } else if (has_faults && roll.one_in(24)) {
        world.restart_scheduler();
      } else if (has_faults && roll.one_in(6)) {
        world.take_over(roll.one_in(3));
      } else if (has_faults && roll.one_in(6)) {
        world.die_in_plan(static_cast<std::uint64_t>(roll.between(0, 99)));
      } else if (has_faults && roll.one_in(4)) {
        world.die_in_commit(static_cast<std::uint64_t>(roll.between(0, 99)));
      }
      break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
      world.submit();
      break;
    default:
      world.retire();
      break;
    }
    world.check_integrity();
  }
  while (world.retire()) {
  }
  world.check_integrity();
  world.check_end();
  const auto stats = world.scheduler().stats();
  return {.steps = world.steps(),
          .preemptions = world.preemptions(),
          .prefix_hits = stats.prefix_hits,
          .promotions = stats.promotions,
          .dropped = world.tokens_dropped(),
          .restored = world.tokens_restored(),
          .written_late = world.late_writes(),
          .saved = world.blocks_saved(),
          .loaded = world.tokens_loaded()};
}

/// Reports the world that failed and goes no further.
bool holds(const std::string& name, const std::function<void()>& run) {
  try {
    run();
    return true;
  } catch (const std::exception& fault) {
    BOOST_ERROR(fmt::format("{}: {}", name, fault.what()));
    return false;
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(streams_do_not_depend_on_the_schedule) {
  random_outcome total;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    const bool is_good = holds(fmt::format("seed {}", seed), [&total, seed] {
      const auto one = run_workload(seed, false);
      total.steps += one.steps;
      total.preemptions += one.preemptions;
      total.prefix_hits += one.prefix_hits;
      total.promotions += one.promotions;
      total.dropped += one.dropped;
      total.restored += one.restored;
      total.written_late += one.written_late;
    });
    if (!is_good) {
      break;
    }
  }
  BOOST_TEST_MESSAGE(fmt::format("steps={} preemptions={} prefix_hits={} promotions={} dropped={} "
                                 "restored={} written_late={}",
                                 total.steps,
                                 total.preemptions,
                                 total.prefix_hits,
                                 total.promotions,
                                 total.dropped,
                                 total.restored,
                                 total.written_late));
  // The workloads are worth something only if they reach these paths.
  BOOST_TEST(total.preemptions > 200U);
  BOOST_TEST(total.prefix_hits > 500U);
  BOOST_TEST(total.promotions > 100U);
  BOOST_TEST(total.dropped > 200U);
  BOOST_TEST(total.restored > 2000U);
  BOOST_TEST(total.written_late > 200U);
}

BOOST_AUTO_TEST_CASE(streams_do_not_depend_on_what_is_in_the_host_store) { // S-12, P-10, P-11
  random_outcome total;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    const bool is_good = holds(fmt::format("seed {}", seed), [&total, seed] {
      const auto one = run_workload(seed, true);
      total.preemptions += one.preemptions;
      total.saved += one.saved;
      total.loaded += one.loaded;
    });
    if (!is_good) {
      break;
    }
  }
  BOOST_TEST_MESSAGE(fmt::format(
      "preemptions={} saved={} loaded={}", total.preemptions, total.saved, total.loaded));
  BOOST_TEST(total.saved > 2000U);
  BOOST_TEST(total.loaded > 2000U);
}

namespace {

/// Workers die often, two or three steps are in flight that feed each other, every other token depends on the step, and steps
/// differ: requests come, are cancelled, become suspects. Returns the late writes that happened.
std::uint64_t run_with_ties(std::uint64_t seed) {
  dice roll(seed);
  const auto block_size = roll.between(1, 4);
  const auto least = (30 + block_size - 1) / block_size;
  auto config = small_config(least + roll.between(0, 2 * least), block_size, 30);
  config.max_batch_tokens = roll.between(4, 40);
  config.max_steps_in_flight = roll.between(2, 3);
  config.feeds_tokens = true;
  sched_harness world(config, {}, 2);
  constexpr std::uint64_t requests = 12;
  std::uint64_t added = 0;
  while (added < requests || world.open_requests() > 0) {
    require(world.steps() < 20000, "requests do not end");
    const auto chance = roll.between(0, 15);
    if (chance < 2 && added < requests) {
      ++added;
      world.add(random_request(roll, added, config));
    } else if (chance == 2) {
      world.fence_late();
      const auto open = world.open_ids();
      if (!open.empty() && roll.one_in(4)) {
        world.suspect({open.front()});
      }
      if (!open.empty() && roll.one_in(4)) {
        world.cancel(open.back());
      }
    } else if (chance == 3 && roll.one_in(3)) {
      world.writers_go();
    } else if (chance < 7) {
      world.write_late(static_cast<std::uint64_t>(roll.between(0, 99)));
    } else if (chance < 12) {
      world.submit();
    } else {
      world.retire();
    }
    world.check_integrity();
  }
  while (world.retire()) {
  }
  world.check_end();
  return world.late_writes();
}

} // namespace

/// What a dead worker may still write was fed by a step that is run again.
BOOST_AUTO_TEST_CASE(kv_belongs_to_its_stream_also_where_tokens_depend_on_the_step) { // S-13
  std::uint64_t written_late = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const bool is_good = holds(fmt::format("seed {}", seed),
                               [&written_late, seed] { written_late += run_with_ties(seed); });
    if (!is_good) {
      break;
    }
  }
  BOOST_TEST_MESSAGE("written_late=" << written_late);
  BOOST_TEST(written_late > 3000U);
}

namespace {

/// All streams of one random workload without faults, as many steps in flight as there may be.
std::vector<std::vector<token_id>> streams_of(std::uint64_t seed, const sched::overlap& ahead) {
  dice roll(seed);
  auto config = random_config(roll);
  config.max_steps_in_flight = ahead.steps_in_flight;
  config.feeds_tokens = ahead.feeds_tokens;
  sched_harness world(config);
  const auto requests = static_cast<std::uint64_t>(roll.between(1, 12));
  for (std::uint64_t id = 1; id <= requests; ++id) {
    world.add(random_request(roll, id, config));
  }
  while (world.open_requests() > 0) {
    require(world.steps() < 20000, "requests do not end");
    while (world.submit()) {
    }
    world.retire();
    world.check_integrity();
  }
  while (world.retire()) {
  }
  world.check_end();
  std::vector<std::vector<token_id>> streams;
  for (std::uint64_t id = 1; id <= requests; ++id) {
    streams.push_back(world.tokens_of(request_id(id)));
  }
  return streams;
}

} // namespace

BOOST_AUTO_TEST_CASE(streams_are_the_same_with_any_number_of_steps_in_flight) { // S-4
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const bool is_good = holds(fmt::format("seed {}", seed), [seed] {
      const auto expected = streams_of(seed, {.steps_in_flight = 1});
      for (std::int32_t steps = 1; steps <= 4; ++steps) {
        for (const bool feeds : {false, true}) {
          require(streams_of(seed, {steps, feeds}) == expected,
                  fmt::format("streams differ (steps={} feeds={})", steps, feeds));
        }
      }
    });
    BOOST_TEST(is_good);
    if (!is_good) {
      break;
    }
  }
}

BOOST_AUTO_TEST_CASE(the_oldest_moves_also_when_steps_alternate_for_ever) { // S-5
  // In lock step, as a pipeline runs, a sequence without blocks can meet the others in flight each
  // time: it has to get its choice when one of them retires.
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const bool is_good = holds(fmt::format("seed {}", seed), [seed] {
      dice roll(seed);
      auto config = small_config(roll.between(10, 16), 4, 40);
      config.max_steps_in_flight = roll.between(2, 4);
      config.feeds_tokens = roll.one_in(2);
      config.prefix_cache = false;
      sched_harness world(config);
      for (std::uint64_t id = 1; id <= 6; ++id) {
        const auto length = static_cast<std::size_t>(roll.between(1, 12));
        world.add(make_request(id, std::vector<token_id>(length, 1), roll.between(10, 27)));
      }
      while (world.open_requests() > 0) {
        while (world.submit()) {
        }
        world.retire();
      }
      world.check_end();
    });
    BOOST_TEST(is_good);
    if (!is_good) {
      break;
    }
  }
}

namespace {

struct small_world {
  std::int32_t blocks = 0;
  std::int32_t budget = 0;
  std::int32_t sequences = 0;
  sched::overlap ahead;
  std::int32_t lengths = 0; // three prompts, two bits each
  bool prefix_cache = false;
  int fault_at = 0; // step; 0: none
  int fault =
      0; // 0 fence, 1 lose_kv, 2 restart, 3 cancel of the second, 4 take over; while it 5 plans, 6 commits; 7 and 8: 0 and 2, all are suspects then; 9: 0, and late writes until nothing moves
  int torn_at = 0; // which store of a table is the last
};

void run_small(const small_world& small) {
  auto config = small_config(small.blocks, 2, 8);
  config.max_batch_tokens = small.budget;
  config.max_sequences = small.sequences;
  config.max_steps_in_flight = small.ahead.steps_in_flight;
  config.feeds_tokens = small.ahead.feeds_tokens;
  config.prefix_cache = small.prefix_cache;
  sched_harness world(config);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    const auto length = 1U + ((static_cast<std::uint32_t>(small.lengths) >> (2 * (id - 1))) & 3U);
    std::vector<token_id> prompt(length, 1);
    prompt.back() = static_cast<token_id>(id); // the first shares everything with itself only
    world.add(make_request(id, std::move(prompt), 3));
  }
  for (int step = 1; world.open_requests() > 0; ++step) {
    require(step < 200, "requests do not end");
    while (world.submit()) {
    }
    if (step == small.fault_at) {
      switch (small.fault) {
      case 0:
        world.fence();
        break;
      case 1:
        world.fence_and_lose_kv();
        break;
      case 2:
        world.restart_scheduler();
        break;
      case 4:
        world.take_over();
        break;
      case 5:
        world.die_in_plan(static_cast<std::uint64_t>(small.torn_at));
        break;
      case 6:
        world.die_in_commit(static_cast<std::uint64_t>(small.torn_at));
        break;
      case 7:
        world.fence();
        world.suspect(world.open_ids());
        break;
      case 8:
        world.restart_scheduler();
        world.suspect(world.open_ids());
        break;
      case 9:
        world.fence_late();
        break;
      default:
        world.cancel(request_id(2));
        break;
      }
    } else if (!world.retire()) {
      world.writers_go();
    }
    world.write_late(static_cast<std::uint64_t>(small.torn_at));
    world.check_integrity();
  }
  while (world.retire()) {
  }
  world.check_end();
}

} // namespace

BOOST_AUTO_TEST_CASE(every_small_world_survives_a_fault_at_every_step) {
  constexpr sched::overlap overlaps[] = {{1, false}, {2, false}, {2, true}, {3, true}};
  int worlds = 0;
  for (std::int32_t lengths = 0; lengths < 64; lengths += 7) {
    for (const std::int32_t blocks : {4, 5, 8}) {
      for (const std::int32_t budget : {1, 2, 5}) {
        for (std::int32_t sequences = 1; sequences <= 3; ++sequences) {
          for (const auto& ahead : overlaps) {
            for (int fault_at = 0; fault_at <= 8; ++fault_at) {
              const small_world small{.blocks = blocks,
                                      .budget = budget,
                                      .sequences = sequences,
                                      .ahead = ahead,
                                      .lengths = lengths,
                                      .prefix_cache = (lengths & 1) == 0,
                                      .fault_at = fault_at,
                                      .fault = (fault_at + lengths + blocks + budget) % 10,
                                      .torn_at = worlds};
              ++worlds;
              const auto name = fmt::format(
                  "blocks={} budget={} sequences={} in_flight={} feeds={} lengths={} fault={}@{}",
                  blocks,
                  budget,
                  sequences,
                  ahead.steps_in_flight,
                  ahead.feeds_tokens,
                  lengths,
                  small.fault,
                  fault_at);
              if (!holds(name, [&small] { run_small(small); })) {
                return;
              }
            }
          }
        }
      }
    }
  }
  BOOST_TEST(worlds > 8000);
}
