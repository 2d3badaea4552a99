// tests/bench/kernels/collective_bench_nccl.hpp — NCCL's all-reduce under the same measurement as ours: plain memory or
// symmetric windows (2.27 and newer), called one by one on a stream or recorded into a graph.
// NCCL_NVLS_ENABLE=0 is set before NCCL starts: NVLink multicast is never used.
#pragma once

#include "tests/bench/kernels/collective_bench_timing.hpp"
#include "tests/bench/kernels/cuda_driver.hpp"

#include "transport/tensor/nccl_api.hpp"

#include "kernels/cuda_module.hpp"
#include "kernels/dtype.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace vdist::kernels::bench {

using nccl_window = void*; // ncclWindow_t

struct nccl_library {
  tensor::nccl_api api;
  tensor::nccl_code (*destroy)(tensor::nccl_comm) = nullptr;
  // Null before 2.27.
  tensor::nccl_code (*mem_alloc)(void**, std::size_t) = nullptr;
  tensor::nccl_code (*mem_free)(void*) = nullptr;
  tensor::nccl_code (*window_register)(
      tensor::nccl_comm, void*, std::size_t, nccl_window*, int flags) = nullptr;
  tensor::nccl_code (*window_deregister)(tensor::nccl_comm, nccl_window) = nullptr;
};

/// From VDIST_NCCL_SO_PATH, or where the loader finds it. Null, and `why`. Call before threads start.
[[nodiscard]] std::unique_ptr<nccl_library> load_nccl_library(std::string& why);

struct nccl_trial {
  dtype type = dtype::float32;
  std::size_t bytes = 0;
  bool is_symmetric = false;
  bool is_recorded = false;
};

class nccl_ranks {
public:
  /// Ranks 0 … ranks - 1 on the devices of these ordinals, each with `bytes` of plain memory and as much of symmetric. Throws
  /// std::runtime_error with the reason.
  nccl_ranks(const nccl_library& nccl,
             const cuda_driver& driver,
             cuda_module& module,
             std::size_t ranks,
             std::size_t bytes);
  ~nccl_ranks();
  nccl_ranks(const nccl_ranks&) = delete;
  nccl_ranks& operator=(const nccl_ranks&) = delete;

  /// Empty: there are symmetric windows.
  [[nodiscard]] const std::string& why_not_symmetric() const { return why_not_symmetric_; }

  /// Seconds of one call, in place, on zeros; by the device's clock, since the host may call more slowly than the device
  /// works. The data is checked first. Throws std::runtime_error; the ranks are of no use then.
  [[nodiscard]] double measure(const nccl_trial& trial, const pace& how_often);

private:
  struct rank {
    std::int32_t device = 0;
    tensor::nccl_comm comm = nullptr;
    driver_handle stream = nullptr;
    driver_handle first = nullptr; // events
    driver_handle last = nullptr;
    void* plain = nullptr;
    void* symmetric = nullptr;
    nccl_window window = nullptr;
  };

  void use(const rank& mine);
  void check(tensor::nccl_code code, const char* operation, const rank& mine) const;
  void open(rank& mine, const tensor::nccl_unique_id& id);
  void open_memory(rank& mine);
  void open_window(rank& mine);
  void close(rank& mine) noexcept;
  void finish(const rank& mine) const;
  void call(const nccl_trial& trial, const rank& mine) const;
  void check_data(const nccl_trial& trial, const rank& mine, meeting& together) const;
  [[nodiscard]] std::vector<double> time_rounds(const nccl_trial& trial,
                                                const pace& how_often,
                                                const rank& mine,
                                                meeting& together) const;

  const nccl_library& nccl_;
  const cuda_driver& driver_;
  cuda_module& module_;
  std::size_t bytes_;
  bool is_broken_ = false;
  std::string why_not_symmetric_;
  std::vector<rank> ranks_;
};

} // namespace vdist::kernels::bench
