// vdist-ctl — looks at a running cluster of this host and steers it: status, topology, ledger, drain, resume, restart,
// kill, faults. It knows no actors; it talks to the control socket of the cluster's control process.
#include "actors/control/ctl_program.hpp"

#include "runtime/base/result.hpp"

#include <csignal>
#include <cstdio>
#include <exception>
#include <unistd.h>

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN); // a closed stdout is an error of write(), not our death
  std::FILE* const out = stdout;
  try {
    return vdist::control::run_ctl(argc,
                                   argv,
                                   {.write =
                                        [out](std::string_view text) {
                                          return std::fwrite(text.data(), 1, text.size(), out)
                                                     == text.size()
                                                 && std::fflush(out) == 0;
                                        },
                                    .is_terminal = ::isatty(STDOUT_FILENO) == 1});
  } catch (const std::exception& cause) { // no memory, for example
    std::fprintf(stderr, "vdist-ctl: internal error: %s\n", cause.what());
    return vdist::exit_code(vdist::errc::internal);
  }
}
