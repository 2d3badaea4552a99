// tests/transport/vault/fake_device.hpp — memory of devices for machines without any: files that are
// not sealed, so that nobody takes them for host memory, dirty when new, readable by the test.
#pragma once

#include "transport/vault/device_memory.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>

namespace vdist::testing {

inline constexpr std::int32_t fake_devices = 4;

/// As a driver does it: not zero (D-2). What is dirty is the first and the last byte.
inline result<socket::unique_fd> make_fake_memory(std::int32_t device, std::size_t bytes) {
  if (device >= fake_devices) {
    return fail(errc::not_found, "fake: there is no such device");
  }
  if (bytes % vault::region_alignment != 0) {
    return fail(errc::internal, "fake: no multiple of the alignment");
  }
  socket::unique_fd memory(memfd_create("fake-device", MFD_CLOEXEC));
  const char dirt = 'd';
  const auto size = static_cast<off_t>(bytes);
  const bool is_made = ftruncate(memory.get(), size) == 0 && pwrite(memory.get(), &dirt, 1, 0) == 1
                       && pwrite(memory.get(), &dirt, 1, size - 1) == 1;
  return is_made ? result<socket::unique_fd>(std::move(memory))
                 : fail(errc::resource_exhausted, "fake: no memory");
}

class fake_mapper : public vault::device_memory_mapper {
public:
  result<std::shared_ptr<std::byte>>
  map(int memory, std::int32_t /*device*/, std::size_t bytes, std::uint64_t address) override {
    if (const int seals = fcntl(memory, F_GET_SEALS); seals < 0 || (seals & F_SEAL_SHRINK) != 0) {
      return fail(errc::invalid_argument, "fake: not memory of a device"); // D-3
    }
    void* const wanted = reinterpret_cast<void*>(address);
    void* const mapped = mmap(wanted,
                              bytes,
                              PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                              memory,
                              0);
    if (mapped == MAP_FAILED) {
      return fail(errc::resource_exhausted, "fake: the address is taken");
    }
    return std::shared_ptr<std::byte>(static_cast<std::byte*>(mapped),
                                      [bytes](std::byte* unused) { munmap(unused, bytes); });
  }

  /// Gives the pages back, so that large regions stay cheap.
  result<void> fill_zero(std::int32_t /*device*/, std::span<std::byte> mapped) override {
    if (madvise(mapped.data(), mapped.size(), MADV_REMOVE) != 0) {
      return fail(errc::io_failed, "fake: MADV_REMOVE");
    }
    return {};
  }
};

/// All regions on one device.
inline vault::device_access
all_on(std::int32_t device,
       std::shared_ptr<vault::device_memory_mapper> mapper = std::make_shared<fake_mapper>()) {
  return {.place_of = [device](const vault::region_key&) { return vault::memory_place{device}; },
          .mapper = std::move(mapper)};
}

} // namespace vdist::testing
