// tests/support/isolation_under_test.hpp — tests of whole engines run twice, with workers as threads and
// as processes (vdist_test: BOTH_ISOLATIONS).
#pragma once

#include <cstdlib>
#include <string>

namespace vdist::testing {

/// "thread" or "process"; empty: as the configuration says.
inline std::string isolation_under_test() {
  const char* wanted = std::getenv("VDIST_TEST_ISOLATION");
  return wanted == nullptr ? "" : wanted;
}

} // namespace vdist::testing
