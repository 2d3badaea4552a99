#include "model/weights/random_source.hpp"

#include "model/weights/convert.hpp"

#include <algorithm>
#include <string_view>

namespace vdist::weights {

namespace {

constexpr std::size_t chunk_elements = 1024;

/// Mixes 64 bits so that each bit of the input moves about half of the output.
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31U;
  x *= 0x9FB21C651E98DF25ULL;
  x ^= x >> 29U;
  x *= 0xD6E8FEB86659FD93ULL;
  x ^= x >> 32U;
  return x;
}

std::uint64_t key_of(std::uint64_t seed, std::string_view name) {
  std::uint64_t key = mix(seed + 0x9E3779B97F4A7C15ULL);
  for (const char letter : name) {
    key = mix(key ^ static_cast<unsigned char>(letter));
  }
  return key;
}

/// Two rounds of multiply and shift on 32 bits: cheap enough to be bound by memory, good enough for
/// weights.
inline std::uint32_t hash(std::uint32_t x, std::uint32_t key) noexcept {
  x += key;
  x ^= x >> 16U;
  x *= 0x6C8E9CF5U;
  x ^= x >> 15U;
  x *= 0x85157AF5U;
  x ^= x >> 16U;
  return x;
}

/// Generates runs of elements; which values, the derived class says. All of them are small: they
/// fit every type.
class generator : public tensor_reader {
public:
  result<void> read(const tensor_block& block, const block_target& target) override {
    for (std::int64_t line = 0; line < block.lines; ++line) {
      write(block.first + line * block.stride,
            block.count,
            target.type,
            target.data + static_cast<std::size_t>(line) * target.stride);
    }
    return {};
  }

private:
  virtual void write(std::int64_t first,
                     std::int64_t count,
                     kernels::dtype type,
                     std::byte* destination) const noexcept = 0;
};

class matrix_reader final : public generator {
public:
  matrix_reader(std::uint64_t key, float deviation)
      // The difference of two uniform 16-bit numbers has the variance 2 (2^32 - 1) / 12.
      : key_(key), scale_(deviation / 26754.68F) {}

private:
  void write(std::int64_t first,
             std::int64_t count,
             kernels::dtype type,
             std::byte* destination) const noexcept override {
    float buffer[chunk_elements];
    auto at = static_cast<std::uint64_t>(first);
    const std::uint64_t end = at + static_cast<std::uint64_t>(count);
    while (at < end) {
      // A chunk never crosses a multiple of 2^32, so that the upper half of the index enters
      // through the key.
      const std::uint64_t page_end = ((at >> 32U) + 1) << 32U;
      const std::size_t here = std::min<std::uint64_t>({chunk_elements, end - at, page_end - at});
      fill(at, here, buffer);
      static_cast<void>(convert_floats(buffer, type, destination, here));
      destination += here * kernels::size_of(type);
      at += here;
    }
  }

  void fill(std::uint64_t first, std::size_t count, float* out) const noexcept {
    const auto key = static_cast<std::uint32_t>(mix(key_ + (first >> 32U)));
    const auto low = static_cast<std::uint32_t>(first);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t bits = hash(low + i, key);
      const auto difference =
          static_cast<std::int32_t>(bits & 0xFFFFU) - static_cast<std::int32_t>(bits >> 16U);
      out[i] = static_cast<float>(difference) * scale_;
    }
  }

  std::uint64_t key_;
  float scale_;
};

class constant_reader final : public generator {
public:
  explicit constant_reader(float value) : value_(value) {}

private:
  void write(std::int64_t /*first*/,
             std::int64_t count,
             kernels::dtype type,
             std::byte* destination) const noexcept override {
    for (std::int64_t i = 0; i < count; ++i) {
      static_cast<void>(convert_floats(&value_, type, destination, 1));
      destination += kernels::size_of(type);
    }
  }

  float value_;
};

} // namespace

result<std::unique_ptr<tensor_reader>> random_source::open(const tensor_ref& tensor,
                                                           weight_role role) const {
  std::unique_ptr<tensor_reader> reader;
  switch (role) {
  case weight_role::norm:
    reader = std::make_unique<constant_reader>(1.0F);
    break;
  case weight_role::matrix:
    reader = std::make_unique<matrix_reader>(key_of(seed_, tensor.names.front()),
                                             random_matrix_deviation);
    break;
  case weight_role::bias:
    reader =
        std::make_unique<matrix_reader>(key_of(seed_, tensor.names.front()), random_bias_deviation);
    break;
  }
  return reader;
}

} // namespace vdist::weights
