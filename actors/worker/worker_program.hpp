// actors/worker/worker_program.hpp — what a worker process does: takes its order, maps the vault, and lets a worker_thread
// load and step while the main thread obeys the control process. No actors, no configuration.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/result.hpp"

#include "host/board.hpp"

namespace vdist::actors {

/// What the process inherited.
struct worker_inheritance {
  socket::unique_fd order;            // file with a protocol::worker_order
  socket::unique_fd vault;            // connection to the vault
  host::board_words* board = nullptr; // of the host, for ever
  host::life_entry* life = nullptr;   // its entry there, which the process holds
};

/// Works until the process is killed. Returns only with the reason why it cannot go on.
[[nodiscard]] error run_worker(worker_inheritance given);

} // namespace vdist::actors
