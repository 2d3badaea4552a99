// tests/bench/kernels/cuda_bench_memory.hpp — device memory for benchmarks: random content, and regions whose places take
// turns, so that repeated calls do not find their data in a cache.
#pragma once

#include "kernels/device_queue.hpp"
#include "kernels/dtype.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace vdist::kernels::bench {

/// Uniform bits from a seed.
class generator {
public:
  std::uint32_t next() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>(state_ >> 32U);
  }

  /// About normal, standard deviation `deviation`: the sum of four uniform numbers.
  float normal(float deviation) {
    const auto bits = std::uint64_t{next()} << 32U | next();
    float sum = 0;
    for (unsigned part = 0; part < 4; ++part) {
      sum += static_cast<float>(bits >> (16 * part) & 0xffffU) * 0x1p-16F - 0.5F;
    }
    return sum * 1.732F * deviation; // each part has a variance of 1/12
  }

private:
  std::uint64_t state_ = 1;
};

inline std::vector<float> random_floats(std::size_t count, float deviation) {
  generator random;
  std::vector<float> out(count);
  std::generate(out.begin(), out.end(), [&random, deviation] { return random.normal(deviation); });
  return out;
}

/// bfloat16 bits, cut off.
inline std::vector<std::uint16_t> random_halves(std::size_t count) {
  generator random;
  std::vector<std::uint16_t> out(count);
  std::generate(out.begin(), out.end(), [&random] {
    const float value = random.normal(1);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint16_t>(bits >> 16U);
  });
  return out;
}

/// Device memory, cut into equal places of which call i takes the i-th, round and round. Freed with the object; the queue
/// outlives it. Throws std::runtime_error when there is not as much memory.
class region {
public:
  region(device_queue& queue, std::int64_t bytes)
      : queue_(queue), bytes_(bytes), memory_(queue.allocate(static_cast<std::size_t>(bytes))) {
    if (memory_ == nullptr) {
      throw std::runtime_error("no device memory (bytes=" + std::to_string(bytes) + ")");
    }
    queue_.fill_zero(memory_, static_cast<std::size_t>(bytes));
  }

  /// Filled with copies of `content`.
  template <class T>
  region(device_queue& queue, std::int64_t bytes, const std::vector<T>& content)
      : region(queue, bytes) {
    const auto step = static_cast<std::int64_t>(content.size() * sizeof(T));
    for (std::int64_t at = 0; at < bytes; at += step) {
      queue_.copy_in(static_cast<std::byte*>(memory_) + at,
                     content.data(),
                     static_cast<std::size_t>(std::min(step, bytes - at)));
    }
  }

  ~region() { queue_.release(memory_); }

  region(const region&) = delete;
  region& operator=(const region&) = delete;

  [[nodiscard]] std::byte* place(std::int64_t bytes, std::int64_t turn) const {
    const std::int64_t wanted = (bytes + 255) / 256 * 256;
    if (wanted > bytes_) {
      throw std::runtime_error("a place is larger than its region (bytes=" + std::to_string(bytes)
                               + ")");
    }
    return static_cast<std::byte*>(memory_) + turn % (bytes_ / wanted) * wanted;
  }

  /// `count` elements of `type`.
  [[nodiscard]] elements place(std::int64_t count, dtype type, std::int64_t turn) const {
    return {place(count * static_cast<std::int64_t>(size_of(type)), turn), type};
  }

private:
  device_queue& queue_;
  std::int64_t bytes_;
  void* memory_;
};

/// A region that holds just `values`.
template <class T>
region upload(device_queue& queue, const std::vector<T>& values) {
  return {queue, static_cast<std::int64_t>(values.size() * sizeof(T) + 255) / 256 * 256, values};
}

} // namespace vdist::kernels::bench
