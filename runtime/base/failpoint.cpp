#include "runtime/base/failpoint.hpp"

#include <bit>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace vdist {

namespace {

/// A rule as it lies in the table.
struct packed_rule {
  char point[failpoint_name_max + 1] = {};
  std::int64_t step = 0;
  std::int64_t argument = 0;
  std::int32_t replica = 0;
  std::int32_t stage = 0;
  std::int32_t rank = 0;
  std::uint32_t count = 0;
  std::uint8_t action = 0;
  std::uint8_t has_replica = 0;
  std::uint8_t has_stage = 0;
  std::uint8_t has_rank = 0;
  std::uint8_t has_step = 0;
  std::uint8_t reserved[11] = {};
};

using rule_bits = std::array<std::uint64_t, failpoint_table::rule_words>;
static_assert(sizeof(packed_rule) == failpoint_table::rule_words * sizeof(std::uint64_t));

packed_rule pack(const failpoint_rule& rule) {
  packed_rule packed;
  std::memcpy(packed.point, rule.point.data(), rule.point.size());
  packed.step = rule.step.value_or(0);
  packed.argument = rule.argument;
  packed.replica = rule.replica.value_or(0);
  packed.stage = rule.stage.value_or(0);
  packed.rank = rule.rank.value_or(0);
  packed.count = rule.count;
  packed.action = static_cast<std::uint8_t>(rule.action);
  packed.has_replica = rule.replica.has_value() ? 1 : 0;
  packed.has_stage = rule.stage.has_value() ? 1 : 0;
  packed.has_rank = rule.rank.has_value() ? 1 : 0;
  packed.has_step = rule.step.has_value() ? 1 : 0;
  return packed;
}

void write(failpoint_table::entry& entry, const packed_rule& rule) {
  const auto words = std::bit_cast<rule_bits>(rule);
  const auto version = entry.version.load(std::memory_order_relaxed);
  entry.version.store(version | 1U, std::memory_order_relaxed);
  entry.hits.store(0, std::memory_order_relaxed);
  for (std::size_t i = 0; i < words.size(); ++i) {
    entry.rule[i].store(words[i], std::memory_order_release);
  }
  entry.version.store((version | 1U) + 1, std::memory_order_release);
}

/// F-3. nullopt while it is being written.
std::optional<packed_rule> read(const failpoint_table::entry& entry) {
  const auto version = entry.version.load(std::memory_order_acquire);
  rule_bits words{};
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = entry.rule[i].load(std::memory_order_acquire);
  }
  if (version == 0 || version % 2 != 0
      || entry.version.load(std::memory_order_relaxed) != version) {
    return std::nullopt;
  }
  auto rule = std::bit_cast<packed_rule>(words);
  rule.point[failpoint_name_max] = 0;
  return rule;
}

bool matches(const packed_rule& rule, std::string_view point, const failpoint_context& at) {
  return point == rule.point && (rule.has_replica == 0 || rule.replica == at.replica)
         && (rule.has_stage == 0 || rule.stage == at.stage)
         && (rule.has_rank == 0 || rule.rank == at.rank)
         && (rule.has_step == 0 || at.step >= rule.step);
}

/// Whether this hit is one of those that act.
bool take_hit(failpoint_table::entry& entry, std::uint32_t count) {
  auto hits = entry.hits.load(std::memory_order_relaxed);
  do {
    if (count != 0 && hits >= count) {
      return false;
    }
  } while (!entry.hits.compare_exchange_weak(hits, hits + 1, std::memory_order_relaxed));
  return true;
}

void act(const packed_rule& rule, const failpoints::kill_hook& kill) {
  switch (static_cast<failpoint_action>(rule.action)) {
  case failpoint_action::throw_error:
    throw failpoint_error(std::string("failpoint ") + rule.point);
  case failpoint_action::kill_actor:
    if (kill) {
      kill();
    }
    return;
  case failpoint_action::delay:
    std::this_thread::sleep_for(std::chrono::milliseconds(rule.argument));
    return;
  case failpoint_action::exit:
    ::_exit(static_cast<int>(rule.argument));
  case failpoint_action::kill9:
    ::kill(::getpid(), SIGKILL);
    return;
  }
}

} // namespace

result<void> failpoints::arm(const failpoint_rule& rule) {
  const std::lock_guard lock(mutex_);
  const auto armed = table_->armed.load(std::memory_order_relaxed);
  if (rule.point.size() > failpoint_name_max) {
    return fail(errc::invalid_argument,
                fmt::format("failpoint: the name is too long (point={} max={})",
                            rule.point,
                            failpoint_name_max));
  }
  if (armed >= failpoint_rules_max) {
    return fail(errc::resource_exhausted,
                fmt::format("failpoint: too many rules are armed (max={})", failpoint_rules_max));
  }
  write(table_->entries[armed], pack(rule));
  table_->armed.store(armed + 1, std::memory_order_release);
  return {};
}

void failpoints::clear() {
  const std::lock_guard lock(mutex_);
  table_->armed.store(0, std::memory_order_release);
}

std::vector<std::uint32_t> failpoints::hits() const {
  std::vector<std::uint32_t> counts;
  const auto armed = table_->armed.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < armed && i < failpoint_rules_max; ++i) {
    counts.push_back(table_->entries[i].hits.load(std::memory_order_relaxed));
  }
  return counts;
}

void failpoints::reach(std::string_view point,
                       const failpoint_context& context,
                       const kill_hook& kill) {
  const auto armed = table_->armed.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < armed && i < failpoint_rules_max; ++i) {
    auto& entry = table_->entries[i];
    const auto rule = read(entry);
    if (rule && matches(*rule, point, context) && take_hit(entry, rule->count)) {
      act(*rule, kill);
      return;
    }
  }
}

} // namespace vdist
