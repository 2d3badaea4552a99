// model/weights/safetensors_header.hpp — the header of a .safetensors file: 8 bytes little-endian
// length, then JSON
// {"name": {"dtype": "BF16", "shape": [out, in], "data_offsets": [begin, end]}, …}, then the data.
// Nothing in it is trusted. Every violation is errc::corrupt and names the file, the tensor and the
// rule: S-1 the length fits the file and max_header_bytes, the JSON is an object without duplicate
// keys; S-2 the type is one that the format defines, the shape has at most max_dimensions sizes and
// no overflow; S-3 elements × type size equals the byte range; S-4 the ranges tile the data: no
// gap, no overlap, nothing left over.
#pragma once

#include "runtime/base/result.hpp"

#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::weights {

inline constexpr std::size_t max_header_bytes = 100'000'000; // the format's own limit
inline constexpr std::size_t max_dimensions = 8;

struct tensor_entry {
  std::string name;
  std::string type_name;              // as in the file: "BF16", "I64" …
  std::optional<kernels::dtype> type; // set for F32, BF16 and F16, the types that can be loaded
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0; // bytes from the start of the data
  std::uint64_t end = 0;
};

struct safetensors_header {
  std::vector<tensor_entry> tensors; // by rising begin
  std::size_t data_offset = 0;       // bytes from the start of the file
};

/// Bytes of the length itself, at the start of the file.
inline constexpr std::size_t header_length_bytes = 8;

/// Bytes of length and header together. `start`: the file's first header_length_bytes, or all of a
/// shorter file; `name` is for the error text, here and below.
[[nodiscard]] result<std::size_t> safetensors_head_bytes(std::span<const std::byte> start,
                                                         std::uint64_t file_bytes,
                                                         std::string_view name);

/// `head`: at least the file's first safetensors_head_bytes(). Allocates in proportion to the header
/// only.
[[nodiscard]] result<safetensors_header> parse_safetensors_header(std::span<const std::byte> head,
                                                                  std::uint64_t file_bytes,
                                                                  std::string_view name);

} // namespace vdist::weights
