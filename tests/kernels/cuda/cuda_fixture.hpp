// tests/kernels/cuda/cuda_fixture.hpp — what the tests of CUDA operations share: the backend, arrays in device memory with
// poison and canaries, stored types. Without a GPU every case is skipped, visibly, unless VDIST_REQUIRE_GPUS asks for one.
#pragma once

#include "tests/kernels/kernel_fixture.hpp"

#include "kernels/cuda_module.hpp"

#include <boost/test/unit_test.hpp>

#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vdist::kernels::testing {

/// The module, or null when this machine has no GPU.
inline cuda_module* cuda_or_null() {
  static std::string why;
  static cuda_module* const module = load_cuda_module(why);
  return module;
}

/// Precondition of every case: skips without a GPU, fails if VDIST_REQUIRE_GPUS is set.
inline boost::test_tools::assertion_result has_gpu(boost::unit_test::test_unit_id) {
  if (cuda_or_null() != nullptr) {
    return true;
  }
  const char* required = std::getenv("VDIST_REQUIRE_GPUS");
  boost::test_tools::assertion_result skipped(required != nullptr && *required != '\0'
                                              && *required != '0');
  skipped.message() << "no GPU";
  return skipped;
}

/// Precondition: `count` GPUs. Skips otherwise, unless VDIST_REQUIRE_GPUS asks for as many.
class has_gpus {
public:
  explicit has_gpus(std::int32_t count) : count_(count) {}

  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    auto* module = cuda_or_null();
    const auto there = module == nullptr ? 0 : module->device_count();
    if (there >= count_) {
      return true;
    }
    const char* required = std::getenv("VDIST_REQUIRE_GPUS");
    boost::test_tools::assertion_result skipped(required != nullptr
                                                && std::atoi(required) >= count_);
    skipped.message() << count_ << " GPUs wanted, " << there << " here";
    return skipped;
  }

private:
  std::int32_t count_;
};

inline constexpr std::int32_t test_max_tokens = 4096;
inline constexpr std::int32_t test_max_positions = 16384;
inline constexpr std::int32_t test_max_vocabulary = 160000;

inline std::unique_ptr<backend> make_cuda_backend(bool use_graphs = true) {
  std::string why;
  auto* module = cuda_or_null();
  BOOST_REQUIRE(module != nullptr);
  auto made = module->make_backend({.max_positions = test_max_positions,
                                    .max_tokens = test_max_tokens,
                                    .max_heads = 80,
                                    .max_head_dim = 512,
                                    .max_logit_rows = 64,
                                    .max_vocabulary = test_max_vocabulary,
                                    .use_graphs = use_graphs},
                                   why);
  BOOST_REQUIRE_MESSAGE(made != nullptr, why);
  return made;
}

/// Waits for everything that was called; fails the case if the device failed.
inline void finish(backend& device) {
  const bool is_done = device.queue().wait(device.queue().mark(), std::chrono::seconds(60));
  BOOST_REQUIRE_MESSAGE(is_done, "device: " << device.queue().failure());
}

/// Bytes in device memory. Freed with the object; the backend outlives it.
class device_bytes {
public:
  device_bytes(backend& device, std::span<const std::byte> content)
      : queue_(&device.queue()), bytes_(content.size()) {
    queue_->use_on_this_thread(); // one thread makes those of several devices
    memory_ = queue_->allocate(bytes_ + 16);
    BOOST_REQUIRE(memory_ != nullptr);
    queue_->copy_in(memory_, content.data(), bytes_);
  }

  ~device_bytes() { queue_->release(memory_); }

  device_bytes(const device_bytes&) = delete;
  device_bytes& operator=(const device_bytes&) = delete;

  [[nodiscard]] void* data() const { return memory_; }

  /// After finish().
  [[nodiscard]] std::vector<std::byte> read() const {
    std::vector<std::byte> content(bytes_);
    queue_->use_on_this_thread();
    queue_->copy_out(content.data(), memory_, bytes_);
    BOOST_REQUIRE(queue_->wait(queue_->mark(), std::chrono::seconds(60)));
    return content;
  }

private:
  device_queue* queue_;
  std::size_t bytes_;
  void* memory_ = nullptr;
};

/// Host values of a plain type in device memory.
template <class T>
class device_array {
public:
  device_array(backend& device, const std::vector<T>& values)
      : count_(values.size()), bytes_(device, std::as_bytes(std::span(values))) {}

  [[nodiscard]] T* data() const { return static_cast<T*>(bytes_.data()); }

  [[nodiscard]] std::vector<T> read() const {
    const auto raw = bytes_.read();
    std::vector<T> values(count_);
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }

private:
  std::size_t count_;
  device_bytes bytes_;
};

/// Real numbers in device memory as elements of `type`; the values are rounded to it.
class device_elements {
public:
  device_elements(backend& device, dtype type, std::vector<float> values)
      : stored_(type, std::move(values)),
        bytes_(device,
               {static_cast<const std::byte*>(stored_.data()),
                stored_.values.size() * size_of(type)}) {}

  [[nodiscard]] elements at(std::int64_t first = 0) const {
    return elements(bytes_.data(), stored_.type).behind(first);
  }

  [[nodiscard]] const void* raw() const { return bytes_.data(); }

  /// What was put in, rounded.
  [[nodiscard]] const std::vector<float>& values() const { return stored_.values; }

  /// What is there now; after finish().
  [[nodiscard]] std::vector<float> read() const {
    const auto raw = bytes_.read();
    std::vector<float> out(stored_.values.size());
    if (stored_.type == dtype::float32) {
      std::memcpy(out.data(), raw.data(), raw.size());
      return out;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::uint16_t half = 0;
      std::memcpy(&half, raw.data() + i * sizeof half, sizeof half);
      out[i] = decode(stored_.type, half);
    }
    return out;
  }

private:
  stored_tensor stored_;
  device_bytes bytes_;
};

/// Rows of output in device memory, poisoned, with canaries in the gaps, before and behind.
class device_rows {
public:
  static constexpr std::int64_t margin = 32; // elements, keeps 16-byte alignment

  device_rows(
      backend& device, dtype type, std::int32_t rows, std::int32_t width, std::int64_t stride)
      : type_(type),
        rows_(rows),
        width_(width),
        stride_(stride),
        bytes_(device, poison(type, static_cast<std::size_t>(rows * stride + 2 * margin))) {}

  [[nodiscard]] elements at() const { return elements(bytes_.data(), type_).behind(margin); }

  /// The rows without gaps; fails the case if an element of a row was not written, or one beside the rows was.
  [[nodiscard]] std::vector<float> read() const {
    const auto raw = bytes_.read();
    std::vector<float> out;
    std::int64_t unwritten = 0;
    std::int64_t overwritten = 0;
    const auto size = size_of(type_);
    const auto poisoned = poison(type_, 1);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(raw.size() / size); ++i) {
      const std::int64_t place = i - margin;
      const bool is_inside = place >= 0 && place < rows_ * stride_ && place % stride_ < width_;
      const bool is_poison =
          std::memcmp(raw.data() + static_cast<std::size_t>(i) * size, poisoned.data(), size) == 0;
      unwritten += static_cast<std::int64_t>(is_inside && is_poison);
      overwritten += static_cast<std::int64_t>(!is_inside && !is_poison);
      if (is_inside) {
        out.push_back(value_at(raw.data() + static_cast<std::size_t>(i) * size));
      }
    }
    BOOST_TEST(unwritten == 0);
    BOOST_TEST(overwritten == 0);
    return out;
  }

private:
  /// A NaN that nobody computes.
  static std::vector<std::byte> poison(dtype type, std::size_t count) {
    std::vector<std::byte> out(count * size_of(type));
    for (std::size_t i = 0; i < count; ++i) {
      if (type == dtype::float32) {
        std::memcpy(out.data() + i * 4, &canary_bits, 4);
      } else {
        const std::uint16_t bits = type == dtype::bfloat16 ? 0x7fa5 : 0x7da5;
        std::memcpy(out.data() + i * 2, &bits, 2);
      }
    }
    return out;
  }

  [[nodiscard]] float value_at(const std::byte* from) const {
    if (type_ == dtype::float32) {
      float value = 0;
      std::memcpy(&value, from, sizeof value);
      return value;
    }
    std::uint16_t half = 0;
    std::memcpy(&half, from, sizeof half);
    return decode(type_, half);
  }

  dtype type_;
  std::int32_t rows_;
  std::int32_t width_;
  std::int64_t stride_;
  device_bytes bytes_;
};

/// Largest relative step between neighbours of a type: half of it is the error of one rounding.
inline double epsilon_of(dtype type) {
  switch (type) {
  case dtype::bfloat16:
    return 0x1p-7;
  case dtype::float16:
    return 0x1p-10;
  case dtype::float32:
    break;
  }
  return 0x1p-23;
}

} // namespace vdist::kernels::testing
