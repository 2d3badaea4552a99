// model/hub/partial_file.hpp — a blob on its way: what has arrived, its running digest, and the step
// that makes it whole. The digest always covers exactly the bytes of the file, so that a resumed
// download is checked from its first byte.
#pragma once

#include "model/hub/checksum.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace vdist::hub {

/// Move-only; its blob's lock is held as long as it lives.
class partial_file {
public:
  /// Opens or creates the file and digests what it holds already; `expected_bytes` of the whole
  /// blob. A file that is longer than that begins again.
  [[nodiscard]] static result<partial_file>
  open(const std::filesystem::path& path, checksum expected, std::uint64_t expected_bytes);

  partial_file(partial_file&& other) noexcept;
  partial_file& operator=(partial_file&& other) noexcept;
  ~partial_file();

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  [[nodiscard]] bool is_complete() const { return bytes_ == expected_bytes_; }

  /// errc::corrupt: more than was promised; resource_exhausted: no space.
  [[nodiscard]] result<void> append(std::span<const std::byte> part);

  /// Forgets what has arrived.
  [[nodiscard]] result<void> begin_again();

  /// For a complete file: errc::corrupt if its digest is another one; else the file is on disk and
  /// renamed to `blob` (H-1).
  [[nodiscard]] result<void> finish(const std::filesystem::path& blob);

private:
  partial_file(std::filesystem::path path,
               checksum expected,
               std::uint64_t expected_bytes,
               int fd,
               running_digest digest);
  [[nodiscard]] result<void> digest_contents();

  std::filesystem::path path_;
  checksum expected_;
  std::uint64_t expected_bytes_ = 0;
  int fd_ = -1;
  running_digest digest_;
  std::uint64_t bytes_ = 0;
};

} // namespace vdist::hub
