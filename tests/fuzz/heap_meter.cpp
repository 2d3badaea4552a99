// Counts what the programs of this folder ask the heap for. The linker sends every call of malloc in their objects here
// (--wrap=malloc): a library in a header that calls malloc itself is seen like one that uses operator new.
#include "tests/fuzz/fuzz_run.hpp"

#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t asked = 0;

} // namespace

extern "C" void* __real_malloc(std::size_t bytes);

extern "C" void* __wrap_malloc(std::size_t bytes) {
  asked += bytes;
  return __real_malloc(bytes);
}

void* operator new(std::size_t bytes) {
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) {
    return memory;
  }
  throw std::bad_alloc();
}

// The standard library's own calls the one above; a sanitizer's does not, and then meets the delete below.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes == 0 ? 1 : bytes);
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace vdist::testing::fuzz {

std::size_t heap_bytes() noexcept {
  return asked;
}

} // namespace vdist::testing::fuzz
