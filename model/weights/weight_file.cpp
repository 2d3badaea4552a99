#include "model/weights/weight_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace vdist::weights {

namespace {

error system_failure(const char* call, const std::filesystem::path& path) {
  const int code = errno;
  return fail(code == ENOENT ? errc::not_found : errc::io_failed,
              fmt::format("{} {}: {}", call, path.string(), std::generic_category().message(code)));
}

} // namespace

result<weight_file> weight_file::open(const std::filesystem::path& path) {
  weight_file file(path);
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0) {
    return system_failure("open", path);
  }

  struct stat status {};

  if (::fstat(file.fd_, &status) != 0) {
    return system_failure("stat", path);
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(errc::not_found, fmt::format("open {}: not a regular file", path.string()));
  }
  file.identity_ = {.device = status.st_dev,
                    .inode = status.st_ino,
                    .bytes = static_cast<std::uint64_t>(status.st_size)};
  return file;
}

weight_file::weight_file(weight_file&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      identity_(other.identity_) {}

weight_file& weight_file::operator=(weight_file&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(identity_, other.identity_);
  return *this;
}

weight_file::~weight_file() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

result<void>
weight_file::read(std::uint64_t first, std::span<std::byte> out, std::string_view what) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(first));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      const int code = errno;
      return fail(errc::io_failed,
                  fmt::format("read {}: {} (tensor={}, offset={}, bytes={})",
                              path_.string(),
                              std::generic_category().message(code),
                              what,
                              first,
                              out.size()));
    }
    if (got == 0) {
      return fail(
          errc::corrupt,
          fmt::format("read {}: the file ends early (tensor={}, offset={}, bytes_missing={})",
                      path_.string(),
                      what,
                      first,
                      out.size()));
    }
    first += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

} // namespace vdist::weights
