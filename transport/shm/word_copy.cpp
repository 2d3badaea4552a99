#include "transport/shm/word_copy.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>

namespace vdist::shm {

void copy_to_shared(std::span<const std::byte> from, std::byte* shared) noexcept {
  auto* words = reinterpret_cast<std::uint64_t*>(shared);
  const std::byte* next = from.data();
  std::uint64_t word = 0;
  for (std::size_t n = from.size() / sizeof word; n > 0; --n, next += sizeof word) {
    std::memcpy(&word, next, sizeof word);
    std::atomic_ref(*words++).store(word, std::memory_order_relaxed);
  }
  if (const auto rest = from.size() % sizeof word; rest > 0) {
    word = 0;
    std::memcpy(&word, next, rest);
    std::atomic_ref(*words).store(word, std::memory_order_relaxed);
  }
}

void copy_from_shared(std::byte* shared, std::span<std::byte> to) noexcept {
  auto* words = reinterpret_cast<std::uint64_t*>(shared);
  std::byte* next = to.data();
  std::uint64_t word = 0;
  for (std::size_t n = to.size() / sizeof word; n > 0; --n, next += sizeof word) {
    word = std::atomic_ref(*words++).load(std::memory_order_relaxed);
    std::memcpy(next, &word, sizeof word);
  }
  if (const auto rest = to.size() % sizeof word; rest > 0) {
    word = std::atomic_ref(*words).load(std::memory_order_relaxed);
    std::memcpy(next, &word, rest);
  }
}

} // namespace vdist::shm
