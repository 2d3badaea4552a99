#include "runtime/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace vdist {

void check_failed(const char* file, int line, const char* condition, const char* message) noexcept {
  std::fprintf(stderr, "%s:%d: invariant broken: %s (%s)\n", file, line, message, condition);
  std::fflush(stderr);
  std::abort();
}

} // namespace vdist
