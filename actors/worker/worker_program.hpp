// actors/worker/worker_program.hpp — what a worker process does: takes its order, maps the vault, and lets a worker_thread
// load and step while the main thread obeys the control process. No actors, no configuration.
// A spare does the same in two parts: with an order that has no incarnation it maps, loads and rehearses (L-14 of
// worker_thread.hpp), talks to nobody and waits; promoted, it opens its link and obeys.
// S-1 A spare only attaches: it fills no weights, makes no KV cache, and joins no epoch. What is not there ends it.
// S-2 It becomes a worker of the order that it is prepared for and of no other; it need not be ready by then. What it could
//     not prepare it does as any worker when it is told to load; before that, failing ends it.
// S-3 The replica's words that it has mapped are those of now, or it ends: nobody would hear it.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/result.hpp"

#include "host/board.hpp"

namespace vdist::actors {

/// With it ends a process whose device failed (L-15 of worker_thread.hpp).
inline constexpr int exit_device_failed = 76;

/// What the process inherited.
struct worker_inheritance {
  socket::unique_fd order;            // file with a protocol::worker_order
  socket::unique_fd vault;            // connection to the vault
  socket::unique_fd store;            // the host store; none without one
  host::board_words* board = nullptr; // of the host, for ever
  host::life_entry* life = nullptr;   // its entry there, which the process holds
};

/// Works until the process is killed. Returns only with the reason why it cannot go on.
[[nodiscard]] error run_worker(worker_inheritance given);

/// The same for a spare: waits at `link` until somebody needs it, generic or prepared. `order` and `vault` of `given` come
/// from there.
[[nodiscard]] error run_spare(worker_inheritance given, socket::unique_fd link);

} // namespace vdist::actors
