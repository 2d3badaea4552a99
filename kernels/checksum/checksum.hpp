// kernels/checksum/checksum.hpp — a sum over the content of a piece of memory, to find out whether it is still what it was.
//
//     sum = Σ mix(word i, i) + mix(bytes, ~0), modulo 2^64; words are 64 bits, little-endian, the last filled up with zeros
//
// H-1 The same bytes give the same sum on every device: additions of integers have no order. For a given place mix() is a
//     bijection, so one changed word always changes the sum; several leave it as it was with a chance of 2^-64.
// It finds accidents. Whoever chooses the bytes can choose the sum.
// Bytes: those of the data, read once. Integer operations: about 15 per word.
#pragma once

#include <cstddef>
#include <cstdint>

// Always inlined: a copy compiled for one instruction set must not serve another (kernels/cpu).
#if defined(__CUDACC__)
#define VDIST_CHECKSUM __host__ __device__ __forceinline__
#else
#define VDIST_CHECKSUM [[gnu::always_inline]] inline
#endif

namespace vdist::kernels {

struct checksum_args {
  const void* data = nullptr; // [bytes], 16-byte aligned
  std::size_t bytes = 0;
  std::uint64_t* sum = nullptr; // one word of device memory, 8-byte aligned, not within data
};

/// The part of the word at `place`, counted in words.
VDIST_CHECKSUM std::uint64_t checksum_mix(std::uint64_t word, std::uint64_t place) noexcept {
  std::uint64_t x = word ^ (place * 0x9E3779B97F4A7C15ULL);
  x ^= x >> 32U;
  x *= 0xD6E8FEB86659FD93ULL;
  return x ^ x >> 29U;
}

/// The part of the length.
VDIST_CHECKSUM std::uint64_t checksum_length(std::size_t bytes) noexcept {
  return checksum_mix(bytes, ~std::uint64_t{0});
}

} // namespace vdist::kernels

#undef VDIST_CHECKSUM
