// model/weights/weight_file.hpp — a file of weights, open for reading at any place.
// Why read and not map: pages of a mapping count as memory of the process until they are dropped,
// and a file that shrinks kills a mapping process with SIGBUS, where a read is an error with a
// name. The bytes stay in the page cache of the host, for other ranks and the next start. Move-only;
// one thread at a time.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace vdist::weights {

/// Tells a file from another one of the same name.
struct file_identity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;

  bool operator==(const file_identity&) const = default;
};

class weight_file {
public:
  /// errc::not_found: no such file, or no regular one; io_failed: the system refuses.
  [[nodiscard]] static result<weight_file> open(const std::filesystem::path& path);

  weight_file(weight_file&& other) noexcept;
  weight_file& operator=(weight_file&& other) noexcept;
  ~weight_file();

  [[nodiscard]] const file_identity& identity() const { return identity_; }

  /// Fills `out` from byte `first` on, whole. `what` is for the error text: the tensor's name.
  /// errc::corrupt: the file ends before; io_failed: the system's reason.
  [[nodiscard]] result<void>
  read(std::uint64_t first, std::span<std::byte> out, std::string_view what) const;

private:
  explicit weight_file(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_; // for error text
  int fd_ = -1;
  file_identity identity_;
};

} // namespace vdist::weights
