// transport/vault/device_memory.hpp — what a vault is given so that it can keep regions in the memory of devices. Only
// the two ends know what a device is: the source in the vault's process makes memory, the mapper in a process that uses
// it makes it readable for kernels; between them travels a descriptor.
// D-1 the memory lives as long as a descriptor or a mapping of any process does, and no process needs a device's context
// to keep it. D-2 a source need not clear memory: the process whose map() makes a region fills it with zeros before
// anybody else may map it, and if that process dies first, the next one does (V-2). D-3 a descriptor of host memory is
// never mapped as a device's, nor the other way round.
#pragma once

#include "transport/socket/unique_fd.hpp"
#include "transport/vault/vault.hpp"

#include <functional>

namespace vdist::vault {

/// Where the bytes of a region are: in the host's memory or in that of a device. Ordinals mean the same devices in every
/// process of a host, which have the same environment.
struct memory_place {
  std::int32_t device = -1; // -1: the host

  auto operator<=>(const memory_place&) const = default;

  [[nodiscard]] bool is_host() const { return device < 0; }
};

inline constexpr memory_place host_memory{};
/// Largest ordinal that a vault takes.
inline constexpr std::int32_t device_max = 255;

/// "host" or "device 3".
[[nodiscard]] std::string to_string(memory_place place);

/// Makes `bytes` (a multiple of region_alignment) of memory on a device. Called by the server's thread. Errors:
/// not_found (no such devices on this host), resource_exhausted.
using device_memory_source =
    std::function<result<socket::unique_fd>(std::int32_t device, std::size_t bytes)>;

/// Makes memory of a source usable in this process. Thread-safe.
class device_memory_mapper {
public:
  virtual ~device_memory_mapper() = default;

  /// `bytes` of `memory` at `address` of the device's address space, unmapped with the last owner of what is returned;
  /// the descriptor is borrowed for the call. Errors: invalid_argument (no memory of a device, D-3),
  /// resource_exhausted (the address is taken), not_found.
  [[nodiscard]] virtual result<std::shared_ptr<std::byte>>
  map(int memory, std::int32_t device, std::size_t bytes, std::uint64_t address) = 0;

  /// Returns when the mapped memory is zero. Error: io_failed.
  [[nodiscard]] virtual result<void> fill_zero(std::int32_t device,
                                               std::span<std::byte> mapped) = 0;
};

/// How one process uses devices' memory. Without a mapper all its regions are the host's.
struct device_access {
  std::function<memory_place(const region_key&)> place_of;
  std::shared_ptr<device_memory_mapper> mapper;
};

} // namespace vdist::vault
