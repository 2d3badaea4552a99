// tests/fault/process_tree.hpp — the processes of a running cluster as /proc shows them: who they are and what they hold.
// Everything is read anew at every call; a process that ends meanwhile is absent, or all zeros.
#pragma once

#include "tests/support/process.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

namespace vdist::testing {

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The children of vdist-run by what they are: "vault", "node", and for workers "worker <rank>".
inline std::map<std::string, pid_t> children_of(pid_t parent) {
  const auto own = "/proc/" + std::to_string(parent);
  std::istringstream children(text_of(own + "/task/" + std::to_string(parent) + "/children"));
  std::map<std::string, pid_t> found;
  for (pid_t child = 0; children >> child;) {
    const auto words = text_of("/proc/" + std::to_string(child) + "/cmdline");
    const auto program = words.substr(0, words.find('\0'));
    constexpr std::string_view rank_option{"--rank\0", 7};
    const auto rank = words.find(rank_option);
    if (program.ends_with("vdist-vault")) {
      found["vault"] = child;
    } else if (program.ends_with("vdist-node")) {
      found["node"] = child;
    } else if (program.ends_with("vdist-worker") && rank != std::string::npos) {
      const auto from = rank + rank_option.size();
      found["worker " + words.substr(from, words.find('\0', from) - from)] = child;
    }
  }
  return found;
}

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
