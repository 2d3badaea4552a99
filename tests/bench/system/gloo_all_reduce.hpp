// tests/bench/system/gloo_all_reduce.hpp — Gloo's own all-reduce between processes of this host, as
// others use it: the yardstick of the promise. Its sums have an order of their own, and nothing ends
// its waits but a timeout.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vdist::bench {

class gloo_all_reduce {
public:
  virtual ~gloo_all_reduce() = default;

  /// Meets the other ranks in an empty folder; ignores SIGPIPE for the process. Error: io_failed.
  [[nodiscard]] static result<std::unique_ptr<gloo_all_reduce>>
  join(const std::string& folder, std::int32_t rank, std::int32_t ranks);

  /// In place. Error: io_failed.
  [[nodiscard]] virtual result<void> run(std::span<float> data) = 0;
};

} // namespace vdist::bench
