#include "actors/system/machine.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sched.h>
#include <string>

namespace vdist::actors {

namespace {

/// First number in a file of one line; nullopt-like maximum when it is missing or says "max".
std::size_t read_bytes(const char* path) {
  std::ifstream file(path);
  std::size_t bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<std::size_t>::max();
}

/// What the control group leaves; the maximum outside of one.
std::size_t control_group_room() {
  const auto limit = read_bytes("/sys/fs/cgroup/memory.max");
  const auto used = read_bytes("/sys/fs/cgroup/memory.current");
  if (limit == std::numeric_limits<std::size_t>::max() || used > limit) {
    return limit;
  }
  return limit - used;
}

} // namespace

std::int32_t available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool is_known = sched_getaffinity(0, sizeof(set), &set) == 0;
  return is_known ? std::max(1, CPU_COUNT(&set)) : 1;
}

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::size_t kib = 0;
  std::string unit;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") {
      return std::min(kib * 1024, control_group_room());
    }
  }
  return control_group_room();
}

} // namespace vdist::actors
