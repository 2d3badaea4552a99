#include "runtime/base/failpoint.hpp"

#include <chrono>
#include <thread>
#include <unistd.h>

namespace vdist {

namespace {

bool matches(const failpoint_rule& rule, std::string_view point, const failpoint_context& at) {
  return rule.point == point && (!rule.replica || *rule.replica == at.replica)
         && (!rule.stage || *rule.stage == at.stage) && (!rule.rank || *rule.rank == at.rank)
         && (!rule.step || at.step >= *rule.step);
}

void act(const failpoint_rule& rule, const failpoints::kill_hook& kill) {
  switch (rule.action) {
  case failpoint_action::throw_error:
    throw failpoint_error("failpoint " + rule.point);
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
  }
}

} // namespace

void failpoints::arm(failpoint_rule rule) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({std::move(rule), 0});
  is_armed_.store(true, std::memory_order_relaxed);
}

void failpoints::clear() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
  is_armed_.store(false, std::memory_order_relaxed);
}

std::vector<std::uint32_t> failpoints::hits() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t> counts;
  counts.reserve(rules_.size());
  for (const auto& armed : rules_) {
    counts.push_back(armed.hits);
  }
  return counts;
}

void failpoints::reach(std::string_view point,
                       const failpoint_context& context,
                       const kill_hook& kill) {
  std::optional<failpoint_rule> due;
  {
    const std::lock_guard lock(mutex_);
    for (auto& armed : rules_) {
      const bool is_spent = armed.rule.count != 0 && armed.hits >= armed.rule.count;
      if (!is_spent && matches(armed.rule, point, context)) {
        ++armed.hits;
        due = armed.rule;
        break;
      }
    }
  }
  if (due) {
    act(*due, kill);
  }
}

} // namespace vdist
