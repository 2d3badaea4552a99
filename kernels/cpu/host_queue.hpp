// kernels/cpu/host_queue.hpp — the device_queue of the CPU: device memory is host memory, and everything is done when the
// call returns.
#pragma once

#include "kernels/device_queue.hpp"

namespace vdist::kernels {

class host_queue final : public device_queue {
public:
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept override;
  void release(void* memory) noexcept override;
  [[nodiscard]] void* allocate_staging(std::size_t bytes) noexcept override;
  void release_staging(void* memory) noexcept override;
  void copy_in(void* to, const void* from, std::size_t bytes) noexcept override;
  void copy_out(void* to, const void* from, std::size_t bytes) noexcept override;
  void fill_zero(void* memory, std::size_t bytes) noexcept override;

  [[nodiscard]] queue_mark mark() noexcept override { return ++marks_; }

  [[nodiscard]] bool wait(queue_mark /*at*/,
                          std::chrono::nanoseconds /*timeout*/) noexcept override {
    return true;
  }

  void run(std::uint64_t /*key*/, const std::function<void()>& work) override { work(); }

  [[nodiscard]] const std::string& failure() const noexcept override { return failure_; }

  [[nodiscard]] bool is_host_memory() const noexcept override { return true; }

private:
  queue_mark marks_ = 0;
  const std::string failure_; // always empty
};

} // namespace vdist::kernels
