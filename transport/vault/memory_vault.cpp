#include "transport/vault/memory_vault.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <sys/mman.h>

namespace vdist::vault {

namespace {

constexpr std::size_t page_bytes = 4096;

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

memory_vault::memory_vault(std::size_t limit_bytes)
    : limit_bytes_(limit_bytes == 0 ? std::numeric_limits<std::size_t>::max() : limit_bytes) {}

memory_vault::~memory_vault() {
  for (const auto& [key, held] : entries_) {
    munmap(held.address, held.mapped_bytes);
  }
}

result<region> memory_vault::map(const region_key& key, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    const entry& held = found->second;
    if (held.bytes != bytes) {
      return fail(errc::invalid_argument,
                  fmt::format("vault: the region exists with another size ({} bytes={} held={})",
                              to_string(key),
                              bytes,
                              held.bytes));
    }
    return region{std::span(held.address, held.bytes), false, held.ready_hash};
  }
  if (bytes == 0 || bytes > std::numeric_limits<std::size_t>::max() / 2) {
    return fail(errc::invalid_argument,
                fmt::format("vault: illegal size ({} bytes={})", to_string(key), bytes));
  }
  const std::size_t mapped = (bytes + page_bytes - 1) / page_bytes * page_bytes;
  if (const std::size_t room = limit_bytes_ - total_bytes_; mapped > room) {
    return fail(errc::resource_exhausted,
                fmt::format("vault: the limit is reached ({} bytes={} missing={} held={} limit={})",
                            to_string(key),
                            mapped,
                            mapped - room,
                            total_bytes_,
                            limit_bytes_));
  }
  std::byte* address = reserve(mapped);
  if (address == nullptr) {
    const int cause = errno;
    return fail(errc::resource_exhausted,
                fmt::format("vault: the system refused the memory ({} bytes={} missing={}): {}",
                            to_string(key),
                            mapped,
                            mapped,
                            std::strerror(cause)));
  }
  entries_.emplace(key, entry{address, bytes, mapped, std::nullopt});
  total_bytes_ += mapped;
  return region{std::span(address, bytes), true, std::nullopt};
}

result<void> memory_vault::mark_ready(const region_key& key, std::uint64_t content_hash) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    return fail(errc::not_found,
                fmt::format("vault: no such region to mark ready ({})", to_string(key)));
  }
  found->second.ready_hash = content_hash;
  return {};
}

std::optional<std::uint64_t> memory_vault::ready_hash(const region_key& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found == entries_.end() ? std::nullopt : found->second.ready_hash;
}

result<void> memory_vault::release(const region_key& key) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    return fail(errc::not_found,
                fmt::format("vault: no such region to release ({})", to_string(key)));
  }
  munmap(found->second.address, found->second.mapped_bytes);
  total_bytes_ -= found->second.mapped_bytes;
  entries_.erase(found);
  return {};
}

std::size_t memory_vault::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return total_bytes_;
}

} // namespace vdist::vault
