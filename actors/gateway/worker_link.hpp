// actors/gateway/worker_link.hpp — the rings between the control process and one incarnation of a
// worker process: commands down, events up (runtime/protocol/worker.hpp). They lie in a region of the
// vault of their own, so a dead incarnation's late bytes reach nobody.
#pragma once

#include "actors/gateway/regions.hpp"

#include "transport/frame/channel.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/worker.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vdist::actors {

/// Which incarnation of which worker.
struct worker_identity {
  std::uint64_t cluster = 0;
  std::int32_t replica = 0;
  rank_id rank; // global
  incarnation worker;
  std::int32_t slot = -1;       // within the replica; for failpoints
  failpoints* points = nullptr; // channel.commands, channel.events; may be null, outlives the ends
};

/// The control side: one thread at a time sends, another reads.
struct control_end {
  std::unique_ptr<frame::frame_writer> commands;
  std::unique_ptr<frame::frame_reader> events;
};

/// The worker's side.
struct worker_end {
  std::unique_ptr<frame::frame_reader> commands;
  std::unique_ptr<frame::frame_writer> events;
};

/// Makes the region and opens the control side's ends. `bell` (borrowed) rings after every event.
[[nodiscard]] result<control_end> make_worker_link(const worker_identity& who,
                                                   vault::vault& memory,
                                                   frame::bell& bell,
                                                   const frame::wait_policy& waits);

/// The same of a link that a predecessor of this process made: the worker goes on obeying, and what it has said so far is
/// lost (it is asked again). Errors: corrupt (there is no such link).
[[nodiscard]] result<control_end> reopen_worker_link(const worker_identity& who,
                                                     vault::vault& memory,
                                                     frame::bell& bell,
                                                     const frame::wait_policy& waits);

[[nodiscard]] result<worker_end> open_worker_link(const worker_identity& who,
                                                  vault::vault& memory,
                                                  frame::bell& bell,
                                                  const frame::wait_policy& waits);

/// Header of a command or an event.
[[nodiscard]] frame::envelope link_header(const worker_identity& who, std::uint16_t kind);

} // namespace vdist::actors
