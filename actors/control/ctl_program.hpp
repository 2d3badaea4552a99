// actors/control/ctl_program.hpp — what vdist-ctl does: finds a cluster, asks it, draws the answer.
// Exit codes: 0 done, or the watched cluster has ended; 2 arguments, or it is not clear which cluster is meant; 3 no such
// cluster; 4 it did not answer, or a part was not replaced in time; 130 a restart was interrupted.
#pragma once

#include <functional>
#include <string_view>

namespace vdist::control {

/// Where results go. False: they cannot be written.
struct ctl_output {
  std::function<bool(std::string_view text)> write;
  bool is_terminal = false;
};

/// Blocks SIGINT and SIGTERM: while it watches, they are the way to end it.
[[nodiscard]] int run_ctl(int argc, const char* const* argv, const ctl_output& output);

} // namespace vdist::control
