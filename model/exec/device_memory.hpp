// model/exec/device_memory.hpp — memory of a kernels::device_queue, freed with its owner. The queue outlives it.
// Throws std::bad_alloc when there is not as much.
#pragma once

#include "kernels/device_queue.hpp"

#include <cstddef>
#include <new>
#include <utility>

namespace vdist::exec {

enum class memory_place : std::uint8_t {
  device,
  staging, // host memory that the device copies fast
};

class device_memory {
public:
  device_memory() = default;

  device_memory(kernels::device_queue& queue,
                std::size_t bytes,
                memory_place place = memory_place::device)
      : queue_(&queue), place_(place) {
    memory_ = place == memory_place::device ? queue.allocate(bytes) : queue.allocate_staging(bytes);
    if (memory_ == nullptr) {
      throw std::bad_alloc();
    }
  }

  ~device_memory() {
    if (memory_ == nullptr) {
      return;
    }
    if (place_ == memory_place::device) {
      queue_->release(memory_);
    } else {
      queue_->release_staging(memory_);
    }
  }

  device_memory(device_memory&& other) noexcept
      : queue_(other.queue_),
        place_(other.place_),
        memory_(std::exchange(other.memory_, nullptr)) {}

  device_memory& operator=(device_memory&& other) noexcept {
    std::swap(queue_, other.queue_);
    std::swap(place_, other.place_);
    std::swap(memory_, other.memory_);
    return *this;
  }

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }

  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(memory_);
  }

private:
  kernels::device_queue* queue_ = nullptr;
  memory_place place_ = memory_place::device;
  void* memory_ = nullptr;
};

} // namespace vdist::exec
