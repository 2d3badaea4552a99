// vdist-run — launches a cluster from one file. With workers as processes it is the parent of all of them: vault, control
// process and workers, which end when it does, however it ends, and which it starts again when they die. With workers as threads, and when nothing
// is to be run, it becomes the control process. It knows no actors and no devices.
#include "actors/run/command_line.hpp"

#include "runtime/base/log.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
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

/// As many requests as the cluster ever has under way (model_setup::accepted_max() is not above it).
std::uint32_t accepted_max(const config::cluster_config& config) {
  const auto per_replica =
      std::int64_t{config.scheduler.max_waiting} + config.scheduler.max_sequences;
  return static_cast<std::uint32_t>(
      std::min(per_replica * config.parallel.data, std::int64_t{1} << 30));
}

result<int> supervise(const std::filesystem::path& programs,
                      std::span<char* const> arguments,
                      const config::cluster_config& config) {
  const auto& limits = config.fault_tolerance;
  host::supervisor supervisor(
      {.programs = programs,
       .control_arguments = std::vector<std::string>(arguments.begin(), arguments.end()),
       .settings = {.detect_ms = limits.detect_ms, .control_stall_ms = limits.control_stall_ms},
       .restarts = {.restarts_max = static_cast<std::size_t>(limits.max_restarts),
                    .window = std::chrono::seconds(limits.restart_window_s),
                    .backoff = std::chrono::milliseconds(limits.restart_backoff_ms)},
       .accepted_max = accepted_max(config),
       .store_bytes = static_cast<std::size_t>(limits.kv_host_bytes),
       .keeps_workers = true,
       .keeps_ledger = true});
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
    return supervise(
        programs, std::span<char* const>(argv + 1, static_cast<std::size_t>(argc - 1)), config);
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
