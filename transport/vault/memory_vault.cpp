#include "transport/vault/memory_vault.hpp"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace vdist::vault {

namespace {

region_limits limits_of(std::size_t limit_bytes) {
  return limit_bytes == 0 ? region_limits{} : region_limits{.bytes = limit_bytes};
}

/// Reserves `bytes` (whole pages) of zero-filled memory at a multiple of region_alignment, or
/// nullptr with errno set. Maps one alignment more and gives back what sticks out.
std::byte* reserve(std::size_t bytes) {
  const std::size_t with_slack = bytes + region_alignment;
  void* mapped = mmap(nullptr,
                      with_slack,
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1,
                      0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  auto* base = static_cast<std::byte*>(mapped);
  const auto beyond = reinterpret_cast<std::uintptr_t>(base) % region_alignment;
  const std::size_t front = beyond == 0 ? 0 : region_alignment - beyond;
  if (front > 0) {
    munmap(base, front);
  }
  if (const std::size_t back = with_slack - front - bytes; back > 0) {
    munmap(base + front + bytes, back);
  }
  if (bytes >= region_alignment) {
    // Advice only: without huge pages the region works, a little slower.
    madvise(base + front, bytes, MADV_HUGEPAGE);
  }
  return base + front;
}

} // namespace

/// One region's bytes, unmapped with the last owner.
class memory_vault::anonymous_memory {
public:
  anonymous_memory(std::byte* address, std::size_t bytes) : address_(address), bytes_(bytes) {}

  ~anonymous_memory() { munmap(address_, bytes_); }

  anonymous_memory(const anonymous_memory&) = delete;
  anonymous_memory& operator=(const anonymous_memory&) = delete;

  [[nodiscard]] std::byte* address() const { return address_; }

private:
  std::byte* const address_;
  const std::size_t bytes_;
};

memory_vault::memory_vault(std::size_t limit_bytes) : table_(limits_of(limit_bytes)) {}

memory_vault::~memory_vault() = default;

result<region> memory_vault::map(const region_key& key, std::size_t bytes) {
  using owner = std::shared_ptr<const anonymous_memory>;
  const auto make = [](std::size_t mapped_bytes) -> result<owner> {
    std::byte* address = reserve(mapped_bytes);
    if (address == nullptr) {
      return fail(errc::resource_exhausted, std::strerror(errno));
    }
    return owner(std::make_shared<anonymous_memory>(address, mapped_bytes));
  };
  const std::lock_guard lock(mutex_);
  VDIST_ASSIGN(const auto found, table_.map(key, bytes, make));
  const auto& held = *found.held;
  return region{
      std::span(held.memory->address(), bytes), found.is_new, held.ready_hash, held.memory};
}

result<void> memory_vault::mark_ready(const region_key& key, std::uint64_t content_hash) {
  const std::lock_guard lock(mutex_);
  return table_.mark_ready(key, content_hash);
}

std::optional<std::uint64_t> memory_vault::ready_hash(const region_key& key) const {
  const std::lock_guard lock(mutex_);
  return table_.ready_hash(key);
}

result<void> memory_vault::release(const region_key& key) {
  std::unique_lock lock(mutex_);
  VDIST_ASSIGN(const auto released, table_.release(key));
  lock.unlock(); // unmapping a large region takes a while
  return {};
}

std::size_t memory_vault::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return table_.usage().bytes;
}

} // namespace vdist::vault
