// tests/fault/fault_workload.hpp — what the cases of test_fault share: the work that they disturb, the splits, and the
// comparison with an undisturbed run.
#pragma once

#include "tests/support/engine_driver.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vdist::testing {

inline constexpr failpoint_action kill = failpoint_action::kill_actor;
inline constexpr failpoint_action throws = failpoint_action::throw_error;

/// Greedy, sampled, penalised and n = 2; the longest prompt is computed in four chunks.
[[nodiscard]] std::vector<generate_request> requests();

struct layout {
  int tensor = 1;
  int pipeline = 1;
  int data = 1;

  [[nodiscard]] std::vector<std::string> overrides() const {
    return {"parallel.tensor=" + std::to_string(tensor),
            "parallel.pipeline=" + std::to_string(pipeline),
            "parallel.data=" + std::to_string(data),
            "scheduler.prefill_chunk=16"};
  }

  [[nodiscard]] std::int32_t ranks() const { return tensor * pipeline; }
};

[[nodiscard]] std::string name_of(const layout& place, const failpoint_rule& rule);

/// What one worker says when nothing happens; the split changes no token.
[[nodiscard]] const std::vector<heard>& undisturbed();

/// Runs the work twice with the rules armed: the second time shows that the engine is sound
/// afterwards.
engine_status check(const layout& place, const std::vector<failpoint_rule>& rules);

[[nodiscard]] failpoint_rule
worker_fault(const char* point, failpoint_action action, std::int32_t rank, std::int64_t step);

} // namespace vdist::testing
