// tests/support/open_fds.hpp — how many descriptors this process has, to find leaks.
#pragma once

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace vdist::testing {

[[nodiscard]] inline std::size_t open_fds() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

} // namespace vdist::testing
