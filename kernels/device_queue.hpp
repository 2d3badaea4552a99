// kernels/device_queue.hpp — memory and order of execution of the device that a backend computes on. Operations of the
// backend and the copies below are run in the order of the calls, perhaps after the call has returned: what they read and
// write must stay until a mark() behind them has passed.
//
// Q-1 Copies and operations of one queue never overtake each other.
// Q-2 A failure of the device sticks: failure() names the first operation that was refused or broke, everything behind it
//     is undefined, and only a new queue helps.
// Q-3 run() with a key that it has seen replays what the first calls recorded: the same operations on the same addresses.
//     What changes between replays lies in the memory that they read.
// On the CPU everything is done when the call returns. Not thread-safe: one worker owns one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vdist::kernels {

/// A point in the order of the calls; counts from 1.
using queue_mark = std::uint64_t;

/// Equally long rows, equally far apart on both sides.
struct row_copy {
  void* to = nullptr;
  std::size_t to_stride = 0; // bytes, >= row_bytes
  const void* from = nullptr;
  std::size_t from_stride = 0;
  std::size_t row_bytes = 0;
  std::size_t rows = 0;
};

class device_queue {
public:
  virtual ~device_queue() = default;

  /// Before a thread calls anything else here, other than the one that made the queue: what it allocates and copies then
  /// belongs to this device. One thread at a time, all the same.
  virtual void use_on_this_thread() noexcept {}

  /// Memory of the device, aligned to 256 bytes, uninitialised; nullptr when there is not as much. Slow: at start only.
  [[nodiscard]] virtual void* allocate(std::size_t bytes) noexcept = 0;
  virtual void release(void* memory) noexcept = 0;

  /// Memory of the host that the device copies from and to at full speed. Slow: at start only.
  [[nodiscard]] virtual void* allocate_staging(std::size_t bytes) noexcept = 0;
  virtual void release_staging(void* memory) noexcept = 0;

  /// Host memory to device memory; anything but staging memory makes the call wait.
  virtual void copy_in(void* to, const void* from, std::size_t bytes) noexcept = 0;
  virtual void copy_out(void* to, const void* from, std::size_t bytes) noexcept = 0;
  virtual void fill_zero(void* memory, std::size_t bytes) noexcept = 0;

  /// copy_in() and copy_out() of rows.
  virtual void copy_rows_in(const row_copy& rows) noexcept;
  virtual void copy_rows_out(const row_copy& rows) noexcept;

  /// Another queue of the device for the same thread, in no order with this one, that records nothing. Null: there is none,
  /// as where copies are done at once. Slow: at start only.
  [[nodiscard]] virtual std::unique_ptr<device_queue> make_side_queue() { return nullptr; }

  /// The point behind everything that was called so far.
  [[nodiscard]] virtual queue_mark mark() noexcept = 0;

  /// Waits until the device has passed `at`. False: not within `timeout`, or the device has failed.
  [[nodiscard]] virtual bool wait(queue_mark at, std::chrono::nanoseconds timeout) noexcept = 0;

  /// Calls `work`, which calls operations of this queue's backend. Work that a device cannot record is called
  /// every time.
  virtual void run(std::uint64_t key, const std::function<void()>& work) = 0;

  /// Records `work` under a key that run() has not seen, without doing any of it: the next run() replays. Everything
  /// that its operations load or set up at their first use has been used before. Nothing where run() records nothing.
  virtual void record_ahead(std::uint64_t /*key*/, const std::function<void()>& /*work*/) {}

  /// Forgets what was recorded under a key: work that gave up half-way must not be replayed.
  virtual void forget(std::uint64_t /*key*/) noexcept {}

  /// "linear (tokens=3 in=64 out=32): an illegal memory access was encountered (device 0)"; empty: none.
  [[nodiscard]] virtual const std::string& failure() const noexcept = 0;

  /// The number of that failure, for class_of_cuda_error() of device_fault.hpp; 0: none, or a device without numbers.
  [[nodiscard]] virtual int failure_code() const noexcept { return 0; }

  /// Whether memory of the device may be read and written by the host directly.
  [[nodiscard]] virtual bool is_host_memory() const noexcept = 0;
};

} // namespace vdist::kernels
