// kernels/cuda/cuda_queue.hpp — one stream of one device: order, copies, marks (events) and recorded work (graphs).
//
// G-1 A key's first run() calls the work as it is, which also loads its kernels; the second records it; later ones replay.
//     What was recorded ahead is on the device already, so that its first replay is as fast as any.
// G-2 Waiting polls the event: a spin for the length of a step, so that the host is back within microseconds, with the
//     core offered to others on the way.
// Errors of the device stick: the first one is kept with the operation that it met.
#pragma once

#include "kernels/device_queue.hpp"

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <unordered_map>

namespace vdist::kernels::cuda {

class cuda_queue final : public device_queue {
public:
  /// Makes the calling thread's device `device`. After a failure every call does nothing.
  cuda_queue(std::int32_t device, bool use_graphs);
  ~cuda_queue() override;
  cuda_queue(const cuda_queue&) = delete;
  cuda_queue& operator=(const cuda_queue&) = delete;

  [[nodiscard]] cudaStream_t stream() const noexcept { return stream_; }

  /// Keeps the first error. `describe()` -> std::string is called for that one only.
  template <class Describe>
  void check(cudaError_t status, const Describe& describe) noexcept {
    if (status != cudaSuccess && failure_.empty()) {
      fail(status, describe());
    }
  }

  void use_on_this_thread() noexcept override;
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept override;
  void release(void* memory) noexcept override;
  [[nodiscard]] void* allocate_staging(std::size_t bytes) noexcept override;
  void release_staging(void* memory) noexcept override;
  void copy_in(void* to, const void* from, std::size_t bytes) noexcept override;
  void copy_out(void* to, const void* from, std::size_t bytes) noexcept override;
  void fill_zero(void* memory, std::size_t bytes) noexcept override;
  void copy_rows_in(const row_copy& rows) noexcept override;
  void copy_rows_out(const row_copy& rows) noexcept override;
  [[nodiscard]] std::unique_ptr<device_queue> make_side_queue() override;
  [[nodiscard]] queue_mark mark() noexcept override;
  [[nodiscard]] bool wait(queue_mark at, std::chrono::nanoseconds timeout) noexcept override;
  void run(std::uint64_t key, const std::function<void()>& work) override;
  void record_ahead(std::uint64_t key, const std::function<void()>& work) override;
  void forget(std::uint64_t key) noexcept override;

  [[nodiscard]] const std::string& failure() const noexcept override { return failure_; }

  [[nodiscard]] int failure_code() const noexcept override { return failure_code_; }

  [[nodiscard]] bool is_host_memory() const noexcept override { return false; }

private:
  static constexpr std::size_t events_kept = 64; // marks that can be told apart

  struct recording {
    std::uint32_t runs = 0;
    cudaGraphExec_t graph = nullptr;
  };

  void fail(cudaError_t status, const std::string& operation) noexcept;
  void copy_rows(const row_copy& rows, cudaMemcpyKind kind) noexcept;
  void record(recording& into, const std::function<void()>& work);

  std::int32_t device_;
  bool use_graphs_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, events_kept> events_{};
  queue_mark last_mark_ = 0;
  std::unordered_map<std::uint64_t, recording> recordings_;
  std::string failure_;
  int failure_code_ = 0; // a cudaError
};

} // namespace vdist::kernels::cuda
