// vdist-run — launches a cluster from one file. With workers as processes it is the parent of all of them: vault, control
// process and workers, which end when it does, however it ends. With workers as threads, and when nothing
// is to be run, it becomes the control process. It knows no actors and no devices.
#include "actors/system/command_line.hpp"

#include "runtime/base/log.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "host/programs.hpp"
#include "host/supervisor.hpp"

namespace {

using namespace vdist;

/// Returns only with the reason why it could not.
error become(const std::filesystem::path& program, char** argv) {
  const auto path = program.string();
  ::execv(path.c_str(), argv);
  return fail(errc::not_found, path + ": " + std::strerror(errno));
}

result<int> supervise(const std::filesystem::path& programs, std::span<char* const> arguments) {
  host::supervisor supervisor(
      {.programs = programs,
       .control_arguments = std::vector<std::string>(arguments.begin(), arguments.end())});
  VDIST_TRY(supervisor.start());
  return supervisor.run();
}

/// For a program that embeds the engine and is the control process itself.
result<int> serve(const std::filesystem::path& programs, int link) {
  log::initialise("warn");
  host::supervisor supervisor({.programs = programs, .control_arguments = {}});
  VDIST_TRY(supervisor.start(socket::unique_fd(link)));
  return supervisor.run();
}

result<int> run(int argc, char** argv) {
  VDIST_ASSIGN(const auto programs, host::find_programs(config::read_environment().programs));
  if (argc == 3 && std::string_view(argv[1]) == "--serve-link") {
    const std::string_view text(argv[2]);
    int link = -1;
    std::from_chars(text.data(), text.data() + text.size(), link);
    return serve(programs, link);
  }
  VDIST_ASSIGN(const auto parsed, actors::parse_command_line(argc, argv));
  if (parsed.exit_code) {
    std::fputs(parsed.text.c_str(), stdout);
    return *parsed.exit_code;
  }
  VDIST_ASSIGN(const auto config, config::load(parsed.options.config, parsed.options.overrides));
  log::initialise(config::to_string(config.log.level));
  const bool has_processes = config.cluster.isolation != config::isolation_kind::thread;
  if (has_processes && parsed.options.needs_workers()) {
    return supervise(programs,
                     std::span<char* const>(argv + 1, static_cast<std::size_t>(argc - 1)));
  }
  return become(programs / "vdist-node", argv);
}

} // namespace

int main(int argc, char** argv) {
  try {
    const auto done = run(argc, argv);
    if (!done) {
      std::fprintf(stderr, "vdist-run: %s\n", done.error().context.c_str());
      return exit_code(done.error().code);
    }
    return *done;
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist-run: internal error: %s\n", cause.what());
    return exit_code(errc::internal);
  }
}
