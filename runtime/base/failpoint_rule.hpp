// runtime/base/failpoint_rule.hpp — what may be armed, and where: actions, rules, and the table of all points.
//
// A rule is a chain of links, each `[p%][n*]action(arg)`, joined by `->`. At every match the first link acts that is due:
// with a chance of p percent (100 when it names none), and n times at most. So `50%2*delay(20)->kill9` delays half of the
// hits, twice at most, and ends the process at the others.
// Why one table of points: a script that names a place which no code reaches would prove nothing.
// Plain data and pure functions; thread-safe.
#pragma once

#include "runtime/base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist {

/// What a link does when it is due; meaning_of() has the sentences. Everything from oom on is left to the code at the point:
/// reach() returns it as its outcome.
enum class failpoint_action : std::uint8_t {
  throw_error,
  kill_actor,
  delay,
  exit,
  kill9,
  stop,
  segv,
  slow,
  hang,
  wait, // failpoint_wait_max at most
  oom,
  device_error,
  full,
  drop,
  duplicate,
  reorder,
  corrupt,
  truncate,
  old_epoch,
  // What a broken device does; a worker without one does the nearest (exec::step_runner::disturb).
  illegal_address,
  stuck_kernel,
  stuck_device,
  stuck_copy,
  skip_collective,
  flip_bit,
  device_lost,
};
inline constexpr std::size_t failpoint_actions = 26;

/// As scripts write it: "throw", "kill9", "dup", "cuda_error", "stuck_kernel".
[[nodiscard]] std::string_view to_string(failpoint_action action) noexcept;
/// What it does, for people: a sentence without its end.
[[nodiscard]] std::string_view meaning_of(failpoint_action action) noexcept;
/// nullopt: no such action.
[[nodiscard]] std::optional<failpoint_action> action_of(std::string_view word) noexcept;

/// The argument of an action: what it is called, and its legal range; an empty name: it has none.
struct failpoint_argument {
  std::string_view name;
  std::int64_t least = 0;
  std::int64_t most = 0;
};

[[nodiscard]] failpoint_argument argument_of(failpoint_action action) noexcept;

/// Whether the action ends or holds a whole process. With workers as threads that is the program
/// itself, and nobody is left to recover.
[[nodiscard]] bool needs_process(failpoint_action action) noexcept;

/// Chances are in ten thousandths.
inline constexpr std::uint16_t failpoint_certain = 10000;

/// One `[p%][n*]action(arg)`.
struct failpoint_link {
  failpoint_action action = failpoint_action::throw_error;
  std::int64_t argument = 0;
  std::uint32_t count = 1; // how often it acts; 0: without end
  std::uint16_t chance = failpoint_certain;

  bool operator==(const failpoint_link&) const = default;
};

/// One armed rule. Unset fields match anything. `action` to `chance` are its first link.
struct failpoint_rule {
  std::string point;
  std::optional<std::int32_t> replica;
  std::optional<std::int32_t> stage;
  std::optional<std::int32_t> rank;
  std::optional<std::int64_t> step; // acts at the first hit whose step is not below this
  failpoint_action action = failpoint_action::throw_error;
  std::int64_t argument = 0;
  std::uint32_t count = 1;
  std::uint16_t chance = failpoint_certain;
  std::optional<std::uint64_t> request; // acts only where this request is in the batch
  std::uint32_t nth = 1;                // the matches before this one do not count
  std::uint64_t seed = 0;               // chances are a function of it and the number of the match
  std::vector<failpoint_link> next;     // the links behind the first

  bool operator==(const failpoint_rule&) const = default;
};

/// Rules that may be armed at the same time, links of one, and characters of a point's name.
inline constexpr std::size_t failpoint_rules_max = 64;
inline constexpr std::size_t failpoint_links_max = 4;
inline constexpr std::size_t failpoint_name_max = 47;

/// All links, the first one included.
[[nodiscard]] std::vector<failpoint_link> links_of(const failpoint_rule& rule);

/// "50%3*delay(20)->kill9"; a link that acts once is written without its count.
[[nodiscard]] std::string action_text(const failpoint_rule& rule);
/// "worker.step_begin rank=1 step=40 kill9", which config::parse_fault_rule() reads.
[[nodiscard]] std::string to_string(const failpoint_rule& rule);

/// A set of actions.
class failpoint_actions_set {
public:
  constexpr failpoint_actions_set(std::initializer_list<failpoint_action> actions) {
    for (const auto action : actions) {
      bits_ |= 1U << static_cast<unsigned>(action);
    }
  }

  /// All of both.
  [[nodiscard]] friend constexpr failpoint_actions_set operator|(failpoint_actions_set left,
                                                                 failpoint_actions_set right) {
    left.bits_ |= right.bits_;
    return left;
  }

  [[nodiscard]] constexpr bool has(failpoint_action action) const {
    return (bits_ >> static_cast<unsigned>(action) & 1U) != 0;
  }

private:
  std::uint32_t bits_ = 0;
};

/// A place in the code that VDIST_FAILPOINT or a tampered ring names.
struct failpoint_place {
  std::string_view name;
  failpoint_actions_set actions; // that mean something there
  std::string_view where;        // for people
};

/// Every legal point, in alphabetical order.
[[nodiscard]] std::span<const failpoint_place> failpoint_places() noexcept;
/// nullptr: no such point.
[[nodiscard]] const failpoint_place* find_failpoint(std::string_view name) noexcept;

} // namespace vdist
