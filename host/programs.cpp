#include "host/programs.hpp"

#include "runtime/protocol/version.hpp"

#include <chrono>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <system_error>

#include "host/child_process.hpp"

namespace vdist::host {

namespace {

constexpr std::chrono::milliseconds answer_deadline{5000};

} // namespace

result<std::filesystem::path> find_programs(const std::filesystem::path& configured) {
  if (!configured.empty()) {
    return configured;
  }
  std::error_code failed;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  const auto beside = own.parent_path() / "bin";
  for (const auto& folder : {own, beside}) {
    if (std::filesystem::exists(folder / "vdist-run", failed)) {
      return folder;
    }
  }
  return fail(errc::not_found,
              fmt::format("programs: vdist-run is neither in {} nor in {} (VDIST_PROGRAMS names "
                          "another folder)",
                          own.string(),
                          beside.string()));
}

program_stamp stamp_of(const std::filesystem::path& program) noexcept {
  struct stat now {};

  if (::stat(program.c_str(), &now) != 0) {
    return {};
  }
  constexpr std::int64_t ns_of_second = 1'000'000'000;
  return {.device = now.st_dev,
          .file = now.st_ino,
          .changed_ns = now.st_mtim.tv_sec * ns_of_second + now.st_mtim.tv_nsec};
}

/// One that does not know the question ends as after any wrong argument.
result<void> check_program(const std::filesystem::path& program) {
  VDIST_ASSIGN(auto asked,
               start_child({.program = program,
                            .arguments = {"--speaks", std::to_string(protocol::programs_version)},
                            .descriptors = {}}));
  pollfd ended{.fd = asked.descriptor(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, static_cast<int>(answer_deadline.count())) != 1) {
    return fail(errc::timed_out, fmt::format("programs: no answer (program={})", program.string()));
  }
  const auto how = asked.reap();
  return how.signal == 0 && how.exit_code == 0
             ? result<void>()
             : fail(errc::unsupported,
                    fmt::format("programs: it is of another version of vdist than this cluster, "
                                "which has to be started anew for it (program={} {})",
                                program.string(),
                                how.text()));
}

} // namespace vdist::host
