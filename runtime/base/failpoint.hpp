// runtime/base/failpoint.hpp — named places where a fault script may strike.
// VDIST_FAILPOINT(points, "worker.step_begin", {.rank = 1, .step = 40}) costs one relaxed load while
// nothing is armed. The armed rules are a table of fixed size that may lie in shared memory: then a
// rule that is armed in one process strikes in all of them, and its count holds over all of them and
// over every incarnation of a worker. What rules are made of: failpoint_rule.hpp.
//
// F-1 a failpoint acts only when armed by a script or a control message. F-2 every hit of an armed
// rule is counted, so a rule that was never hit can fail its script. F-3 an entry is read under its
// version word: a reader sees a whole rule or none, and acts for no other (what it
// counts while rules are cleared and armed anew may be lost). F-4 a hit is counted and in the log before it
// acts: also a process that ends by it has said when. F-5 chances are a function of the rule's seed
// and the number of the match, not of time or threads.
// Rules match on the point's name and on every field that the rule sets; the first one acts that
// has a link which is due.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint_rule.hpp"
#include "runtime/base/result.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist {

/// Where a failpoint was reached; -1 means that the field does not apply there.
struct failpoint_context {
  std::int32_t replica = -1;
  std::int32_t stage = -1;
  std::int32_t rank = -1;
  std::int64_t step = -1;
  duration busy{};                           // what the caller has just worked; for slow
  std::span<const std::uint64_t> requests{}; // of the batch; borrowed
};

/// What the code at a point has to do itself. A point that knows none of it ignores it: the table of
/// points says which actions are legal where.
enum class failpoint_outcome : std::uint8_t {
  go_on,
  oom,
  device_error,
  full,
  drop,
  duplicate,
  reorder,
  corrupt,
  truncate,
  old_epoch,
  illegal_address,
  stuck_kernel,
  stuck_device,
  stuck_copy,
  skip_collective,
  flip_bit,
  device_lost,
};

/// The error that an outcome means for an operation: resource_exhausted for oom and full, io_failed
/// for device_error, device_lost for device_lost, nothing for the rest.
[[nodiscard]] result<void> failure_of(failpoint_outcome outcome, std::string_view point);

/// Thrown by failpoint_action::throw_error.
class failpoint_error : public std::exception {
public:
  explicit failpoint_error(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
  std::string text_;
};

/// Longest wait of failpoint_action::wait.
inline constexpr std::chrono::seconds failpoint_wait_max{10};

/// Hits that are logged with their time; later ones are counted only.
inline constexpr std::size_t failpoint_hits_max = 1024;

/// One act of a rule.
struct failpoint_hit {
  std::int64_t at_ns = 0; // monotonic clock of the host
  std::uint32_t rule = 0; // in the order of arming, from 0
  std::uint32_t link = 0; // of that rule
  failpoint_action action = failpoint_action::throw_error;
  std::int32_t replica = -1; // the context of the hit
  std::int32_t rank = -1;
  std::int64_t step = -1;

  bool operator==(const failpoint_hit&) const = default;
};

/// The armed rules as words that processes may share. Zero-filled memory is an empty table.
struct failpoint_table {
  static constexpr std::size_t rule_words = 20;

  struct entry {
    std::atomic<std::uint32_t> version{0}; // 0: never used; odd: being written (F-3)
    std::atomic<std::uint32_t> hits{0};
    std::atomic<std::uint32_t> matches{0};
    std::atomic<std::uint32_t> hits_max{0}; // 0: as many as its links allow
    std::array<std::atomic<std::uint64_t>, failpoint_links_max> link_hits{}; // version << 32 | hits
    std::array<std::atomic<std::uint64_t>, rule_words> rule{};
  };

  /// A failpoint_hit; at_ns is written last, 0: not there (F-4).
  struct hit {
    std::atomic<std::int64_t> at_ns{0};
    std::atomic<std::int64_t> step{0};
    std::atomic<std::uint64_t> source{0}; // rule, link and action
    std::atomic<std::uint64_t> place{0};  // replica and rank
  };

  std::atomic<std::uint32_t> armed{0}; // entries [0, armed) are looked at
  std::atomic<std::uint32_t> logged{0};
  std::atomic<std::uint32_t> changes{0}; // of the armed rules; a futex: what hangs sleeps there
  std::array<entry, failpoint_rules_max> entries;
  std::array<hit, failpoint_hits_max> log;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// A rule and how often it acted.
struct armed_failpoint {
  failpoint_rule rule;
  std::uint32_t hits = 0;
};

/// The rules of one system. Owned by the system object, handed down by reference. Thread-safe; one
/// process at a time arms and clears.
class failpoints {
public:
  using kill_hook = std::function<void()>;

  failpoints() : own_(std::make_unique<failpoint_table>()), table_(own_.get()) {}

  /// Over a table in memory of others, which outlives this.
  explicit failpoints(failpoint_table& shared) : table_(&shared) {}

  /// Errors: invalid_argument (the name or the chain is too long), resource_exhausted (the table is
  /// full).
  [[nodiscard]] result<void> arm(const failpoint_rule& rule);
  /// Puts `rule` in the place of rule `index`, whose counts go on: as long as its links act. Error:
  /// invalid_argument (no such rule, or as arm()).
  [[nodiscard]] result<void> rearm(std::size_t index, const failpoint_rule& rule);
  /// Rule `index` acts so many times in all, whatever takes its place meanwhile; 0: no bound. No such rule: nothing happens.
  void limit(std::size_t index, std::uint32_t hits_max);
  /// Disarms all rules and forgets their hits. What hangs goes on.
  void clear();

  /// How often each armed rule acted, in the order of arming.
  [[nodiscard]] std::vector<std::uint32_t> hits() const;
  /// The armed rules with their counts, in the order of arming.
  [[nodiscard]] std::vector<armed_failpoint> list() const;
  /// The first failpoint_hits_max hits of all processes, by time.
  [[nodiscard]] std::vector<failpoint_hit> log() const;

  /// Called by VDIST_FAILPOINT. `kill` is what kill_actor means for the caller.
  failpoint_outcome
  reach(std::string_view point, const failpoint_context& context, const kill_hook& kill = {});

  /// Counts and logs an act of rule `index` that its owner carries out itself (F-4).
  void note_hit(std::size_t index, failpoint_action action, const failpoint_context& context);

  [[nodiscard]] bool is_armed() const noexcept {
    return table_->armed.load(std::memory_order_relaxed) != 0;
  }

private:
  std::unique_ptr<failpoint_table> own_; // null over shared memory
  failpoint_table* table_;
  mutable std::mutex mutex_; // of arm() and clear()
};

} // namespace vdist

/// `points` is a failpoints&; the rest goes to reach(). For points whose actions all act by
/// themselves.
#define VDIST_FAILPOINT(points, ...)                                                               \
  do {                                                                                             \
    if ((points).is_armed()) [[unlikely]] {                                                        \
      static_cast<void>((points).reach(__VA_ARGS__));                                              \
    }                                                                                              \
  } while (false)
