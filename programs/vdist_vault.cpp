// programs/vdist_vault.cpp — the program vdist-vault: serves regions of memory to the processes of this host until its
// parent closes the control socket or ends. Exit codes: 0 done, 2 arguments, 3 a resource is missing.

#include "actors/gateway/board_areas.hpp"

#include "transport/socket/descriptor_limit.hpp"
#include "transport/vault/vault_server.hpp"

#include "runtime/base/log.hpp"

#include "kernels/cuda_module.hpp"

#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <sys/prctl.h>

#include "host/board.hpp"

namespace vdist {

namespace {

constexpr int exit_done = 0;
constexpr int exit_arguments = 2;
constexpr int exit_resource = 3;

constexpr std::string_view usage = "usage: vdist-vault --control-fd N [--board-fd N --life N "
                                   "[--stall-ms N]] [--limit-bytes N] [--device-limit-bytes N]\n";

struct options {
  int control_fd = -1;
  int board_fd = -1;          // of the host supervisor that watches over this process
  std::uint32_t life = 0;     // its place there
  std::uint32_t stall_ms = 0; // after which it is given up when it stands still; 0: never
  vault::vault_server_settings server;
};

template <class T>
bool read_number(std::string_view text, T& number) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  return problem == std::errc{} && end == text.data() + text.size();
}

result<options> parse(std::span<char* const> arguments) {
  options parsed;
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    const std::string_view value = i + 1 < arguments.size() ? arguments[i + 1] : "";
    const bool is_read = name == "--control-fd"    ? read_number(value, parsed.control_fd)
                         : name == "--board-fd"    ? read_number(value, parsed.board_fd)
                         : name == "--life"        ? read_number(value, parsed.life)
                         : name == "--stall-ms"    ? read_number(value, parsed.stall_ms)
                         : name == "--limit-bytes" ? read_number(value, parsed.server.limit_bytes)
                         : name == "--device-limit-bytes"
                             ? read_number(value, parsed.server.device_limit_bytes)
                             : false;
    if (!is_read) {
      return fail(errc::invalid_argument,
                  "arguments: unknown or without a number: " + std::string(name));
    }
  }
  if (parsed.control_fd < 0) {
    return fail(errc::invalid_argument, "arguments: --control-fd is missing");
  }
  return parsed;
}

/// Memory of a GPU. CUDA is loaded by the first call: most vaults never see one.
result<socket::unique_fd> make_device_memory(std::int32_t device, std::size_t bytes) {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    return fail(errc::not_found, "cuda: " + why);
  }
  socket::unique_fd memory(module->create_shareable(device, bytes, why));
  if (!memory) {
    return fail(errc::resource_exhausted, "cuda: " + why);
  }
  return memory;
}

int run(std::span<char* const> arguments) {
  log::initialise("error");
  auto parsed = parse(arguments);
  if (!parsed) {
    log::error("{}", parsed.error().context);
    std::fwrite(usage.data(), 1, usage.size(), stderr);
    return exit_arguments;
  }
  std::optional<failpoints> points;
  if (parsed->board_fd >= 0) {
    const auto held = host::hold_life_on(socket::unique_fd(parsed->board_fd), parsed->life);
    if (!held) {
      log::error("{}", held.error().context);
      return exit_resource;
    }
    points.emplace(actors::failpoints_on(*held->words));
    parsed->server.points = &*points;
    parsed->server.progress = progress_word(held->entry->progress);
    parsed->server.stall = std::chrono::milliseconds(parsed->stall_ms);
  }
  std::signal(SIGINT, SIG_IGN); // Ctrl-C reaches the whole group; the parent decides
  prctl(PR_SET_NAME, "vdist-vault");
  socket::raise_descriptor_limit();
  const system_clock time;
  vault::vault_server server(
      socket::unique_fd(parsed->control_fd), time, parsed->server, make_device_memory);
  if (const auto served = server.run(); !served) {
    log::error("{}", served.error().context);
    return exit_resource;
  }
  return exit_done;
}

} // namespace

} // namespace vdist

int main(int argc, char** argv) {
  try {
    return vdist::run(std::span<char* const>(argv, static_cast<std::size_t>(argc)).subspan(1));
  } catch (const std::exception& problem) { // no memory for a message, for example
    std::fprintf(stderr, "vdist-vault: %s\n", problem.what());
    return vdist::exit_resource;
  }
}
