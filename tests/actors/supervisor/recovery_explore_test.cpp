// Every order of events around a group of three slots, with up to two faults at every moment: no rule is ever broken and
// every way ends in a running epoch or in a replica that was given up for a reason.
#include "tests/actors/supervisor/recovery_world.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::supervisor;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// Depth first; a world that was seen is not entered again. One that is met again on the way that
/// began in it is a circle: the group could go round in it for ever.
class exploration {
public:
  void explore(const world& from) {
    const auto [seen, is_new] = worlds_.try_emplace(std::hash<std::string>{}(from.fingerprint()));
    auto& is_on_the_way = seen->second; // stays where it is
    if (is_on_the_way) {
      complain("dead end: a circle");
    }
    if (!is_new || !complaint_.empty()) {
      return;
    }
    is_on_the_way = true;
    bool goes_on = false;
    for (const auto& next : from.moves()) {
      goes_on = goes_on || !next.is_fault();
      follow(from, next);
    }
    if (!goes_on) {
      ++ends_;
      complain(from.end_complaint());
    }
    is_on_the_way = false;
  }

  [[nodiscard]] const std::string& complaint() const { return complaint_; }

  [[nodiscard]] std::size_t worlds() const { return worlds_.size(); }

  [[nodiscard]] std::size_t moves() const { return moves_; }

  [[nodiscard]] std::size_t ends() const { return ends_; }

private:
  void follow(const world& from, const move& next) {
    ++moves_;
    trail_.push_back(next);
    auto then = from;
    then.make(next);
    complain(then.complaint());
    explore(then);
    trail_.pop_back();
  }

  void complain(const std::string& rule) {
    if (rule.empty() || !complaint_.empty()) {
      return;
    }
    complaint_ = rule + " after:";
    for (const auto& made : trail_) {
      complaint_ += " " + to_string(made) + ",";
    }
  }

  /// By a hash of 64 bits: of 10^6 worlds two collide once in 10^7 runs. True: on the way.
  std::unordered_map<std::size_t, bool> worlds_;
  std::vector<move> trail_;
  std::string complaint_;
  std::size_t moves_ = 0;
  std::size_t ends_ = 0;
};

recovery_config config_with(std::int32_t max_restarts) {
  return {.slots = world_slots,
          .quiesce_deadline = 10s,
          .load_deadline = 1800s,
          .gone_deadline = 30s,
          .max_restarts = max_restarts,
          .restart_window = 100h, // nothing is forgotten: what fingerprints take for granted
          .restart_backoff = 100ms};
}

/// Explores and reports.
void require_no_complaint(const std::string& name, const std::function<void(exploration&)>& run) {
  exploration way;
  const auto begin = std::chrono::steady_clock::now();
  run(way);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  fmt::print("{}: {} states, {} moves, {} ends, {:.2f} s\n",
             name,
             way.worlds(),
             way.moves(),
             way.ends(),
             took.count());
  BOOST_REQUIRE_MESSAGE(way.complaint().empty(), way.complaint());
  BOOST_TEST(way.ends() > 0U);
}

} // namespace

BOOST_AUTO_TEST_CASE(two_faults_at_every_moment_in_every_order_break_no_rule) { // R-1 … R-8
  require_no_complaint("two faults",
                       [](exploration& way) { way.explore(world(config_with(5), {}, 2)); });
}

/// A successor may come, and die, while what its predecessors had begun still writes.
BOOST_AUTO_TEST_CASE(nor_do_they_where_workers_are_processes) {
  require_no_complaint("two faults, processes", [](exploration& way) {
    way.explore(world(config_with(5), {}, 2, {.kept_in = homes::processes}));
  });
}

BOOST_AUTO_TEST_CASE(nor_do_deaths_while_no_epoch_may_be_far_above_a_late_writers) {
  require_no_complaint("three deaths, processes", [](exploration& way) {
    auto config = config_with(5);
    config.late_epochs_max = 1;
    way.explore(
        world(config, {}, 3, {.injected = injections::deaths, .kept_in = homes::processes}));
  });
}

/// The same without leaving any order out; a minute.
BOOST_AUTO_TEST_CASE(nor_do_they_where_every_order_of_independent_moves_is_made) {
  if (std::getenv("VDIST_TEST_LONG") == nullptr) {
    return;
  }
  require_no_complaint("two faults, all orders", [](exploration& way) {
    way.explore(world(config_with(5), {}, 2, {.wanted = orders::all}));
  });
}

BOOST_AUTO_TEST_CASE(beyond_the_intensity_every_order_ends_in_a_replica_given_up) {
  require_no_complaint("two faults, one restart",
                       [](exploration& way) { way.explore(world(config_with(1), {}, 2)); });
}

/// Four of them, of which two are a culprit's: the deaths of poisonous requests cost no worker its restarts.
BOOST_AUTO_TEST_CASE(deaths_of_a_culprit_do_not_count_whenever_it_is_found) {
  require_no_complaint("deaths and culprits, one restart", [](exploration& way) {
    way.explore(world(config_with(1), {}, 4, {.injected = injections::deaths_and_blames}));
  });
}

BOOST_AUTO_TEST_CASE(culprits_in_a_row_end_in_a_replica_given_up) {
  require_no_complaint("deaths and culprits, one of them", [](exploration& way) {
    auto config = config_with(5);
    config.culprits_in_a_row_max = 1;
    way.explore(world(config, {}, 3, {.injected = injections::deaths_and_blames}));
  });
}

/// The worker is to blame for some of its deaths, a culprit for others, and of some nobody knows: one of each kind is
/// allowed.
BOOST_AUTO_TEST_CASE(deaths_count_when_they_are_judged_and_no_more_than_some_wait_for_it) {
  require_no_complaint("deaths, culprits and acquittals", [](exploration& way) {
    auto config = config_with(1);
    config.culprits_in_a_row_max = 1;
    config.poison_strikes = 1;
    const auto faults = std::getenv("VDIST_TEST_LONG") == nullptr ? 3 : 4;
    way.explore(world(config, {}, faults, {.injected = injections::deaths_and_judgements}));
  });
}

BOOST_AUTO_TEST_CASE(a_successor_takes_over_every_group_that_it_may_find) {
  using kind = slot_start::kind;
  require_no_complaint("taken over", [](exploration& way) {
    const std::vector<kind> kinds{kind::absent, kind::dying, kind::loading, kind::living};
    const std::vector<incarnation> late{incarnation(1), incarnation(2)};
    for (const auto first : kinds) {
      for (const auto second : kinds) {
        for (const auto third : kinds) {
          group_state from{.first = epoch(7),
                           .slots = {{first, incarnation(3)},
                                     {second, incarnation(1)},
                                     {third, incarnation(2)}}};
          way.explore(world(config_with(5), from, 1));
          from.slots[0].late = late;
          way.explore(world(config_with(5), from, 1, {.kept_in = homes::processes}));
        }
      }
    }
  });
}
