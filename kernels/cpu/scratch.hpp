// kernels/cpu/scratch.hpp — an array that is allocated once, 64-byte aligned, and touched only when
// used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace vdist::kernels {

/// Uninitialised floats; pages that are never written cost no memory. Throws std::bad_alloc.
class scratch_array {
public:
  explicit scratch_array(std::int64_t count)
      : floats_(static_cast<float*>(std::aligned_alloc(64, bytes_of(count)))) {
    if (floats_ == nullptr) {
      throw std::bad_alloc();
    }
  }

  [[nodiscard]] float* data() const noexcept { return floats_.get(); }

private:
  struct release {
    void operator()(float* p) const noexcept { std::free(p); }
  };

  static std::size_t bytes_of(std::int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(float) + 64) / 64 * 64;
  }

  std::unique_ptr<float[], release> floats_;
};

} // namespace vdist::kernels
