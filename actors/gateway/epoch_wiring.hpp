// actors/gateway/epoch_wiring.hpp — the channels of one replica in one epoch: a broadcast ring per
// stage for plans, a ring per worker for results. Made anew for every epoch, so nothing of a past
// epoch can be read in the next one; readers are attached before anybody writes, so nothing is
// missed. Workers and step lane hold it by shared_ptr (owners: the lanes of one epoch); whoever
// comes last frees it. The rings are those of one process (transport/local).
#pragma once

#include "transport/frame/channel.hpp"
#include "transport/frame/fence.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/local/local_ring.hpp"

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace vdist::actors {

/// What stays the same over all epochs of a replica.
struct wiring_config {
  std::uint64_t cluster = 0;
  std::int32_t replica = 0;
  std::int32_t first_rank = 0;             // global rank of slot 0
  std::vector<std::int32_t> stage_of_slot; // slots of a stage are neighbours
  std::size_t plan_slot_bytes = std::size_t{64} << 10U;
  std::size_t result_slot_bytes = std::size_t{16} << 10U;
  std::uint32_t ring_slots = 8;
  const frame::fence* stop = nullptr; // borrowed from the replica
};

struct epoch_wiring {
  epoch now;
  std::vector<std::unique_ptr<local::local_ring>> plan_rings;   // by stage
  std::vector<std::unique_ptr<local::local_ring>> result_rings; // by slot
  std::vector<std::unique_ptr<frame::frame_reader>>
      plan_readers; // by slot; used by that worker only
  std::vector<std::unique_ptr<frame::frame_reader>>
      result_readers; // by slot; used by the step lane only
};

/// `incarnations` by slot: only frames of these are believed.
[[nodiscard]] result<std::shared_ptr<epoch_wiring>>
make_wiring(const wiring_config& config,
            epoch now,
            const std::vector<std::uint32_t>& incarnations,
            const frame::wait_policy& waits);

} // namespace vdist::actors
