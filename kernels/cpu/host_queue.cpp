#include "kernels/cpu/host_queue.hpp"

#include <cstdlib>
#include <cstring>

namespace vdist::kernels {

namespace {

constexpr std::size_t alignment = 256;

} // namespace

void* host_queue::allocate(std::size_t bytes) noexcept {
  return std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
}

void host_queue::release(void* memory) noexcept {
  std::free(memory);
}

void* host_queue::allocate_staging(std::size_t bytes) noexcept {
  return allocate(bytes);
}

void host_queue::release_staging(void* memory) noexcept {
  release(memory);
}

void host_queue::copy_in(void* to, const void* from, std::size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
}

void host_queue::copy_out(void* to, const void* from, std::size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
}

void host_queue::fill_zero(void* memory, std::size_t bytes) noexcept {
  std::memset(memory, 0, bytes);
}

} // namespace vdist::kernels
