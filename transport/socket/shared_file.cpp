#include "transport/socket/shared_file.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits>
#include <sys/mman.h>
#include <sys/stat.h>

namespace vdist::socket {

namespace {

/// errno as an error: what more of a resource would cure is resource_exhausted.
error system_error(const char* call, std::size_t bytes) {
  const int cause = errno;
  const bool is_shortage =
      cause == EMFILE || cause == ENFILE || cause == ENOMEM || cause == ENOSPC || cause == EFBIG;
  return fail(is_shortage ? errc::resource_exhausted : errc::io_failed,
              fmt::format("shared file: {} (bytes={}): {}", call, bytes, std::strerror(cause)));
}

result<void> check_sealed(const unique_fd& file, std::size_t bytes) {
  const int seals = fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return fail(errc::invalid_argument, "shared file: the descriptor is not of a sealed file");
  }

  struct stat status {};

  if (fstat(file.get(), &status) != 0) {
    return system_error("fstat", bytes);
  }
  if (bytes == 0 || static_cast<std::size_t>(status.st_size) < bytes) {
    return fail(errc::invalid_argument,
                fmt::format("shared file: illegal size of a mapping (file={} bytes={})",
                            status.st_size,
                            bytes));
  }
  return {};
}

} // namespace

result<unique_fd> make_shared_file(const char* name, std::size_t bytes) {
  if (bytes > static_cast<std::size_t>(std::numeric_limits<off_t>::max())) {
    return fail(errc::resource_exhausted, fmt::format("shared file: too large (bytes={})", bytes));
  }
  unique_fd file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) {
    return system_error("memfd_create", bytes);
  }
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
    return system_error("ftruncate", bytes);
  }
  if (fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return system_error("F_ADD_SEALS", bytes);
  }
  return file;
}

result<shared_mapping>
shared_mapping::map(const unique_fd& file, std::size_t bytes, std::uintptr_t address) {
  VDIST_TRY(check_sealed(file, bytes));
  void* const wanted = reinterpret_cast<void*>(address);
  const int flags = MAP_SHARED | MAP_NORESERVE | (address == 0 ? 0 : MAP_FIXED_NOREPLACE);
  void* const mapped = mmap(wanted, bytes, PROT_READ | PROT_WRITE, flags, file.get(), 0);
  const bool is_taken = mapped == MAP_FAILED && errno == EEXIST;
  if (mapped == MAP_FAILED && !is_taken) {
    return system_error("mmap", bytes);
  }
  // An address that a sanitizer's runtime keeps for itself is a mere hint to mmap.
  if (is_taken || (address != 0 && mapped != wanted)) {
    if (!is_taken) {
      munmap(mapped, bytes);
    }
    return fail(errc::resource_exhausted,
                fmt::format("shared file: the address is taken in this process (address={:#x} "
                            "bytes={})",
                            address,
                            bytes));
  }
  return shared_mapping(std::span(static_cast<std::byte*>(mapped), bytes));
}

shared_mapping::shared_mapping(shared_mapping&& other) noexcept
    : memory_(std::exchange(other.memory_, {})) {}

shared_mapping& shared_mapping::operator=(shared_mapping&& other) noexcept {
  std::swap(memory_, other.memory_);
  return *this;
}

shared_mapping::~shared_mapping() {
  if (!memory_.empty()) {
    munmap(memory_.data(), memory_.size());
  }
}

} // namespace vdist::socket
