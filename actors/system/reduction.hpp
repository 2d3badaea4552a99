// actors/system/reduction.hpp — when a worker cannot come back and no other replica is left, the cluster goes on with fewer
// workers: the next smaller shape that fits into memory (topology/smaller.hpp).
//
//   the last replica is given up ─▶ plan_reduction ─▶ a new vault is asked for ─▶ the reduction is written to the board
//     ─▶ this process ends (host::exit_restart) ─▶ vdist-run ends workers and vault, and starts vault and node again
//     ─▶ the new node reads the board, and sets the sizes as `--set` would ─▶ requests go on from the ledger
//
// Only a child of vdist-run does that: a process that embeds the engine cannot be started again, and threads share their
// process, memory and devices with whoever failed, so that fewer of them would not be safer. There a replica is given up.
// Z-1 A reduction is whole or not there: it is written beside the one before, and counted when it is written.
// Z-2 The vault is asked for first. Whoever dies in between is followed by a cluster of the same sizes over empty memory,
//     which loses the same worker again; never by one of other sizes over old memory.
// Z-3 Each reduction has fewer workers than the one before (T-4). The last one is one worker per replica.
// Z-4 A cluster that never ran is not reduced: what it was configured with does not work here, and the start says why.
// Z-5 What the board says is no larger than what is configured, whoever wrote it.
#pragma once

#include "actors/gateway/board_areas.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vdist::actors {

struct model_setup;

/// What a cluster goes on with, and why.
struct reduction {
  std::int32_t pipeline = 1;
  std::int32_t tensor = 1;
  std::int32_t configured = 1; // workers that a replica had at first
  bool keeps_sums =
      true;           // streams go on with the tokens that the configured sizes would have given
  time_point since{}; // when the worker was given up
  std::vector<std::int32_t> retired; // GPUs that are not used any more, rising
  std::string reason;                // what was given up

  bool operator==(const reduction&) const = default;
};

/// Whether an epoch ever began in this run (Z-4).
[[nodiscard]] bool has_run(const run_words& run);

/// The newest one; nullopt: the cluster has the configured sizes.
[[nodiscard]] std::optional<reduction> read_reduction(const run_words& run);

/// Z-1. What is too long is cut. By one process at a time.
void write_reduction(run_words& run, const reduction& made);

/// The settings that make it: "parallel.tensor=1", … Z-5: at most what `configured` says.
[[nodiscard]] std::vector<std::string> overrides_of(const reduction& made,
                                                    const config::cluster_config& configured);

/// Takes devices out of the list of this host. `count`: how many it has where the configuration lists none. Error:
/// resource_exhausted (none would be left).
[[nodiscard]] result<void> retire_devices(config::cluster_config& config,
                                          std::span<const std::int32_t> devices,
                                          std::int32_t count);

/// The next shape that fits when the workers of these ranks cannot come back; `lost` may be empty. `since` and `reason` are the
/// caller's. Asks no device and reads no file. Error: resource_exhausted, with what the best shape lacks.
[[nodiscard]] result<reduction> plan_reduction(const model_setup& setup,
                                               std::span<const rank_id> lost);

} // namespace vdist::actors
