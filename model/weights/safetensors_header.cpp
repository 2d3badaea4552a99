#include "model/weights/safetensors_header.hpp"

#include "model/weights/json_object.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::weights {

namespace {

using nlohmann::json;

constexpr std::string_view metadata_key = "__metadata__";

/// A type that the format defines, and what we can do with it.
struct type_entry {
  std::string_view name;
  std::uint32_t bits;
  std::optional<kernels::dtype> loadable;
};

constexpr std::array<type_entry, 21> known_types{{
    {"F32", 32, kernels::dtype::float32},
    {"BF16", 16, kernels::dtype::bfloat16},
    {"F16", 16, kernels::dtype::float16},
    {"BOOL", 8, {}},
    {"U8", 8, {}},
    {"I8", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
    {"U16", 16, {}},
    {"I16", 16, {}},
    {"U32", 32, {}},
    {"I32", 32, {}},
    {"U64", 64, {}},
    {"I64", 64, {}},
    {"F64", 64, {}},
}};

const type_entry* find_type(std::string_view name) {
  const auto* found = std::find_if(known_types.begin(),
                                   known_types.end(),
                                   [name](const type_entry& type) { return type.name == name; });
  return found == known_types.end() ? nullptr : found;
}

/// Errors of one header: `read <file>: <cause> (tensor=<name>, …)`.
struct header_context {
  std::string_view file;

  [[nodiscard]] error corrupt(std::string_view cause) const {
    return fail(errc::corrupt, fmt::format("read {}: {}", file, cause));
  }

  [[nodiscard]] error corrupt(std::string_view tensor, std::string_view cause) const {
    return fail(errc::corrupt, fmt::format("read {}: {} (tensor={})", file, cause, shown(tensor)));
  }
};

std::uint64_t read_length(std::span<const std::byte> start) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < header_length_bytes; ++i) {
    length |= std::to_integer<std::uint64_t>(start[i]) << (8 * i);
  }
  return length;
}

/// Element of `list` as an unsigned number; negative and fractional numbers are not.
std::optional<std::uint64_t> as_unsigned(const json& value) {
  return value.is_number_unsigned() ? std::optional(value.get<std::uint64_t>()) : std::nullopt;
}

result<std::vector<std::int64_t>>
parse_shape(const json& description, const std::string& name, const header_context& context) {
  const auto found = description.find("shape");
  if (found == description.end() || !found->is_array() || found->size() > max_dimensions) {
    return context.corrupt(name,
                           fmt::format("shape is not a list of at most {} sizes", max_dimensions));
  }
  std::vector<std::int64_t> shape;
  for (const json& element : *found) {
    const auto size = as_unsigned(element);
    if (!size || *size > static_cast<std::uint64_t>(INT64_MAX)) {
      return context.corrupt(name, "shape has an illegal size");
    }
    shape.push_back(static_cast<std::int64_t>(*size));
  }
  return shape;
}

/// Bytes of `shape` elements of `bits`; nullopt if the number overflows or is no whole number of
/// bytes.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, std::uint32_t bits) {
  std::uint64_t total = bits;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(size), &total)) {
      return std::nullopt;
    }
  }
  return total % 8 == 0 ? std::optional(total / 8) : std::nullopt;
}

result<tensor_entry>
parse_tensor(const std::string& name, const json& description, const header_context& context) {
  if (!description.is_object()) {
    return context.corrupt(name, "description is not an object");
  }
  tensor_entry entry{.name = name};
  const auto type_name = description.find("dtype");
  if (type_name == description.end() || !type_name->is_string()) {
    return context.corrupt(name, "dtype is not a string");
  }
  entry.type_name = type_name->get<std::string>();
  const type_entry* type = find_type(entry.type_name);
  if (type == nullptr) {
    return context.corrupt(name, fmt::format("unknown dtype {}", shown(entry.type_name)));
  }
  entry.type = type->loadable;
  VDIST_ASSIGN(entry.shape, parse_shape(description, name, context));

  const auto offsets = description.find("data_offsets");
  if (offsets == description.end() || !offsets->is_array() || offsets->size() != 2) {
    return context.corrupt(name, "data_offsets is not a list of 2 offsets");
  }
  const auto begin = as_unsigned((*offsets)[0]);
  const auto end = as_unsigned((*offsets)[1]);
  if (!begin || !end || *begin > *end) {
    return context.corrupt(name, "data_offsets is not a rising pair");
  }
  entry.begin = *begin;
  entry.end = *end;
  const auto bytes = bytes_of(entry.shape, type->bits);
  if (bytes != entry.end - entry.begin) {
    return context.corrupt(name,
                           fmt::format("shape and dtype do not fill the {} bytes of its range",
                                       entry.end - entry.begin));
  }
  return entry;
}

/// S-4; `tensors` is sorted by begin, then end.
result<void> check_tiling(const std::vector<tensor_entry>& tensors,
                          std::uint64_t data_bytes,
                          const header_context& context) {
  std::uint64_t at = 0;
  for (const tensor_entry& tensor : tensors) {
    if (tensor.begin < at) {
      return context.corrupt(tensor.name, "data range overlaps its predecessor's");
    }
    if (tensor.begin > at) {
      return context.corrupt(tensor.name,
                             fmt::format("gap of {} bytes before its data", tensor.begin - at));
    }
    if (tensor.end > data_bytes) {
      return context.corrupt(tensor.name,
                             fmt::format("data range ends at {}, behind the {} bytes of data",
                                         tensor.end,
                                         data_bytes));
    }
    at = tensor.end;
  }
  if (at != data_bytes) {
    return context.corrupt(fmt::format("{} bytes behind the last tensor", data_bytes - at));
  }
  return {};
}

} // namespace

result<std::size_t> safetensors_head_bytes(std::span<const std::byte> start,
                                           std::uint64_t file_bytes,
                                           std::string_view name) {
  const header_context context{name};
  if (start.size() < header_length_bytes || file_bytes < header_length_bytes) {
    return context.corrupt(fmt::format("file is shorter than {} bytes", header_length_bytes));
  }
  const std::uint64_t header_bytes = read_length(start);
  if (header_bytes > max_header_bytes || header_bytes > file_bytes - header_length_bytes) {
    return context.corrupt(
        fmt::format("header of {} bytes does not fit (file_bytes={}, bytes_max={})",
                    header_bytes,
                    file_bytes,
                    max_header_bytes));
  }
  return header_length_bytes + static_cast<std::size_t>(header_bytes);
}

result<safetensors_header> parse_safetensors_header(std::span<const std::byte> head,
                                                    std::uint64_t file_bytes,
                                                    std::string_view name) {
  const header_context context{name};
  safetensors_header header;
  VDIST_ASSIGN(header.data_offset, safetensors_head_bytes(head, file_bytes, name));
  VDIST_CHECK(head.size() >= header.data_offset, "S-1: the caller read the whole header");
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + header_length_bytes,
                              header.data_offset - header_length_bytes);
  if (!text.starts_with('{')) {
    return context.corrupt("header does not start with {");
  }
  VDIST_ASSIGN(const auto parsed, parse_json_object(text, name));

  for (const auto& [tensor_name, description] : parsed.items()) {
    if (tensor_name == metadata_key) {
      continue;
    }
    VDIST_ASSIGN(auto entry, parse_tensor(tensor_name, description, context));
    header.tensors.push_back(std::move(entry));
  }
  std::sort(header.tensors.begin(),
            header.tensors.end(),
            [](const tensor_entry& a, const tensor_entry& b) {
              return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
            });
  VDIST_TRY(check_tiling(header.tensors, file_bytes - header.data_offset, context));
  return header;
}

} // namespace vdist::weights
