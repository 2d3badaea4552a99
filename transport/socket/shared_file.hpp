// transport/socket/shared_file.hpp — memory as a file without a name: whoever holds its descriptor
// can map it, and it lives until the last descriptor and the last mapping are gone.
// Nothing appears in any file system, so nothing is left behind by a crash.
// S-1 a shared file never changes its size (seals). S-2 only files with that seal are mapped: no
// peer can shrink one under its readers, which would end them by SIGBUS.
// Thread-safe as far as the objects are not shared. Cost: system calls; pages appear when touched.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace vdist::socket {

/// A file of `bytes` zeros, close-on-exec, sealed (S-1). `name` is shown in /proc, nothing more.
/// Errors: resource_exhausted (descriptors, memory, size), io_failed.
[[nodiscard]] result<unique_fd> make_shared_file(const char* name, std::size_t bytes);

/// The first bytes of a shared file in this process's memory, readable and writable, seen by all
/// who map it. Unmapped with this object; the descriptor is not needed any more after map().
class shared_mapping {
public:
  /// Maps `bytes` of `file` at `address`, which must be free and a multiple of the page size, or
  /// anywhere when it is 0. Errors: invalid_argument (not a sealed file, shorter than `bytes`, no bytes),
  /// resource_exhausted (the address is taken, or the system has no memory for the mapping).
  [[nodiscard]] static result<shared_mapping>
  map(const unique_fd& file, std::size_t bytes, std::uintptr_t address = 0);

  shared_mapping(shared_mapping&& other) noexcept;
  shared_mapping& operator=(shared_mapping&& other) noexcept;
  shared_mapping(const shared_mapping&) = delete;
  shared_mapping& operator=(const shared_mapping&) = delete;
  ~shared_mapping();

  [[nodiscard]] std::span<std::byte> memory() const noexcept { return memory_; }

private:
  explicit shared_mapping(std::span<std::byte> memory) noexcept : memory_(memory) {}

  std::span<std::byte> memory_; // empty when moved from
};

} // namespace vdist::socket
