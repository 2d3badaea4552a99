// transport/tensor/arguments.hpp — the checks of arguments that every communicator makes before it
// moves a byte, so that all refuse the same and a refused call leaves the group in step. Internal to
// transport/tensor and the communicators of model/exec. Errors: invalid_argument.
#pragma once

#include "transport/tensor/communicator.hpp"

#include <array>
#include <string_view>

namespace vdist::tensor {

/// Largest group of any communicator: bounds the arrays that live on the stack.
inline constexpr std::int32_t group_ranks_max = 64;

/// rank within 0 … size-1, size within 1 … group_ranks_max. `what` is joined.
[[nodiscard]] result<void> check_place(std::string_view what, std::int32_t rank, std::int32_t size);

/// whole == size * part, in elements.
[[nodiscard]] result<void>
check_parts_fit(std::string_view operation, std::size_t part, std::size_t whole, std::size_t size);

/// What all_gather was given: `in` elements are `rows` equal rows, `out` is `size` times as many.
[[nodiscard]] result<void>
check_gather(std::size_t in, std::size_t out, std::size_t rows, std::size_t size);

/// `root` is a rank of the group.
[[nodiscard]] result<void>
check_root(std::string_view operation, std::int32_t root, std::int32_t size);

/// `peer` is another rank of the group.
[[nodiscard]] result<void>
check_peer(std::string_view operation, std::int32_t peer, std::int32_t me, std::int32_t size);

/// What all_to_all_v was given: a count and an offset per rank, every part within its buffer, and
/// as much sent to this rank itself as it receives from itself.
struct all_to_all_arguments {
  std::span<const std::byte> in;
  const rank_parts& in_parts;
  std::span<std::byte> out;
  const rank_parts& out_parts;
};

[[nodiscard]] result<void>
check_all_to_all(const all_to_all_arguments& given, std::int32_t me, std::int32_t size);

/// The parts of all_to_all: `size` equal ones.
class equal_parts {
public:
  equal_parts(std::size_t part_bytes, std::int32_t size);

  [[nodiscard]] rank_parts view() const {
    return {std::span(counts_).first(size_), std::span(offsets_).first(size_)};
  }

private:
  std::size_t size_;
  std::array<std::size_t, group_ranks_max> counts_;
  std::array<std::size_t, group_ranks_max> offsets_;
};

} // namespace vdist::tensor
