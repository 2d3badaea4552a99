// kernels/sampling/sampling.hpp — logits to tokens on the device, for the sequences whose sampling needs nothing but their
// own logits: greedy, or temperature with top_k, min_p and top_p. What else a request may ask for (penalties, biases, log
// probabilities) is sampled on the host (model/sampling), from the same logits.
//
// S-1 to S-3 of model/sampling/sampler.hpp hold here too: candidates are ordered by (falling logit, rising id); the draw
// uses philox(seed, position) and nothing else; masses are exp((logit - largest) / temperature), summed in double. The
// order of these sums is the kernel's own, so a draw may differ from the host's where the uniform number falls within
// rounding of a boundary; the same logits always give the same token.
#pragma once

#include <cstdint>

namespace vdist::kernels {

/// One row's request. Travels to the device as it is.
struct sampling_row {
  std::uint64_t seed = 0;
  std::uint64_t position = 0; // tokens generated so far: the counter of the generator
  float temperature = 0;      // <= 0: greedy
  float top_p = 1;
  float min_p = 0;
  std::int32_t top_k = 0; // 0: all
  std::int32_t slot = 0;  // where the token is kept for the next step
  std::int32_t reserved = 0;
};

static_assert(sizeof(sampling_row) == 40);

struct sample_args {
  const float* logits;        // [rows, vocabulary], row stride logits_stride
  const sampling_row* wanted; // [rows]; slot < 0: the host's, or padding; nothing is written
  std::int32_t* tokens;       // [rows]; -1: the logits of this row hold a NaN
  std::int32_t* fed;          // [slots], fed[slot] = token; nullptr: not wanted
  std::int32_t rows;
  std::int32_t vocabulary;
  std::int64_t logits_stride;
};

/// digest = a function of the bits of the rows' elements and their places, equal for equal rows on every backend.
/// Sum over i of mix(bits(x[indices[r], c]) ^ (r * width + c) * odd), modulo 2^64. Elements are bits: words of any kind.
struct digest_args {
  const float* x;              // [*, width], row stride x_stride
  const std::int32_t* indices; // [rows]; < 0: left out
  std::uint64_t* digest;       // one word, device memory
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  bool is_in_order = false; // row r is x[r]; indices only say which rows are left out
  bool adds = false;        // to what *digest holds
};

/// The mixing function of digest_args: 64 bits in, each moves about half of those that come out.
[[nodiscard]] constexpr std::uint64_t digest_mix(std::uint32_t bits, std::uint64_t place) noexcept {
  std::uint64_t x = bits ^ (place * 0x9E3779B97F4A7C15ULL);
  x ^= x >> 32U;
  x *= 0xD6E8FEB86659FD93ULL;
  x ^= x >> 29U;
  x *= 0x9FB21C651E98DF25ULL;
  x ^= x >> 32U;
  return x;
}

} // namespace vdist::kernels
