// tests/sim/verdict.hpp — whether a run has kept every invariant. Checks sit in the middle of the code under test, which
// catches exceptions: so a breach is noted, and the world stops at the next look.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace vdist::testing {

class verdict {
public:
  /// The first breach counts.
  void require(bool condition, const char* text) {
    ++checks_;
    if (!condition) {
      fail(text);
    }
  }

  void fail(std::string text) {
    if (breach_.empty()) {
      breach_ = std::move(text);
    }
  }

  [[nodiscard]] bool is_broken() const { return !breach_.empty(); }

  /// Empty: none.
  [[nodiscard]] const std::string& breach() const { return breach_; }

  [[nodiscard]] std::uint64_t checks() const { return checks_; }

private:
  std::string breach_;
  std::uint64_t checks_ = 0;
};

} // namespace vdist::testing
