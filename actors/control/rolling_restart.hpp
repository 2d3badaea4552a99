// actors/control/rolling_restart.hpp — planned replacement of a worker, a replica, the node or all of them, one part after
// the other, while the cluster works: what `vdist-ctl restart` does.
//
// R-1 One part at a time; the next one only when the cluster says that the one before is replaced and works.
// R-2 It is driven from here and the cluster keeps nothing of it but a claim that lapses (restart_order): however this ends,
//     the cluster is whole, with some parts replaced. What is under way then comes to its end by itself.
// R-3 An order that was not answered is given again: it names what is to be left behind, so nothing is replaced twice for
//     it, and a part that was replaced after a fault meanwhile counts.
// R-4 Every part has a deadline. What the cluster refuses ends the whole.
// R-5 With `drains`, the requests of a replica end before its workers do, and it takes new ones again afterwards, also when
//     this fails or is interrupted. One that drained before stays as it is.
// No sockets, no signals: who calls has them.
#pragma once

#include "actors/control/cluster_status.hpp"
#include "actors/control/protocol.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::control {

struct rolling_settings {
  std::string target; // worker <rank>, replica <number>, node, all
  bool drains = false;
  duration part_deadline = std::chrono::seconds(60);
  duration look_interval = std::chrono::milliseconds(10);
  std::uint64_t claim = 0; // drawn by the caller; never 0
};

/// Borrowed for the run.
struct rolling_links {
  /// One request, one reply. `not_found`, `closed` and `timed_out` are asked again.
  std::function<result<std::string>(const control_request& request)> ask;
  /// Waits that long; true: it is to end early.
  std::function<bool(duration)> rest;
  /// A line for people, with its '\n'. False: it cannot be written.
  std::function<bool(std::string_view line)> write;
  const clock* time = nullptr;
};

/// One part and what is done to it.
struct rolling_step {
  enum class kind : std::uint8_t { replace, drain, resume };
  kind what = kind::replace;
  restart_order order;      // of replace
  std::int32_t replica = 0; // of drain and resume

  bool operator==(const rolling_step&) const = default;
};

/// What the target means for this cluster, in order. Errors: invalid_argument (no such part), unsupported (the vault).
[[nodiscard]] result<std::vector<rolling_step>> plan_rolling(const rolling_settings& settings,
                                                             const cluster_status& now);

/// All of it, with a line for every part that was done. Errors: those of plan_rolling() and of the cluster, timed_out,
/// cancelled (it was to end early; says what was not done).
[[nodiscard]] result<void> run_rolling(const rolling_settings& settings,
                                       const rolling_links& links);

} // namespace vdist::control
