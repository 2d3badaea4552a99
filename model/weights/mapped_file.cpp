#include "model/weights/mapped_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace vdist::weights {

namespace {

/// Closes on every path out of open(); the mapping outlives the descriptor.
struct descriptor {
  int fd;

  explicit descriptor(int value) : fd(value) {}

  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;

  ~descriptor() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

error system_failure(const char* call, const std::filesystem::path& path) {
  const int code = errno;
  return fail(code == ENOENT ? errc::not_found : errc::io_failed,
              fmt::format("{} {}: {}", call, path.string(), std::generic_category().message(code)));
}

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

} // namespace

result<mapped_file> mapped_file::open(const std::filesystem::path& path) {
  const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) {
    return system_failure("open", path);
  }

  struct stat status {};

  if (::fstat(file.fd, &status) != 0) {
    return system_failure("stat", path);
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(errc::not_found, fmt::format("open {}: not a regular file", path.string()));
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    return mapped_file(nullptr, 0);
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    return system_failure("map", path);
  }
  return mapped_file(static_cast<std::byte*>(data), size);
}

mapped_file::mapped_file(mapped_file&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

mapped_file& mapped_file::operator=(mapped_file&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

mapped_file::~mapped_file() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

void mapped_file::will_read(std::size_t first, std::size_t count) const noexcept {
  const std::size_t begin = first / page_bytes() * page_bytes();
  const std::size_t end = std::min(first + count, size_);
  if (begin < end) {
    ::madvise(data_ + begin, end - begin, MADV_SEQUENTIAL);
  }
}

void mapped_file::drop(std::size_t first, std::size_t count) const noexcept {
  const std::size_t begin = first / page_bytes() * page_bytes();
  const std::size_t end = std::min(first + count, size_);
  if (begin < end) {
    ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
  }
}

} // namespace vdist::weights
