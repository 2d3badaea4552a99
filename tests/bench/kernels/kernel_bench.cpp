#include "tests/bench/kernels/kernel_bench.hpp"

#include "kernels/cpu/scratch.hpp"
#include "kernels/cpu/thread_team.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <vector>

namespace vdist::kernels::bench {

namespace {

constexpr std::int64_t buffer_bytes = std::int64_t{2} << 30;
constexpr std::int64_t floats_per_unit = std::int64_t{1} << 20;
// One timing is a millisecond or two, so that a quiet moment is found on a busy machine.
constexpr std::int64_t window_bytes = std::int64_t{32} << 20;
constexpr std::int64_t fma_rounds = 200'000;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// GCC 12 warns about its own intrinsics' undefined operands.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

[[gnu::target("avx512f")]] float sum_512(const float* p, std::int64_t n) {
  __m512 a[8] = {};
  for (std::int64_t i = 0; i + 128 <= n; i += 128) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      a[j] = _mm512_add_ps(a[j], _mm512_load_ps(p + i + 16 * j));
    }
  }
  float lanes[16];
  _mm512_storeu_ps(lanes, ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7])));
  return lanes[0] + lanes[9];
}

[[gnu::target("avx2")]] float sum_256(const float* p, std::int64_t n) {
  __m256 a[8] = {};
  for (std::int64_t i = 0; i + 64 <= n; i += 64) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      a[j] = _mm256_add_ps(a[j], _mm256_load_ps(p + i + 8 * j));
    }
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7])));
  return lanes[0] + lanes[5];
}

float sum_plain(const float* p, std::int64_t n) {
  float a[8] = {};
  for (std::int64_t i = 0; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) {
      a[j] += p[i + j];
    }
  }
  return a[0] + a[5];
}

// 24 chains: enough to hide the latency of two units, few enough to stay in registers.
[[gnu::target("avx512f")]] float fma_512(std::int64_t rounds) {
  __m512 a[24];
  for (auto& x : a) {
    x = _mm512_set1_ps(1.0F);
  }
  __m512 m = _mm512_set1_ps(0.999F);
  const __m512 c = _mm512_set1_ps(0.001F);
  for (std::int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(m));
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) {
      a[j] = _mm512_fmadd_ps(a[j], m, c);
    }
  }
  __m512 sum = a[0];
  for (int j = 1; j < 24; ++j) {
    sum = _mm512_add_ps(sum, a[j]);
  }
  float lanes[16];
  _mm512_storeu_ps(lanes, sum);
  return lanes[3];
}

[[gnu::target("avx2,fma")]] float fma_256(std::int64_t rounds) {
  __m256 a[12];
  for (auto& x : a) {
    x = _mm256_set1_ps(1.0F);
  }
  __m256 m = _mm256_set1_ps(0.999F);
  const __m256 c = _mm256_set1_ps(0.001F);
  for (std::int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(m));
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) {
      a[j] = _mm256_fmadd_ps(a[j], m, c);
    }
  }
  __m256 sum = a[0];
  for (int j = 1; j < 12; ++j) {
    sum = _mm256_add_ps(sum, a[j]);
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, sum);
  return lanes[3];
}

float fma_plain(std::int64_t rounds) {
  float a[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (float& x : a) {
      x = x * 0.999F + 0.001F;
    }
  }
  return a[0] + a[7];
}

#pragma GCC diagnostic pop

struct loops {
  float (*sum)(const float*, std::int64_t);
  float (*fma)(std::int64_t);
  double flops_per_round;
};

loops best_loops() {
  if (__builtin_cpu_supports("avx512f") != 0) {
    return {sum_512, fma_512, 24 * 16 * 2};
  }
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
    return {sum_256, fma_256, 12 * 8 * 2};
  }
  return {sum_plain, fma_plain, 8 * 2};
}

volatile float sink = 0.0F; // keeps the loops' results alive

} // namespace

double best_seconds(int passes, const std::function<void()>& call) {
  call();
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < passes; ++pass) {
    const double start = now();
    call();
    best = std::min(best, now() - start);
  }
  return best;
}

double measure_read_bandwidth(int threads) {
  constexpr std::int64_t count = buffer_bytes / static_cast<std::int64_t>(sizeof(float));
  constexpr auto units = static_cast<std::int32_t>(count / floats_per_unit);
  constexpr std::int32_t window = static_cast<std::int32_t>(units * window_bytes / buffer_bytes);
  constexpr int passes = 192; // three times around the buffer
  const scratch_array buffer(count);
  thread_team team(threads);
  std::vector<float> sums(static_cast<std::size_t>(units) * 16); // one cache line each
  team.run(units, [&buffer](std::int32_t unit, std::int32_t) {
    std::fill_n(buffer.data() + unit * floats_per_unit, floats_per_unit, 1.0F);
  });
  const loops loop = best_loops();
  std::int32_t first = 0;
  const double seconds = best_seconds(passes, [&team, &buffer, &sums, &loop, &first] {
    team.run(window, [&buffer, &sums, &loop, first](std::int32_t unit, std::int32_t) {
      const float* from = buffer.data() + (first + unit) * floats_per_unit;
      sums[static_cast<std::size_t>(unit) * 16] = loop.sum(from, floats_per_unit);
    });
    first = (first + window) % units;
  });
  sink = sums[16];
  return static_cast<double>(window_bytes) / seconds;
}

double measure_fma_peak(int threads) {
  constexpr int passes = 200;
  thread_team team(threads);
  const loops loop = best_loops();
  std::vector<float> sums(static_cast<std::size_t>(threads) * 64);
  const std::int32_t units = threads * 4;
  const double seconds = best_seconds(passes, [&team, &sums, &loop, units] {
    team.run(units, [&sums, &loop](std::int32_t unit, std::int32_t) {
      sums[static_cast<std::size_t>(unit) * 16] = loop.fma(fma_rounds / 4);
    });
  });
  sink = sums[0];
  return loop.flops_per_round * static_cast<double>(fma_rounds / 4) * units / seconds;
}

} // namespace vdist::kernels::bench
