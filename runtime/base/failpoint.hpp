// runtime/base/failpoint.hpp — named places where a fault script may strike.
// VDIST_FAILPOINT(points, "worker.step_begin", {.rank = 1, .step = 40}) costs one relaxed load while
// nothing is armed. The armed rules are a table of fixed size that may lie in shared memory: then a
// rule that is armed in one process strikes in all of them, and its count holds over all of them and
// over every incarnation of a worker.
//
// F-1 a failpoint acts only when armed by a script or a control message. F-2 every hit of an armed
// rule is counted, so a rule that was never hit can fail its script. F-3 an entry is read under its
// version word: a reader sees a whole rule or none.
// Rules match on the point's name and on every field that the rule sets; a rule acts `count` times
// (0: always).
#pragma once

#include "runtime/base/result.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
};

/// What an armed rule does when hit.
enum class failpoint_action : std::uint8_t {
  throw_error, // throws failpoint_error: what a defect inside the component looks like
  kill_actor,  // the owner's kill hook runs: the actor dies as if an operator had killed it
  delay,       // sleeps `argument_ms`
  exit,        // _exit(argument)
  kill9,       // SIGKILL to the own process: nothing is cleaned up
};

/// One armed rule. Unset fields match anything.
struct failpoint_rule {
  std::string point;
  std::optional<std::int32_t> replica;
  std::optional<std::int32_t> stage;
  std::optional<std::int32_t> rank;
  std::optional<std::int64_t> step; // acts at the first hit whose step is not below this
  failpoint_action action = failpoint_action::throw_error;
  std::int64_t argument = 0; // delay: milliseconds; exit: exit code
  std::uint32_t count = 1;   // how often it acts; 0: without end
};

/// Thrown by failpoint_action::throw_error.
class failpoint_error : public std::exception {
public:
  explicit failpoint_error(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
  std::string text_;
};

/// Rules that may be armed at the same time, and characters of a point's name.
inline constexpr std::size_t failpoint_rules_max = 64;
inline constexpr std::size_t failpoint_name_max = 47;

/// The armed rules as words that processes may share. Zero-filled memory is an empty table.
struct failpoint_table {
  static constexpr std::size_t rule_words = 12;

  struct entry {
    std::atomic<std::uint32_t> version{0}; // 0: never used; odd: being written (F-3)
    std::atomic<std::uint32_t> hits{0};
    std::array<std::atomic<std::uint64_t>, rule_words> rule{};
  };

  std::atomic<std::uint32_t> armed{0}; // entries [0, armed) are looked at
  std::array<entry, failpoint_rules_max> entries;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// The rules of one system. Owned by the system object, handed down by reference. Thread-safe; one
/// process at a time arms and clears.
class failpoints {
public:
  using kill_hook = std::function<void()>;

  failpoints() : own_(std::make_unique<failpoint_table>()), table_(own_.get()) {}

  /// Over a table in memory of others, which outlives this.
  explicit failpoints(failpoint_table& shared) : table_(&shared) {}

  /// Errors: invalid_argument (the name is too long), resource_exhausted (the table is full).
  [[nodiscard]] result<void> arm(const failpoint_rule& rule);
  void clear();

  /// How often each armed rule acted, in the order of arming.
  [[nodiscard]] std::vector<std::uint32_t> hits() const;

  /// Called by VDIST_FAILPOINT. `kill` is what kill_actor means for the caller.
  void reach(std::string_view point, const failpoint_context& context, const kill_hook& kill = {});

  [[nodiscard]] bool is_armed() const noexcept {
    return table_->armed.load(std::memory_order_relaxed) != 0;
  }

private:
  std::unique_ptr<failpoint_table> own_; // null over shared memory
  failpoint_table* table_;
  std::mutex mutex_; // of arm() and clear()
};

} // namespace vdist

/// `points` is a failpoints&; the rest goes to reach().
#define VDIST_FAILPOINT(points, ...)                                                               \
  do {                                                                                             \
    if ((points).is_armed()) [[unlikely]] {                                                        \
      (points).reach(__VA_ARGS__);                                                                 \
    }                                                                                              \
  } while (false)
