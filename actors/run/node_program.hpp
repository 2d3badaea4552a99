// actors/run/node_program.hpp — what the control process does: the actors of the cluster and the front door, for
// one prompt or a file of requests. Workers are threads of it, or processes of the supervisor that started it.
#pragma once

#include "host/board.hpp"

namespace vdist::actors {

/// Parses the command line of vdist-run and does what it says; returns the exit code. `board`: of vdist-run, whose child
/// this is; null: there is none. It stays mapped.
[[nodiscard]] int run_node(int argc, const char* const* argv, host::board_words* board = nullptr);

} // namespace vdist::actors
