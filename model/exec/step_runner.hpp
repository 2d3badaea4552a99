// model/exec/step_runner.hpp — what a worker drives: one rank's share of the model on one device.
// Implementations: model_runner (real maths on a kernels::backend) and sim_runner (a hash instead of maths). The worker
// does not know which. Not thread-safe: one worker thread owns it. Memory that must outlive the worker is in the vault.
//
// E-1 A step's result is a function of the plans since the last start_epoch() and the KV content, nothing else.
// E-2 start_epoch() forgets all slots and what was launched; KV content stays. E-3 launch() and finish() allocate nothing
//     once the largest shapes have been seen. E-4 after an error of either the runner waits for start_epoch().
// E-5 Steps finish in the order in which they were launched.
// E-6 rehearse() changes nothing that anybody else sees, and no later result.
// E-7 Where launch() has to wait for a device, because the host needs what it computes, or settle() for steps that were
//     launched, somebody may look meanwhile (observe_waits()): such a wait ends like any other of a device that hangs.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

namespace vdist::exec {

/// Called from the loading thread while weights are read: bytes done, bytes in total of this rank.
using load_progress = std::function<void(std::uint64_t, std::uint64_t)>;

/// What the device of a rank says while it waits for another rank, again and again.
struct device_wait {
  std::int32_t rank = -1; // global; waited for
  std::uint64_t beat =
      0; // another one whenever it is said anew; one that stays says that it does not wait
  std::string_view operation; // for messages
};

/// Of the tensor group, of the pipe from the previous stage, of the pipe to the next one.
using device_waits = std::array<device_wait, 3>;

/// Faults on purpose, as fault scripts name them.
enum class disturbance : std::uint8_t {
  illegal_address,
  stuck_kernel,
  stuck_device,
  stuck_copy,
  skip_collective,
  flip_bit
};

/// Hears of launch(), finish() and settle() while they wait for the device; on their thread.
class wait_observer {
public:
  virtual ~wait_observer() = default;

  /// The device has not come so far in `step`, and has done all before it; again and again. An error ends the wait, and the
  /// call with it, if the device has still not come so far; `aborted` does in any case.
  [[nodiscard]] virtual result<void> look(std::uint64_t step) = 0;

  /// It has, and the host goes on; behind every wait, a short one too.
  virtual void go_on(std::uint64_t step) = 0;
};

class step_runner {
public:
  virtual ~step_runner() = default;

  /// Maps the rank's regions of the vault and fills the weights unless an earlier incarnation did.
  [[nodiscard]] virtual result<void> load(const load_progress& progress) = 0;

  /// Does beforehand what makes a first step slow: between load() and the first start_epoch(), on the thread that will
  /// step, as soon as the other ranks of the replica have loaded. Talks to nobody and writes no KV. Takes tenths of a
  /// second on a device, nothing elsewhere. After an error the runner is of no use.
  [[nodiscard]] virtual result<void> rehearse() { return {}; }

  /// The epoch is over: waits until the device has left what was launched in it. Where it waits for others in it, it is told
  /// to leave them. Behind load(); only start_epoch() follows. Error: device_failed, device_lost.
  [[nodiscard]] virtual result<void> settle() { return {}; }

  /// First call after load() and after every recovery; also resets the rank's communicators to this
  /// epoch.
  [[nodiscard]] virtual result<void> start_epoch(epoch now) = 0;

  /// Steps that may have been launched and not finished: above 1 on a device that works behind the host's back.
  [[nodiscard]] virtual std::int32_t flights_max() const noexcept { return 1; }

  /// Starts one step; the plan has been validated and is not needed afterwards. Errors: aborted (fenced), timed_out (a
  /// peer is late), others are this rank's own failure.
  [[nodiscard]] virtual result<void> launch(const protocol::step_plan& plan) = 0;

  /// Whether finish() would return at once.
  [[nodiscard]] virtual bool is_ready() noexcept { return true; }

  /// Waits for the oldest launched step and fills `out` (cleared first) except rank and compute_us. Errors as launch().
  [[nodiscard]] virtual result<void> finish(protocol::step_result& out) = 0;

  /// E-7. Behind load(); until the runner ends. Borrowed; null: nobody looks.
  virtual void observe_waits(wait_observer* /*by*/) {}

  /// For whom the device waits, if meetings are part of what it runs; a few reads of memory. Where the host waits: nothing.
  [[nodiscard]] virtual device_waits waits() const noexcept { return {}; }

  /// The next step meets this fault. Error: unsupported, when there is nothing like it here.
  [[nodiscard]] virtual result<void> disturb(disturbance /*what*/) {
    return fail(errc::unsupported, "disturb: no such fault on this device");
  }

  /// One step from beginning to end. After an error `out` says so too.
  [[nodiscard]] result<void> execute(const protocol::step_plan& plan, protocol::step_result& out) {
    auto done = launch(plan);
    if (done) {
      done = finish(out);
    }
    if (!done) {
      out.clear();
      out.step = plan.step;
      out.epoch = plan.epoch;
      out.status = static_cast<std::int16_t>(done.error().code);
      out.message = done.error().context;
    }
    return done;
  }
};

} // namespace vdist::exec
