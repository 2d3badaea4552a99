// kernels/dtype.hpp — element types, and pointers that know theirs. Activations are float32 on the CPU and what
// backend::types() says elsewhere; weights and KV keep their type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vdist::kernels {

enum class dtype : std::uint8_t { float32 = 0, bfloat16 = 1, float16 = 2 };

/// Bytes of one element.
[[nodiscard]] constexpr std::size_t size_of(dtype type) noexcept {
  return type == dtype::float32 ? 4 : 2;
}

[[nodiscard]] constexpr std::string_view to_string(dtype type) noexcept {
  switch (type) {
  case dtype::float32:
    return "float32";
  case dtype::bfloat16:
    return "bfloat16";
  case dtype::float16:
    return "float16";
  }
  return "unknown";
}

/// Where activations lie, and of which type they are. A pointer to floats converts to one. Borrowed.
/// Always inlined: a copy compiled for one instruction set must not serve another (kernels/cpu).
struct elements {
  void* data = nullptr;
  dtype type = dtype::float32;

  constexpr elements() = default;

  // NOLINTNEXTLINE(google-explicit-constructor): floats are the common case
  constexpr elements(float* floats) : data(floats) {}

  constexpr elements(void* data_, dtype type_) : data(data_), type(type_) {}

  /// The elements behind the first `count`.
  [[nodiscard]] elements behind(std::int64_t count) const {
    return {static_cast<std::byte*>(data) + count * static_cast<std::int64_t>(size_of(type)), type};
  }

  template <class T>
  [[nodiscard, gnu::always_inline]] T* as() const {
    return static_cast<T*>(data);
  }
};

/// The same, to be read only.
struct const_elements {
  const void* data = nullptr;
  dtype type = dtype::float32;

  constexpr const_elements() = default;

  // NOLINTNEXTLINE(google-explicit-constructor): as above
  constexpr const_elements(const float* floats) : data(floats) {}

  // NOLINTNEXTLINE(google-explicit-constructor): as above
  constexpr const_elements(float* floats) : data(floats) {}

  // NOLINTNEXTLINE(google-explicit-constructor): what may be written may be read
  constexpr const_elements(elements writable) : data(writable.data), type(writable.type) {}

  constexpr const_elements(const void* data_, dtype type_) : data(data_), type(type_) {}

  [[nodiscard]] const_elements behind(std::int64_t count) const {
    return {static_cast<const std::byte*>(data) + count * static_cast<std::int64_t>(size_of(type)),
            type};
  }

  template <class T>
  [[nodiscard, gnu::always_inline]] const T* as() const {
    return static_cast<const T*>(data);
  }
};

} // namespace vdist::kernels
