#include "model/hub/file_lock.hpp"

#include "model/hub/cache_folder.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace vdist::hub {

result<std::optional<file_lock>> file_lock::try_lock(const std::filesystem::path& path) {
  file_lock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (lock.fd_ < 0) {
    return system_failure("open", path, errno);
  }
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) {
    return std::optional<file_lock>(std::move(lock));
  }
  const int code = errno;
  if (code == EWOULDBLOCK || code == EINTR) {
    return std::optional<file_lock>();
  }
  return system_failure("lock", path, code);
}

file_lock::file_lock(file_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

file_lock& file_lock::operator=(file_lock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

file_lock::~file_lock() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

} // namespace vdist::hub
