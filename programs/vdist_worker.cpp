// vdist-worker — one rank in a process of its own. Started by vdist-run; its arguments are descriptors that it inherited,
// its place on the board, and rank and incarnation for whoever reads a process list. A spare gets the first two at a
// socket (--standby-fd), and is a worker when somebody needs it.
#include "actors/worker/worker_program.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/version.hpp"

#include "kernels/cuda_module.hpp"

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <unistd.h>

#include "host/board.hpp"

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
  if (argc == 3 && std::string_view(argv[1]) == "--speaks") {
    return vdist::protocol::answer_speaks(argv[2]);
  }
  const int board = number_of("--board-fd", argc, argv);
  const int life = number_of("--life", argc, argv);
  const int standby = number_of("--standby-fd", argc, argv);
  const int order = number_of("--order-fd", argc, argv);
  const int vault = number_of("--vault-fd", argc, argv);
  const int store = number_of("--store-fd", argc, argv);
  if (board < 0 || life < 0 || (standby < 0 && (order < 0 || vault < 0))) {
    std::fputs("vdist-worker: started by vdist-run (--board-fd N --life N, and --order-fd N "
               "--vault-fd N or --standby-fd N)\n",
               stderr);
    return vdist::exit_code(vdist::errc::bad_configuration);
  }
  std::signal(SIGINT, SIG_IGN); // the terminal's Ctrl-C is for those who started it
  std::signal(SIGPIPE, SIG_IGN);
  vdist::kernels::deepen_launch_queues();
  const auto reason = [&]() -> vdist::error {
    const auto held = vdist::host::hold_life_on(vdist::socket::unique_fd(board),
                                                static_cast<std::uint32_t>(life));
    if (!held) {
      return held.error();
    }
    if (standby >= 0) {
      return vdist::actors::run_spare({.order = {},
                                       .vault = {},
                                       .store = vdist::socket::unique_fd(store),
                                       .board = held->words,
                                       .life = held->entry},
                                      vdist::socket::unique_fd(standby));
    }
    return vdist::actors::run_worker({.order = vdist::socket::unique_fd(order),
                                      .vault = vdist::socket::unique_fd(vault),
                                      .store = vdist::socket::unique_fd(store),
                                      .board = held->words,
                                      .life = held->entry});
  }();
  std::fprintf(stderr, "vdist-worker: %s\n", reason.context.c_str());
  std::fflush(stderr);
  ::_exit(vdist::exit_code(reason.code));
}
