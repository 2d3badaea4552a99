// vdist-node — the control process of a host: actors and front door. vdist-run starts it, and becomes it when workers are
// threads.
#include "actors/run/node_program.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/version.hpp"

#include "kernels/cuda_module.hpp"

#include <charconv>
#include <cstdio>
#include <exception>
#include <string_view>

#include "host/board.hpp"

namespace {

/// vdist-run puts `--board-fd N --life K` first: they are for the process, what follows is for the program. Returns how
/// many arguments they were, -1 if they make no sense; `words` are those of the board, which stays mapped.
int take_life(int argc, char** argv, vdist::host::board_words*& words) {
  constexpr int arguments = 4;
  if (argc <= arguments || std::string_view(argv[1]) != "--board-fd"
      || std::string_view(argv[3]) != "--life") {
    return 0; // nobody watches over it
  }
  int board = -1;
  std::uint32_t life = 0;
  const auto read = [](std::string_view text, auto& number) {
    return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc{};
  };
  if (!read(argv[2], board) || !read(argv[4], life)) {
    return -1;
  }
  const auto held = vdist::host::hold_life_on(vdist::socket::unique_fd(board), life);
  words = held ? held->words : nullptr;
  return held ? arguments : -1;
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--speaks") {
    return vdist::protocol::answer_speaks(argv[2]);
  }
  try {
    vdist::host::board_words* board = nullptr;
    const int taken = take_life(argc, argv, board);
    if (taken < 0) {
      std::fputs("vdist-node: the board of vdist-run cannot be used\n", stderr);
      return vdist::exit_code(vdist::errc::io_failed);
    }
    argv[taken] = argv[0];
    vdist::kernels::deepen_launch_queues(); // where workers are threads
    return vdist::actors::run_node(argc - taken, argv + taken, board);
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist-run: internal error: %s\n", cause.what());
    return vdist::exit_code(vdist::errc::internal);
  }
}
