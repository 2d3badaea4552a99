// tests/bench/kernels/collective_bench_ranks.hpp — our collectives under measurement: a thread, a backend and an exchange
// region per GPU. Memory is allocated before ranks run and freed when all are done: freeing waits for the device, and a
// rank that waits for a rank that frees would wait for ever.
#pragma once

#include "tests/bench/kernels/collective_bench_timing.hpp"

#include "kernels/backend.hpp"
#include "kernels/collective/collective.hpp"
#include "kernels/cuda_module.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vdist::kernels::bench {

struct collective_rank {
  std::int32_t device = 0;
  std::size_t index = 0; // in the group
  std::byte* region = nullptr;
  std::byte* in = nullptr;  // what operations read, and sums replace
  std::byte* out = nullptr; // what a gather writes
  std::unique_ptr<backend> ops;
  std::unique_ptr<device_group> group;
};

/// One operation under measurement. The functions are called by the threads of all ranks at once.
struct collective_trial {
  std::string name; // for messages
  std::size_t bytes = 0;
  std::function<void(collective_rank&)> call;                     // enqueues it once
  std::function<std::vector<std::byte>(std::size_t rank)> input;  // put into `in`
  std::function<std::vector<std::byte>(std::size_t rank)> wanted; // then; empty: nothing to check
  bool is_gathered = false;                                       // it is in `out`, else in `in`
};

/// Sizes of a rank's `in` and `out`.
struct collective_memory {
  std::size_t in_bytes = 0;
  std::size_t out_bytes = 0;
};

class collective_ranks {
public:
  /// Ranks 0 … layout.ranks - 1 on the devices of these ordinals. Throws std::runtime_error with the reason.
  collective_ranks(cuda_module& module, const exchange_layout& layout, collective_memory memory);
  ~collective_ranks();
  collective_ranks(const collective_ranks&) = delete;
  collective_ranks& operator=(const collective_ranks&) = delete;

  [[nodiscard]] std::size_t size() const { return ranks_.size(); }

  /// Calls it once and checks the data, then measures recordings of it on zeros, which sums leave as they are. Seconds of
  /// one call. Throws std::runtime_error when the data is wrong, a device fails or a rank does not come.
  [[nodiscard]] double measure(const collective_trial& trial, const pace& how_often);

private:
  void use(const collective_rank& mine);
  void wait(const collective_trial& trial, collective_rank& mine, queue_mark mark);
  void check_data(const collective_trial& trial, collective_rank& mine, meeting& together);
  [[nodiscard]] std::vector<double> time_rounds(const collective_trial& trial,
                                                const pace& how_often,
                                                collective_rank& mine,
                                                meeting& together);

  cuda_module& module_;
  collective_memory memory_;
  std::uint64_t last_key_ = 0; // of recordings
  std::vector<collective_rank> ranks_;
};

} // namespace vdist::kernels::bench
