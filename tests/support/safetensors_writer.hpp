// tests/support/safetensors_writer.hpp — builds small .safetensors files in memory, well-formed
// ones from tensors and damaged ones from any header text. Names are written as they are: keep
// quotes and backslashes out of them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::testing {

/// 8 bytes of length, the header text, the data.
inline std::string safetensors_file(std::string_view header, std::string_view data) {
  std::string file;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    file.push_back(static_cast<char>((static_cast<std::uint64_t>(header.size()) >> shift) & 0xFFU));
  }
  file += header;
  file += data;
  return file;
}

class safetensors_writer {
public:
  /// `bytes` are the elements, little-endian, of the type that `type_name` says ("F32", "BF16",
  /// "I64" …).
  void add(std::string_view name,
           std::string_view type_name,
           const std::vector<std::int64_t>& shape,
           std::string_view bytes) {
    header_ += header_.empty() ? "{" : ",";
    header_ += '"';
    header_ += name;
    header_ += "\":{\"dtype\":\"";
    header_ += type_name;
    header_ += "\",\"shape\":[";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      header_ += (i == 0 ? "" : ",") + std::to_string(shape[i]);
    }
    header_ += "],\"data_offsets\":[" + std::to_string(data_.size()) + ",";
    data_ += bytes;
    header_ += std::to_string(data_.size()) + "]}";
  }

  /// The whole file. A header padded with spaces to a multiple of 8 is what the format's own writer
  /// does.
  [[nodiscard]] std::string file(bool pads_header = true) const {
    std::string header = header_.empty() ? "{}" : header_ + "}";
    while (pads_header && header.size() % 8 != 0) {
      header += ' ';
    }
    return safetensors_file(header, data_);
  }

private:
  std::string header_; // grows up to its closing brace
  std::string data_;
};

} // namespace vdist::testing
