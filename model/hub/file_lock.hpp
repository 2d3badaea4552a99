// model/hub/file_lock.hpp — a lock between processes, and between threads: flock on a file of its
// own, as other tools that write the same cache do. The file stays; a dead holder's lock is gone.
#pragma once

#include "runtime/base/result.hpp"

#include <filesystem>
#include <optional>

namespace vdist::hub {

/// Held as long as it lives. Move-only.
class file_lock {
public:
  /// nullopt: somebody else holds it. errc::io_failed: the system refuses.
  [[nodiscard]] static result<std::optional<file_lock>> try_lock(const std::filesystem::path& path);

  file_lock(file_lock&& other) noexcept;
  file_lock& operator=(file_lock&& other) noexcept;
  ~file_lock();

private:
  explicit file_lock(int fd) : fd_(fd) {}

  int fd_ = -1;
};

} // namespace vdist::hub
