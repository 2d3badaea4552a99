// transport/socket/descriptor_limit.hpp — for programs that keep a descriptor per region and per client.
#pragma once

#include <sys/resource.h>

namespace vdist::socket {

/// As many descriptors as the system allows, for this process and what it starts.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

} // namespace vdist::socket
