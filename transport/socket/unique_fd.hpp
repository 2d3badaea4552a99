// transport/socket/unique_fd.hpp — a file descriptor with one owner, closed with it.
// The header is all there is. Not thread-safe; moving and get() cost nothing.
#pragma once

#include <unistd.h>
#include <utility>

namespace vdist::socket {

class unique_fd {
public:
  unique_fd() = default;

  /// Takes over `fd`; a negative one means none.
  explicit unique_fd(int fd) noexcept : fd_(fd) {}

  unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}

  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }

  unique_fd(const unique_fd&) = delete;
  unique_fd& operator=(const unique_fd&) = delete;

  ~unique_fd() { reset(); }

  explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Borrowed: valid while this object owns it. -1 when there is none.
  [[nodiscard]] int get() const noexcept { return fd_; }

  /// The caller owns it from now on.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  void reset() noexcept {
    if (fd_ >= 0) {
      ::close(release()); // also after EINTR the descriptor is gone: never twice
    }
  }

private:
  int fd_ = -1;
};

} // namespace vdist::socket
