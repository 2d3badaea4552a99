#include "runtime/base/failpoint.hpp"

#include "runtime/base/failpoint_act.hpp"

#include <algorithm>
#include <bit>
#include <climits>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace vdist {

namespace {

using act = failpoint_action;

/// How often a waiting failpoint looks up.
constexpr std::chrono::milliseconds look_up_interval{1};

struct packed_link {
  std::uint32_t argument = 0;
  std::uint32_t count = 0;
  std::uint16_t chance = 0;
  std::uint8_t action = 0;
  std::uint8_t reserved = 0;
};

/// A rule as it lies in the table.
struct packed_rule {
  char point[failpoint_name_max + 1] = {};
  std::int64_t step = 0;
  std::uint64_t request = 0;
  std::uint64_t seed = 0;
  packed_link links[failpoint_links_max];
  std::int32_t replica = 0;
  std::int32_t stage = 0;
  std::int32_t rank = 0;
  std::uint32_t nth = 0;
  std::uint8_t link_count = 0;
  std::uint8_t has_replica = 0;
  std::uint8_t has_stage = 0;
  std::uint8_t has_rank = 0;
  std::uint8_t has_step = 0;
  std::uint8_t has_request = 0;
  std::uint8_t reserved[18] = {};
};

using rule_bits = std::array<std::uint64_t, failpoint_table::rule_words>;
static_assert(sizeof(packed_rule) == failpoint_table::rule_words * sizeof(std::uint64_t));

result<void> check(const failpoint_rule& rule) {
  if (rule.point.size() > failpoint_name_max) {
    return fail(errc::invalid_argument,
                fmt::format("failpoint: the name is too long (point={} max={})",
                            rule.point,
                            failpoint_name_max));
  }
  if (rule.next.size() >= failpoint_links_max) {
    return fail(errc::invalid_argument,
                fmt::format("failpoint: the chain is too long (links={} max={})",
                            rule.next.size() + 1,
                            failpoint_links_max));
  }
  return {};
}

packed_rule pack(const failpoint_rule& rule) {
  packed_rule packed;
  std::memcpy(packed.point, rule.point.data(), rule.point.size());
  packed.step = rule.step.value_or(0);
  packed.request = rule.request.value_or(0);
  packed.seed = rule.seed;
  packed.replica = rule.replica.value_or(0);
  packed.stage = rule.stage.value_or(0);
  packed.rank = rule.rank.value_or(0);
  packed.nth = rule.nth;
  packed.has_replica = rule.replica.has_value() ? 1 : 0;
  packed.has_stage = rule.stage.has_value() ? 1 : 0;
  packed.has_rank = rule.rank.has_value() ? 1 : 0;
  packed.has_step = rule.step.has_value() ? 1 : 0;
  packed.has_request = rule.request.has_value() ? 1 : 0;
  for (const auto& link : links_of(rule)) {
    packed.links[packed.link_count++] = {.argument = static_cast<std::uint32_t>(link.argument),
                                         .count = link.count,
                                         .chance = link.chance,
                                         .action = static_cast<std::uint8_t>(link.action)};
  }
  return packed;
}

template <class T>
std::optional<T> if_set(std::uint8_t is_set, T value) {
  return is_set != 0 ? std::optional(value) : std::nullopt;
}

failpoint_rule unpack(const packed_rule& packed) {
  failpoint_rule rule{.point = packed.point,
                      .replica = if_set(packed.has_replica, packed.replica),
                      .stage = if_set(packed.has_stage, packed.stage),
                      .rank = if_set(packed.has_rank, packed.rank),
                      .step = if_set(packed.has_step, packed.step),
                      .action = static_cast<act>(packed.links[0].action),
                      .argument = packed.links[0].argument,
                      .count = packed.links[0].count,
                      .chance = packed.links[0].chance,
                      .request = if_set(packed.has_request, packed.request),
                      .nth = packed.nth,
                      .seed = packed.seed};
  for (std::size_t i = 1; i < packed.link_count; ++i) {
    const auto& link = packed.links[i];
    rule.next.push_back({.action = static_cast<act>(link.action),
                         .argument = link.argument,
                         .count = link.count,
                         .chance = link.chance});
  }
  return rule;
}

std::uint64_t join(std::uint32_t high, std::uint32_t low) {
  return static_cast<std::uint64_t>(high) << 32U | low;
}

void write(failpoint_table::entry& entry, const packed_rule& rule) {
  const auto words = std::bit_cast<rule_bits>(rule);
  const auto version = entry.version.load(std::memory_order_relaxed);
  const auto next = (version | 1U) + 1;
  entry.version.store(version | 1U, std::memory_order_relaxed);
  for (auto& hits : entry.link_hits) {
    hits.store(join(next, 0), std::memory_order_relaxed);
  }
  for (std::size_t i = 0; i < words.size(); ++i) {
    entry.rule[i].store(words[i], std::memory_order_release);
  }
  entry.version.store(next, std::memory_order_release);
}

/// A rule, and the version of its entry then.
struct rule_seen {
  packed_rule rule;
  std::uint32_t version = 0;
};

/// F-3. nullopt while it is being written, or of a table whose bytes are no rule.
std::optional<rule_seen> read(const failpoint_table::entry& entry) {
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
  for (const auto& link : rule.links) {
    if (link.action >= failpoint_actions) {
      return std::nullopt;
    }
  }
  return rule.link_count <= failpoint_links_max ? std::optional(rule_seen{rule, version})
                                                : std::nullopt;
}

bool matches(const packed_rule& rule, std::string_view point, const failpoint_context& at) {
  return point == rule.point && (rule.has_replica == 0 || rule.replica == at.replica)
         && (rule.has_stage == 0 || rule.stage == at.stage)
         && (rule.has_rank == 0 || rule.rank == at.rank)
         && (rule.has_step == 0 || at.step >= rule.step)
         && (rule.has_request == 0
             || std::find(at.requests.begin(), at.requests.end(), rule.request)
                    != at.requests.end());
}

/// F-5: a number below failpoint_certain (splitmix64).
std::uint32_t draw(std::uint64_t seed, std::uint64_t match, std::uint64_t link) {
  std::uint64_t word = seed + 0x9e3779b97f4a7c15ULL * (match * failpoint_links_max + link + 1);
  word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ (word >> 27U)) * 0x94d049bb133111ebULL;
  return static_cast<std::uint32_t>((word ^ (word >> 31U)) % failpoint_certain);
}

/// Whether this hit is one of those that act.
bool take_hit(std::atomic<std::uint32_t>& taken, std::uint32_t count) {
  auto hits = taken.load(std::memory_order_relaxed);
  do {
    if (count != 0 && hits >= count) {
      return false;
    }
  } while (!taken.compare_exchange_weak(hits, hits + 1, std::memory_order_relaxed));
  return true;
}

/// The same of a link, if its rule is still the one that was seen (F-3): its successor's hits are not taken.
bool take_link_hit(std::atomic<std::uint64_t>& taken, std::uint32_t version, std::uint32_t count) {
  auto hits = taken.load(std::memory_order_relaxed);
  do {
    if (hits >> 32U != version || (count != 0 && static_cast<std::uint32_t>(hits) >= count)) {
      return false;
    }
  } while (count != 0 && !taken.compare_exchange_weak(hits, hits + 1, std::memory_order_relaxed));
  return true;
}

/// The first link that is due.
std::optional<std::uint32_t> take_link(failpoint_table::entry& entry, const rule_seen& seen) {
  const auto& rule = seen.rule;
  const auto match = entry.matches.fetch_add(1, std::memory_order_relaxed);
  if (match + 1 < rule.nth) {
    return std::nullopt;
  }
  for (std::uint32_t link = 0; link < rule.link_count; ++link) {
    const auto& one = rule.links[link];
    if (draw(rule.seed, match, link) < one.chance
        && take_link_hit(entry.link_hits[link], seen.version, one.count)) {
      return take_hit(entry.hits, entry.hits_max) ? std::optional(link) : std::nullopt;
    }
  }
  return std::nullopt;
}

/// Whose act it was, in the log.
struct hit_source {
  std::uint32_t rule = 0;
  std::uint32_t link = 0;
  act action = act::throw_error;
};

/// F-4. It is counted already.
void record(failpoint_table& table, const hit_source& by, const failpoint_context& at) {
  const auto place = table.logged.fetch_add(1, std::memory_order_relaxed);
  if (place >= failpoint_hits_max) {
    table.logged.store(failpoint_hits_max, std::memory_order_relaxed); // it never wraps
    return;
  }
  auto& hit = table.log[place];
  hit.step.store(at.step, std::memory_order_relaxed);
  hit.source.store(join(by.rule, by.link << 8U | static_cast<std::uint32_t>(by.action)),
                   std::memory_order_relaxed);
  hit.place.store(join(static_cast<std::uint32_t>(at.replica), static_cast<std::uint32_t>(at.rank)),
                  std::memory_order_relaxed);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  hit.at_ns.store(std::chrono::nanoseconds(now).count(), std::memory_order_release);
}

/// Until `is_over`, at most until the deadline.
template <class Predicate>
void look_until(const Predicate& is_over, std::chrono::steady_clock::time_point deadline) {
  while (!is_over() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(look_up_interval);
  }
}

/// Who is slow computes, and does not sleep: whoever watches it must see the difference.
void be_busy(std::chrono::nanoseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}

/// The kernel reads a plain word where the atomic is; its waiters may be of other processes.
void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t argument) {
  ::syscall(
      SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, argument, nullptr, nullptr, 0);
}

void tell_change(failpoint_table& table) {
  table.changes.fetch_add(1);
  futex(table.changes, FUTEX_WAKE, INT_MAX);
}

/// Until the rules are cleared or another one than that of `version` takes its place. It sleeps all the time, as what hangs
/// does: one that looks up now and then wants a CPU, and has to wait for it on a machine that is busy.
void hang(failpoint_table& table, std::uint32_t rule, std::uint32_t version) {
  while (true) {
    const auto seen = table.changes.load();
    if (table.armed.load() <= rule || table.entries[rule].version.load() != version) {
      return;
    }
    futex(table.changes, FUTEX_WAIT, seen); // any failure: look again
  }
}

/// Until fault number `other`, from 1, has struck.
void wait_for(const failpoint_table& table, std::uint32_t other) {
  const auto& entry = table.entries[std::min<std::size_t>(other, failpoint_rules_max) - 1];
  look_until([&entry] { return entry.hits.load() != 0; },
             std::chrono::steady_clock::now() + failpoint_wait_max);
}

/// The actions that need nothing but a process.
void strike_process(act action, std::uint32_t argument) {
  switch (action) {
  case act::delay:
    std::this_thread::sleep_for(std::chrono::milliseconds(argument));
    break;
  case act::exit:
    ::_exit(static_cast<int>(argument));
  case act::kill9:
    end_self();
    break;
  case act::stop:
    stop_self(std::chrono::milliseconds(argument));
    break;
  case act::segv:
    std::raise(SIGSEGV);
    break;
  default:
    break;
  }
}

/// What is left to the caller.
failpoint_outcome outcome_of(act action) {
  const auto first = static_cast<unsigned>(act::oom);
  const auto number = static_cast<unsigned>(action);
  return number < first ? failpoint_outcome::go_on
                        : static_cast<failpoint_outcome>(number - first + 1);
}

static_assert(static_cast<unsigned>(act::device_lost) - static_cast<unsigned>(act::oom) + 1
              == static_cast<unsigned>(failpoint_outcome::device_lost));

} // namespace

result<void> failure_of(failpoint_outcome outcome, std::string_view point) {
  switch (outcome) {
  case failpoint_outcome::oom:
    return fail(errc::resource_exhausted, fmt::format("failpoint {}: out of memory", point));
  case failpoint_outcome::full:
    return fail(errc::resource_exhausted, fmt::format("failpoint {}: no room is left", point));
  case failpoint_outcome::device_error:
    return fail(errc::io_failed, fmt::format("failpoint {}: the device reports an error", point));
  case failpoint_outcome::device_lost:
    return fail(errc::device_lost,
                fmt::format("failpoint {}: the device must not be used any more", point));
  default:
    return {};
  }
}

result<void> failpoints::arm(const failpoint_rule& rule) {
  const std::lock_guard lock(mutex_);
  const auto armed = table_->armed.load(std::memory_order_relaxed);
  VDIST_TRY(check(rule));
  if (armed >= failpoint_rules_max) {
    return fail(errc::resource_exhausted,
                fmt::format("failpoint: too many rules are armed (max={})", failpoint_rules_max));
  }
  auto& entry = table_->entries[armed];
  entry.hits.store(0, std::memory_order_relaxed);
  entry.hits_max.store(0, std::memory_order_relaxed);
  entry.matches.store(0, std::memory_order_relaxed);
  write(entry, pack(rule));
  table_->armed.store(armed + 1, std::memory_order_release);
  tell_change(*table_);
  return {};
}

result<void> failpoints::rearm(std::size_t index, const failpoint_rule& rule) {
  const std::lock_guard lock(mutex_);
  VDIST_TRY(check(rule));
  if (index >= table_->armed.load(std::memory_order_relaxed)) {
    return fail(errc::invalid_argument, fmt::format("failpoint: no such rule (index={})", index));
  }
  write(table_->entries[index], pack(rule));
  tell_change(*table_);
  return {};
}

void failpoints::limit(std::size_t index, std::uint32_t hits_max) {
  const std::lock_guard lock(mutex_);
  if (index < table_->armed.load(std::memory_order_relaxed)) {
    table_->entries[index].hits_max.store(hits_max, std::memory_order_relaxed);
  }
}

void failpoints::clear() {
  const std::lock_guard lock(mutex_);
  table_->armed.store(0, std::memory_order_release);
  tell_change(*table_);
  for (auto& hit : table_->log) {
    hit.at_ns.store(0, std::memory_order_relaxed);
  }
  table_->logged.store(0, std::memory_order_release);
}

std::vector<std::uint32_t> failpoints::hits() const {
  std::vector<std::uint32_t> counts;
  const auto armed = table_->armed.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < armed && i < failpoint_rules_max; ++i) {
    counts.push_back(table_->entries[i].hits.load(std::memory_order_relaxed));
  }
  return counts;
}

std::vector<armed_failpoint> failpoints::list() const {
  const std::lock_guard lock(mutex_); // nobody writes a rule now
  std::vector<armed_failpoint> all;
  const auto armed = table_->armed.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < armed && i < failpoint_rules_max; ++i) {
    if (const auto seen = read(table_->entries[i])) {
      all.push_back({unpack(seen->rule), table_->entries[i].hits.load(std::memory_order_relaxed)});
    }
  }
  return all;
}

std::vector<failpoint_hit> failpoints::log() const {
  std::vector<failpoint_hit> all;
  for (const auto& hit : table_->log) {
    const auto at_ns = hit.at_ns.load(std::memory_order_acquire);
    if (at_ns == 0) {
      continue; // being written, or its writer died
    }
    const auto source = hit.source.load(std::memory_order_relaxed);
    const auto place = hit.place.load(std::memory_order_relaxed);
    const auto action = static_cast<std::uint8_t>(source);
    if (action >= failpoint_actions) {
      continue; // no bytes of ours
    }
    all.push_back({.at_ns = at_ns,
                   .rule = static_cast<std::uint32_t>(source >> 32U),
                   .link = static_cast<std::uint32_t>(source) >> 8U,
                   .action = static_cast<act>(action),
                   .replica = static_cast<std::int32_t>(place >> 32U),
                   .rank = static_cast<std::int32_t>(place),
                   .step = hit.step.load(std::memory_order_relaxed)});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.at_ns < b.at_ns; });
  return all;
}

void failpoints::note_hit(std::size_t index,
                          failpoint_action action,
                          const failpoint_context& context) {
  if (index < failpoint_rules_max) {
    table_->entries[index].hits.fetch_add(1, std::memory_order_relaxed);
    record(*table_, {.rule = static_cast<std::uint32_t>(index), .action = action}, context);
  }
}

failpoint_outcome
failpoints::reach(std::string_view point, const failpoint_context& context, const kill_hook& kill) {
  const auto armed = table_->armed.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < armed && i < failpoint_rules_max; ++i) {
    auto& entry = table_->entries[i];
    const auto seen = read(entry);
    if (!seen || !matches(seen->rule, point, context)) {
      continue;
    }
    const auto& rule = seen->rule;
    const auto due = take_link(entry, *seen);
    if (!due) {
      continue;
    }
    const auto& link = rule.links[*due];
    const auto action = static_cast<act>(link.action);
    record(*table_, {.rule = i, .link = *due, .action = action}, context);
    switch (action) {
    case act::throw_error:
      throw failpoint_error(std::string("failpoint ") + rule.point);
    case act::kill_actor:
      if (kill) {
        kill();
      }
      return failpoint_outcome::go_on;
    case act::slow:
      be_busy(context.busy * (static_cast<int>(link.argument) - 1));
      return failpoint_outcome::go_on;
    case act::hang:
      hang(*table_, i, seen->version);
      return failpoint_outcome::go_on;
    case act::wait:
      wait_for(*table_, link.argument);
      return failpoint_outcome::go_on;
    default:
      strike_process(action, link.argument);
      return outcome_of(action);
    }
  }
  return failpoint_outcome::go_on;
}

} // namespace vdist
