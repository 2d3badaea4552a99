#include "model/hub/partial_file.hpp"

#include "model/hub/cache_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace vdist::hub {

namespace {

constexpr std::size_t digest_piece_bytes = std::size_t{1} << 20;

} // namespace

result<partial_file> partial_file::open(const std::filesystem::path& path,
                                        checksum expected,
                                        std::uint64_t expected_bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) {
    return system_failure("open", path, errno);
  }
  auto digest = running_digest::start(expected.kind, expected_bytes);
  if (!digest) {
    ::close(fd);
    return digest.error();
  }
  partial_file file(path, std::move(expected), expected_bytes, fd, *std::move(digest));

  struct stat status {};

  if (::fstat(fd, &status) != 0) {
    return system_failure("stat", path, errno);
  }
  file.bytes_ = static_cast<std::uint64_t>(status.st_size);
  if (file.bytes_ > expected_bytes) {
    VDIST_TRY(file.begin_again());
  }
  VDIST_TRY(file.digest_contents());
  return file;
}

partial_file::partial_file(std::filesystem::path path,
                           checksum expected,
                           std::uint64_t expected_bytes,
                           int fd,
                           running_digest digest)
    : path_(std::move(path)),
      expected_(std::move(expected)),
      expected_bytes_(expected_bytes),
      fd_(fd),
      digest_(std::move(digest)) {}

partial_file::partial_file(partial_file&& other) noexcept
    : path_(std::move(other.path_)),
      expected_(std::move(other.expected_)),
      expected_bytes_(other.expected_bytes_),
      fd_(std::exchange(other.fd_, -1)),
      digest_(std::move(other.digest_)),
      bytes_(other.bytes_) {}

partial_file& partial_file::operator=(partial_file&& other) noexcept {
  path_ = std::move(other.path_);
  expected_ = std::move(other.expected_);
  expected_bytes_ = other.expected_bytes_;
  std::swap(fd_, other.fd_);
  digest_ = std::move(other.digest_);
  bytes_ = other.bytes_;
  return *this;
}

partial_file::~partial_file() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

result<void> partial_file::digest_contents() {
  std::vector<std::byte> piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(bytes_, digest_piece_bytes)));
  for (std::uint64_t at = 0; at < bytes_;) {
    const ssize_t got = ::pread(fd_, piece.data(), piece.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return system_failure("read", path_, got < 0 ? errno : EIO);
    }
    digest_.add({piece.data(), static_cast<std::size_t>(got)});
    at += static_cast<std::uint64_t>(got);
  }
  return {};
}

result<void> partial_file::append(std::span<const std::byte> part) {
  if (part.size() > expected_bytes_ - bytes_) {
    return fail(errc::corrupt,
                fmt::format("download: more bytes than were promised (bytes={})", expected_bytes_));
  }
  digest_.add(part);
  while (!part.empty()) {
    const ssize_t put = ::pwrite(fd_, part.data(), part.size(), static_cast<off_t>(bytes_));
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      return system_failure("write", path_, errno);
    }
    bytes_ += static_cast<std::uint64_t>(put);
    part = part.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

result<void> partial_file::begin_again() {
  if (::ftruncate(fd_, 0) != 0) {
    return system_failure("truncate", path_, errno);
  }
  bytes_ = 0;
  VDIST_ASSIGN(digest_, running_digest::start(expected_.kind, expected_bytes_));
  return {};
}

result<void> partial_file::finish(const std::filesystem::path& blob) {
  const std::string found = digest_.finish();
  if (found != expected_.hex) {
    return fail(errc::corrupt,
                fmt::format("download: the contents have another checksum (expected={}, found={})",
                            expected_.hex,
                            found));
  }
  if (::fdatasync(fd_) != 0) {
    return system_failure("sync", path_, errno);
  }
  std::error_code failure;
  std::filesystem::rename(path_, blob, failure);
  return failure ? result<void>(system_failure("rename", path_, failure.value())) : result<void>();
}

} // namespace vdist::hub
