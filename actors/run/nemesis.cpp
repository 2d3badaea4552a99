#include "actors/run/nemesis.hpp"

#include "runtime/base/log.hpp"

#include <chrono>
#include <pthread.h>
#include <random>

namespace vdist::actors {

namespace {

using target = config::nemesis_choice::target;

constexpr std::string_view reserved_point = "nemesis";

} // namespace

nemesis_strike draw_strike(const config::nemesis& script,
                           const nemesis_field& field,
                           std::uint64_t seed,
                           std::uint64_t number) {
  std::seed_seq words{static_cast<std::uint32_t>(seed),
                      static_cast<std::uint32_t>(seed >> 32U),
                      static_cast<std::uint32_t>(number),
                      static_cast<std::uint32_t>(number >> 32U)};
  std::mt19937_64 random(words);
  const auto below = [&random](std::uint64_t n) {
    return random() % n;
  };
  const auto& choice = script.choices.at(below(script.choices.size()));
  nemesis_strike strike{.what = choice.what,
                        .rule = {.action = choice.link.action,
                                 .argument = choice.link.argument,
                                 .chance = choice.link.chance,
                                 .seed = random()}};
  if (choice.what != target::worker) {
    strike.rule.point = std::string(config::facts_of(choice.what).point);
    // The vault has none. It is drawn all the same: a seed means the same strikes for ever.
    const auto replica = static_cast<std::int32_t>(
        below(static_cast<std::uint64_t>(field.ranks / field.ranks_per_replica)));
    if (choice.what != target::vault) {
      strike.rule.replica = replica;
    }
    const bool is_process = choice.what == target::node || choice.what == target::vault;
    if (is_process && choice.link.action == failpoint_action::kill9 && field.kill) {
      strike.is_from_outside = choice.what == target::vault || below(2) == 0;
    }
    return strike;
  }
  const auto drawn = static_cast<std::int32_t>(below(static_cast<std::uint64_t>(field.ranks)));
  strike.rank = choice.rank ? *choice.rank % field.ranks : drawn;
  strike.rule.replica = strike.rank / field.ranks_per_replica;
  strike.rule.rank = strike.rank % field.ranks_per_replica;
  const bool is_begin = below(2) == 0 && choice.link.action != failpoint_action::slow;
  strike.rule.point = is_begin ? "worker.step_begin" : "worker.step_end";
  strike.is_from_outside =
      below(2) == 0 && choice.link.action == failpoint_action::kill9 && field.kill;
  return strike;
}

failpoint_rule nemesis::reserved_rule() {
  return {.point = std::string(reserved_point)};
}

nemesis::nemesis(const config::nemesis& script,
                 const nemesis_field& field,
                 std::uint64_t seed,
                 failpoints& points,
                 std::size_t index)
    : script_(script), field_(field), seed_(seed), points_(points), index_(index), thread_([this] {
        pthread_setname_np(pthread_self(), "nemesis");
        run();
      }) {}

nemesis::~nemesis() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void nemesis::run() {
  const std::chrono::milliseconds pause(script_.every_ms);
  points_.limit(index_, script_.count);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return is_stopping_; })) {
    const auto hits = points_.hits();
    const std::uint64_t number = index_ < hits.size() ? hits[index_] : 0;
    if (script_.count != 0 && number >= script_.count) {
      return;
    }
    strike(number);
  }
}

/// N-2: the rule takes the place of the one before.
void nemesis::strike(std::uint64_t number) {
  const auto drawn = draw_strike(script_, field_, seed_, number);
  if (drawn.is_from_outside) {
    points_.note_hit(
        index_,
        drawn.rule.action,
        {.replica = drawn.rule.replica.value_or(-1), .rank = drawn.rule.rank.value_or(-1)});
    if (!field_.kill(drawn.what, drawn.rank)) {
      log::debug("nemesis: {} {} is being replaced already",
                 config::facts_of(drawn.what).name,
                 drawn.rank);
    }
    return;
  }
  if (const auto armed = points_.rearm(index_, drawn.rule); !armed) {
    log::warn("nemesis: {}", armed.error().context);
  }
}

} // namespace vdist::actors
