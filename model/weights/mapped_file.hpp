// model/weights/mapped_file.hpp — a file mapped read-only for its lifetime. Move-only.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <filesystem>
#include <span>

namespace vdist::weights {

class mapped_file {
public:
  /// errc::not_found or io_failed, naming the path. An empty file maps to an empty span.
  [[nodiscard]] static result<mapped_file> open(const std::filesystem::path& path);

  mapped_file(mapped_file&& other) noexcept;
  mapped_file& operator=(mapped_file&& other) noexcept;
  ~mapped_file();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Tells the kernel that bytes [first, first + count) will be read front to back. A hint: failure
  /// is ignored.
  void will_read(std::size_t first, std::size_t count) const noexcept;

  /// Takes the pages of the range out of this process; reading them again is legal and faults them
  /// in again.
  void drop(std::size_t first, std::size_t count) const noexcept;

private:
  mapped_file(std::byte* data, std::size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr; // nullptr: empty
  std::size_t size_ = 0;
};

} // namespace vdist::weights
