// runtime/topology/slices.hpp — the part of a table's rows that one tensor rank holds; heads: model/weights.
// Pure arithmetic; legal only for sizes that legal_tensor_sizes() lists.
#pragma once

#include <cstdint>

namespace vdist::topology {

/// Half-open range [first, first + count).
struct slice {
  std::int32_t first = 0;
  std::int32_t count = 0;

  [[nodiscard]] std::int32_t last() const { return first + count; }
};

/// An even split of `total`, which must be a multiple of `size`.
[[nodiscard]] slice even_slice(std::int32_t total, std::int32_t rank, std::int32_t size);

/// The vocabulary is padded to a multiple of this before it is split: aligned rows, equal parts.
inline constexpr std::int32_t vocabulary_padding = 64;

/// Rows of the padded vocabulary: the smallest multiple of lcm(vocabulary_padding, size) that is
/// not below.
[[nodiscard]] std::int32_t padded_vocabulary(std::int32_t vocabulary, std::int32_t size);

/// Rows of the padded vocabulary that a rank holds; rows at or above `vocabulary` are padding.
[[nodiscard]] slice vocabulary_slice(std::int32_t vocabulary, std::int32_t rank, std::int32_t size);

} // namespace vdist::topology
