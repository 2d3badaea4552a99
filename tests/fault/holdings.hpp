// tests/fault/holdings.hpp — what the processes of a running cluster hold, as /proc shows it, and their end. Read anew at every
// call; a process that ends meanwhile holds nothing.
#pragma once

#include "tests/support/process_tree.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

namespace vdist::testing {

/// What a process holds.
struct holdings {
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t shared_maps = 0; // lines of maps that are memory files
  std::size_t resident = 0;    // bytes, shared ones included

  bool operator==(const holdings&) const = default;
};

inline holdings holdings_of(pid_t pid) {
  const auto own = std::filesystem::path("/proc") / std::to_string(pid);
  const auto count = [](const std::filesystem::path& folder) {
    std::error_code ended;
    std::size_t entries = 0;
    for (auto entry = std::filesystem::directory_iterator(folder, ended);
         !ended && entry != std::filesystem::directory_iterator();
         entry.increment(ended)) {
      ++entries;
    }
    return entries;
  };
  holdings found{.descriptors = count(own / "fd"), .threads = count(own / "task")};
  std::istringstream maps(text_of(own / "maps"));
  for (std::string line; std::getline(maps, line);) {
    found.shared_maps += line.find("/memfd:") != std::string::npos ? 1 : 0;
  }
  std::istringstream pages(text_of(own / "statm"));
  std::size_t size = 0;
  std::size_t resident = 0;
  pages >> size >> resident;
  found.resident = resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return found;
}

/// Waits for the end of `program`, or kills it: nullopt.
inline std::optional<process_result> wait_for_end(process& program,
                                                  std::chrono::milliseconds patience) {
  const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, program.pid(), 0));
  pollfd watched{.fd = descriptor, .events = POLLIN, .revents = 0};
  const bool has_ended = ::poll(&watched, 1, static_cast<int>(patience.count())) > 0;
  ::close(descriptor);
  if (!has_ended) {
    program.signal(SIGKILL);
  }
  auto result = program.wait();
  return has_ended ? std::optional(std::move(result)) : std::nullopt;
}

} // namespace vdist::testing
