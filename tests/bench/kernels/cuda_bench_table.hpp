// tests/bench/kernels/cuda_bench_table.hpp — times operations of a device and prints one line for each.
//
// Many calls are recorded into one piece of work (kernels/device_queue.hpp Q-3), which is replayed several times without a
// gap. The median time of such a round over its calls is the time of one call: as in a step, where one operation follows
// the other and may start before the one before has quite ended.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cuda_module.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace vdist::kernels::bench {

/// What a line says of an operation.
struct line {
  std::string operation;
  std::string shape;
  double bytes;     // that it must read and write once
  double flops = 0; // that its formula counts
};

class table {
public:
  /// Prints the titles. Lines whose operation does not contain `filter` are left out.
  table(backend& device, const device_rates& rates, std::string filter);

  /// One call of the operation; `turn` counts the calls of a recording.
  using call = std::function<void(std::int64_t turn)>;

  /// Times `one` and prints its line. The last column is the time that the nearer roofline allows over the time taken.
  /// Throws std::runtime_error when the device fails or does not answer within a minute.
  void add(const line& what, const call& one);

private:
  double seconds_of(const call& one, double at_best);
  void wait(queue_mark mark);

  backend& device_;
  device_rates rates_;
  std::string filter_;
  std::uint64_t last_key_ = 0;
};

} // namespace vdist::kernels::bench
