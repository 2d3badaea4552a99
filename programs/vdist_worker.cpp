// vdist-worker — one rank in a process of its own. Started by vdist-run; its arguments are descriptors that it inherited,
// and rank and incarnation for whoever reads a process list.
#include "actors/worker/worker_program.hpp"

#include "runtime/base/result.hpp"

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <unistd.h>

namespace {

/// The number behind `name`, or -1.
int number_of(std::string_view name, int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string_view text(argv[i + 1]);
    int number = -1;
    if (name == argv[i]
        && std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc{}) {
      return number;
    }
  }
  return -1;
}

} // namespace

int main(int argc, char** argv) {
  const int order = number_of("--order-fd", argc, argv);
  const int vault = number_of("--vault-fd", argc, argv);
  if (order < 0 || vault < 0) {
    std::fputs("vdist-worker: started by vdist-run (--order-fd N --vault-fd N)\n", stderr);
    return vdist::exit_code(vdist::errc::bad_configuration);
  }
  std::signal(SIGINT, SIG_IGN); // the terminal's Ctrl-C is for those who started it
  std::signal(SIGPIPE, SIG_IGN);
  const auto reason =
      vdist::actors::run_worker({vdist::socket::unique_fd(order), vdist::socket::unique_fd(vault)});
  std::fprintf(stderr, "vdist-worker: %s\n", reason.context.c_str());
  std::fflush(stderr);
  ::_exit(vdist::exit_code(reason.code));
}
