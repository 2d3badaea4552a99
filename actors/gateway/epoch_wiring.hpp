// actors/gateway/epoch_wiring.hpp — the channels of one replica in one epoch: a broadcast ring per
// stage for plans, a ring per worker for results. They lie in one region of the vault, made anew for
// every epoch, so nothing of a past epoch can be read in the next one. Control side and workers open
// their own ends; both compute where a ring lies from the same configuration. The places of all
// readers are taken before anybody writes, so nothing is missed by who opens late.
//
// E-1 The region of an epoch is released when the next epoch's is made; each end keeps it mapped
//     as long as it lives, so a late thread or process of the past writes where nobody reads.
// E-2 A worker keeps the channels of an epoch mapped by its ends alone: with them the last trace of the epoch goes, however
//     many epochs it survives.
#pragma once

#include "transport/frame/channel.hpp"
#include "transport/frame/fence.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/shm/shm_ring.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace vdist::actors {

/// What stays the same over all epochs of a replica; the same on both sides.
struct wiring_config {
  std::uint64_t cluster = 0;
  std::int32_t replica = 0;
  std::int32_t first_rank = 0;             // global rank of slot 0
  std::vector<std::int32_t> stage_of_slot; // slots of a stage are neighbours
  std::size_t plan_slot_bytes = std::size_t{64} << 10U;
  std::size_t result_slot_bytes = std::size_t{16} << 10U;
  std::uint32_t ring_slots = 8;
};

/// What an end is connected to; borrowed, outlives it.
struct wiring_links {
  vault::vault* memory = nullptr;
  const frame::fence* stop = nullptr; // of the replica
  failpoints* points = nullptr;       // channel.plans, channel.results; may be null
};

/// The control side's ends; used by the step lane only.
struct epoch_wiring {
  epoch now;
  std::vector<std::unique_ptr<frame::frame_writer>> plans;   // by stage
  std::vector<std::unique_ptr<frame::frame_reader>> results; // by slot
  std::uint64_t kv_content = 0; // names the KV memory of all workers (kv_table.hpp T-6)
};

/// One worker's ends; used by its lane only.
struct worker_wiring {
  std::unique_ptr<frame::frame_reader> plans;
  std::unique_ptr<frame::frame_writer> results;
};

/// Makes the channels of `now`; `incarnations` by slot: only frames of these are believed.
/// `previous`, if above 0, is the epoch whose channels end now, if they have not ended already.
[[nodiscard]] result<std::shared_ptr<epoch_wiring>>
make_wiring(const wiring_config& config,
            epoch now,
            epoch previous,
            const std::vector<std::uint32_t>& incarnations,
            const wiring_links& links,
            const frame::wait_policy& waits);

/// Opens the ends of one worker. Error: stale, when the epoch is over already.
[[nodiscard]] result<worker_wiring> open_worker_wiring(const wiring_config& config,
                                                       epoch now,
                                                       std::int32_t slot,
                                                       const wiring_links& links,
                                                       const frame::wait_policy& waits);

} // namespace vdist::actors
