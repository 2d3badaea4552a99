// model/exec/step_runner.hpp — what a worker drives: one rank's share of the model on one device.
// Implementations: model_runner (real maths on a kernels::backend) and sim_runner (a hash instead of maths). The worker
// does not know which. Not thread-safe: one worker thread owns it. Memory that must outlive the worker is in the vault.
//
// E-1 execute() computes the plan exactly: its result is a function of the plans since the last start_epoch() and the KV
//     content, nothing else. E-2 start_epoch() forgets all slots; KV content stays. E-3 execute() allocates nothing once
//     the largest shapes have been seen. E-4 after an error of execute() the runner waits for start_epoch().
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <functional>

namespace vdist::exec {

/// Called from the loading thread while weights are read: bytes done, bytes in total of this rank.
using load_progress = std::function<void(std::uint64_t, std::uint64_t)>;

class step_runner {
public:
  virtual ~step_runner() = default;

  /// Maps the rank's regions of the vault and fills the weights unless an earlier incarnation did.
  [[nodiscard]] virtual result<void> load(const load_progress& progress) = 0;

  /// First call after load() and after every recovery; also resets the rank's communicators to this
  /// epoch.
  [[nodiscard]] virtual result<void> start_epoch(epoch now) = 0;

  /// Runs one step. The plan has been validated. Fills `out` (cleared first) except rank and
  /// compute_us. Errors: aborted (fenced), timed_out (a peer is late), others are this rank's own
  /// failure.
  [[nodiscard]] virtual result<void> execute(const protocol::step_plan& plan,
                                             protocol::step_result& out) = 0;
};

} // namespace vdist::exec
