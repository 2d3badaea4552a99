#include "runtime/base/failpoint_rule.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace vdist {

namespace {

using act = failpoint_action;

struct action_facts {
  std::string_view name;
  failpoint_argument argument;
  bool needs_process;
  std::string_view meaning;
};

constexpr std::int64_t ms_max = 3'600'000; // an hour

/// By action.
constexpr std::array<action_facts, failpoint_actions> facts{{
    {"throw", {}, false, "throws, as a defect inside the component does"},
    {"kill_actor", {}, false, "the actor dies as if an operator had killed it"},
    {"delay", {"ms", 0, ms_max}, false, "sleeps so long"},
    {"exit", {"code", 0, 255}, true, "the process exits with this status"},
    {"kill9", {}, true, "SIGKILL: the process is gone and nothing is cleaned up"},
    {"stop", {"ms", 1, ms_max}, true, "SIGSTOP: the process stands still so long, and goes on"},
    {"segv", {}, true, "SIGSEGV in the process"},
    {"slow", {"factor", 2, 1000}, false, "takes so many times as long as the work before it took"},
    {"hang", {}, true, "does not return until the process ends or the rules are cleared"},
    {"wait",
     {"fault", 1, failpoint_rules_max},
     false,
     "waits until the rule of this number, from 1, has struck"},
    {"oom", {}, false, "an allocation fails"},
    {"cuda_error", {}, false, "the device reports an error"},
    {"full", {}, false, "a disk or a ring has no room"},
    {"drop", {}, false, "the message is lost"},
    {"dup", {}, false, "the message comes twice"},
    {"reorder", {}, false, "the message comes after the one behind it"},
    {"corrupt", {}, false, "a bit of the message is flipped"},
    {"truncate", {}, false, "the end of the message is missing"},
    {"old_epoch", {}, false, "the message bears the epoch before"},
    {"illegal_address",
     {},
     true,
     "a kernel stores where nothing is mapped: the device breaks off all work of the process"},
    {"stuck_kernel", {}, true, "a kernel of one block never ends"},
    {"stuck_device", {}, true, "a kernel never ends and leaves no room for others"},
    {"stuck_copy", {}, true, "a copy never begins, and no kernel runs"},
    {"skip_collective", {}, false, "the worker leaves out the next meeting with its peers"},
    {"flip_bit", {}, false, "a bit of what the step computes is another one, and nobody says so"},
    {"device_lost", {}, false, "the device reports that it must not be used any more"},
}};

const action_facts& facts_of(act action) noexcept {
  return facts[static_cast<std::size_t>(action)];
}

using set = failpoint_actions_set;

constexpr set ends_process{act::exit, act::kill9, act::segv};
/// In the middle of a write to memory that others read: its writer ends there, or is slow.
constexpr set of_write = ends_process | set{act::delay, act::stop};
constexpr set of_event = of_write | set{act::hang};
constexpr set of_spawn = of_write | set{act::oom};
constexpr set of_vault = of_event | set{act::oom};
constexpr set of_process = ends_process | set{act::delay};
constexpr set of_file = of_process | set{act::full};
/// Its mailbox is lost with it.
constexpr set of_actor = of_event | set{act::throw_error, act::kill_actor, act::wait};
constexpr set of_worker = of_actor | set{act::oom, act::device_error, act::device_lost};
constexpr set of_worker_that_computes = of_worker
                                        | set{act::illegal_address,
                                              act::stuck_kernel,
                                              act::stuck_device,
                                              act::stuck_copy,
                                              act::skip_collective,
                                              act::flip_bit};
constexpr set of_worker_that_worked = of_worker | set{act::slow};
/// It has no actor yet.
constexpr set of_spare = of_event | set{act::throw_error, act::wait, act::oom, act::device_error};
constexpr set of_channel{act::delay,
                         act::full,
                         act::drop,
                         act::duplicate,
                         act::reorder,
                         act::corrupt,
                         act::truncate,
                         act::old_epoch};

constexpr std::array<failpoint_place, 26> places{{
    {"batch.write", of_file, "before a result line is written"},
    {"channel.commands", of_channel, "a command to a worker process"},
    {"channel.events", of_channel, "an event of a worker process"},
    {"channel.plans", of_channel, "a plan to the workers of a stage"},
    {"channel.results", of_channel, "a worker's answer to a plan"},
    {"cluster.reduce", of_process, "before each of the three steps to fewer workers"},
    {"executor.before_send", of_actor, "the step lane, before it sends a plan"},
    {"gateway.event", of_event, "the control process, before an event of a worker is handed on"},
    {"host.spawn", of_spawn, "the control process, before it asks for a worker process"},
    {"ledger.accept", of_write, "the ledger, between the words of a request and their publication"},
    {"ledger.commit", of_write, "the ledger, between the tokens of a step and their publication"},
    {"router.submit", of_actor, "the router, between the ledger and its table"},
    {"router.tokens", of_actor, "the router, before it delivers a step's tokens"},
    {"scheduler.add", of_actor, "a scheduler actor that has a request"},
    {"slot.commands", of_write, "a command that is half in its slot"},
    {"slot.events", of_write, "an event that is half in its slot"},
    {"slot.plans", of_write, "a plan that is half in its slot"},
    {"slot.results", of_write, "an answer that is half in its slot"},
    {"stage.event", of_actor, "a stage that hears of a worker"},
    {"supervisor.event", of_actor, "a supervisor that hears of a worker"},
    {"vault.map", of_vault, "the vault, before it makes or finds a region"},
    {"vault.take_over", of_vault, "a vault that has been given what the one before it had"},
    {"worker.load", of_worker, "a worker, before it maps or loads the weights"},
    {"worker.prepare", of_spare, "a spare worker, before it prepares for its rank"},
    {"worker.step_begin", of_worker_that_computes, "a worker that has a plan, before it computes"},
    {"worker.step_end", of_worker_that_worked, "a worker that has computed, before it answers"},
}};

std::string link_text(const failpoint_link& link) {
  std::string text;
  if (link.chance != failpoint_certain) {
    const unsigned whole = link.chance / 100U;
    const unsigned part = link.chance % 100U;
    text += part == 0 ? fmt::format("{}%", whole) : fmt::format("{}.{:02}%", whole, part);
  }
  if (link.count != 1) {
    text += fmt::format("{}*", link.count);
  }
  text += to_string(link.action);
  if (!argument_of(link.action).name.empty()) {
    text += fmt::format("({})", link.argument);
  }
  return text;
}

} // namespace

std::string_view to_string(failpoint_action action) noexcept {
  return facts_of(action).name;
}

std::string_view meaning_of(failpoint_action action) noexcept {
  return facts_of(action).meaning;
}

std::optional<failpoint_action> action_of(std::string_view word) noexcept {
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (facts[i].name == word) {
      return static_cast<failpoint_action>(i);
    }
  }
  return std::nullopt;
}

failpoint_argument argument_of(failpoint_action action) noexcept {
  return facts_of(action).argument;
}

bool needs_process(failpoint_action action) noexcept {
  return facts_of(action).needs_process;
}

std::vector<failpoint_link> links_of(const failpoint_rule& rule) {
  std::vector<failpoint_link> links{{.action = rule.action,
                                     .argument = rule.argument,
                                     .count = rule.count,
                                     .chance = rule.chance}};
  links.insert(links.end(), rule.next.begin(), rule.next.end());
  return links;
}

std::string action_text(const failpoint_rule& rule) {
  std::string text;
  for (const auto& link : links_of(rule)) {
    text += (text.empty() ? "" : "->") + link_text(link);
  }
  return text;
}

std::string to_string(const failpoint_rule& rule) {
  std::string text = rule.point;
  const auto add = [&text](std::string_view key, const auto& value) {
    if (value) {
      text += fmt::format(" {}={}", key, *value);
    }
  };
  add("replica", rule.replica);
  add("stage", rule.stage);
  add("rank", rule.rank);
  add("step", rule.step);
  add("request", rule.request);
  add("nth", rule.nth == 1 ? std::nullopt : std::optional(rule.nth));
  return text + " " + action_text(rule);
}

std::span<const failpoint_place> failpoint_places() noexcept {
  return places;
}

const failpoint_place* find_failpoint(std::string_view name) noexcept {
  const auto found = std::find_if(
      places.begin(), places.end(), [name](const auto& place) { return place.name == name; });
  return found == places.end() ? nullptr : &*found;
}

} // namespace vdist
