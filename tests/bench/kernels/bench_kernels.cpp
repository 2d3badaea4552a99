// tests/bench/kernels/bench_kernels.cpp — vdist_bench_kernels [threads] [isa]: time of every
// operation at the shapes of a 1B Llama (hidden 2048, 32 query and 8 kv heads of 64, intermediate
// 8192, vocabulary 128256) and its share of the roofline measured in the same run. Weights rotate
// through more memory than any cache holds.
#include "tests/bench/kernels/kernel_bench.hpp"

#include "kernels/cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::bench;

constexpr std::int64_t rotation_bytes = std::int64_t{768} << 20;

struct roofline {
  double bytes_per_second;
  double flops_per_second;
};

std::vector<float> random_floats(std::size_t n) {
  std::mt19937 engine(1);
  std::vector<float> out(n);
  for (float& x : out) {
    x = static_cast<float>(engine() % 2000) / 1000.0F - 1.0F;
  }
  return out;
}

/// bf16 bits of values in ±[0.5, 1).
std::vector<std::uint16_t> random_halves(std::size_t n) {
  std::vector<std::uint16_t> out(n);
  std::uint32_t state = 1;
  for (std::uint16_t& x : out) {
    state = state * 1664525U + 1013904223U;
    x = static_cast<std::uint16_t>(0x3f00U | ((state >> 9) & 0x807fU));
  }
  return out;
}

/// One line: whichever of the two rooflines the operation is closer to is its bound.
void report(
    const std::string& what, double seconds, double bytes, double flops, const roofline& roof) {
  const double by_bytes = bytes / seconds / roof.bytes_per_second;
  const double by_flops = flops / seconds / roof.flops_per_second;
  std::printf("%-46s %10.1f us %8.2f GB/s %5.1f %% %9.1f GFLOP/s %5.1f %%\n",
              what.c_str(),
              seconds * 1e6,
              bytes / seconds * 1e-9,
              100.0 * by_bytes,
              flops / seconds * 1e-9,
              100.0 * by_flops);
  std::fflush(stdout);
}

struct linear_case {
  const char* name;
  std::int32_t in;
  std::int32_t out;
  std::int32_t leaves;
};

constexpr linear_case llama_linears[] = {{"qkv 2048->3072", 2048, 3072, 1},
                                         {"o 2048->2048 leaves 8", 2048, 2048, 8},
                                         {"gate_up 2048->16384", 2048, 16384, 1},
                                         {"down 8192->2048 leaves 8", 8192, 2048, 8},
                                         {"lm_head 2048->128256", 2048, 128256, 1}};

void bench_linear(backend& device,
                  const roofline& roof,
                  const std::vector<std::uint16_t>& pool,
                  const linear_case& c,
                  std::int32_t tokens) {
  const std::vector<float> x =
      random_floats(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(c.in));
  std::vector<float> y(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(c.out));
  const std::int64_t elements = static_cast<std::int64_t>(c.in) * c.out;
  const std::int64_t copies =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(pool.size()) / elements);
  std::int64_t turn = 0;
  const int passes = tokens > 32 ? 4 : static_cast<int>(std::min<std::int64_t>(40, 4 * copies));
  const double seconds =
      best_seconds(passes, [&device, &pool, &x, &y, &c, &turn, tokens, elements, copies] {
        device.linear({.x = x.data(),
                       .weight = pool.data() + (turn++ % copies) * elements,
                       .bias = nullptr,
                       .y = y.data(),
                       .tokens = tokens,
                       .in_features = c.in,
                       .out_features = c.out,
                       .x_stride = c.in,
                       .y_stride = c.out,
                       .weight_dtype = dtype::bfloat16,
                       .reduction_leaves = c.leaves});
      });
  const double activations = 4.0 * tokens * (c.in + c.out);
  report(std::string("linear ") + c.name + " bf16, tokens " + std::to_string(tokens),
         seconds,
         2.0 * static_cast<double>(elements) + activations,
         2.0 * tokens * static_cast<double>(elements),
         roof);
}

/// `sequences` sequences with `queries` new tokens each that end at `context`.
void bench_attention(backend& device,
                     const roofline& roof,
                     std::int32_t sequences,
                     std::int32_t queries,
                     std::int32_t context) {
  constexpr std::int32_t heads = 32, kv_heads = 8, head_dim = 64, block_size = 16;
  const std::int32_t blocks = (context + block_size - 1) / block_size;
  const std::size_t elements = static_cast<std::size_t>(sequences * blocks)
                               * static_cast<std::size_t>(kv_heads * block_size * head_dim);
  std::vector<std::uint16_t> keys = random_halves(elements);
  std::vector<std::uint16_t> values = random_halves(elements);
  std::vector<std::int32_t> starts = {0}, first, tables;
  for (std::int32_t s = 0; s < sequences; ++s) {
    starts.push_back(starts.back() + queries);
    first.push_back(context - queries);
    for (std::int32_t b = 0; b < blocks; ++b) {
      tables.push_back(b * sequences + s);
    }
  }
  const std::vector<float> q =
      random_floats(static_cast<std::size_t>(starts.back()) * heads * head_dim);
  std::vector<float> out(q.size());
  const attention_args args{.q = q.data(),
                            .out = out.data(),
                            .q_stride = heads * head_dim,
                            .out_stride = heads * head_dim,
                            .kv = {.keys = keys.data(),
                                   .values = values.data(),
                                   .type = dtype::bfloat16,
                                   .block_size = block_size,
                                   .kv_heads = kv_heads,
                                   .head_dim = head_dim},
                            .batch = {.query_start = starts.data(),
                                      .first_position = first.data(),
                                      .block_tables = tables.data(),
                                      .block_table_stride = blocks,
                                      .sequences = sequences,
                                      .tokens = starts.back()},
                            .heads = heads,
                            .scale = 0.125F,
                            .window = 0,
                            .max_position = context};
  const double seconds = best_seconds(6, [&device, &args] { device.attention(args); });
  const double pairs = static_cast<double>(sequences) * queries * (context - (queries - 1) / 2.0);
  report("attention sequences " + std::to_string(sequences) + " queries " + std::to_string(queries)
             + " context " + std::to_string(context),
         seconds,
         4.0 * static_cast<double>(sequences) * context * kv_heads * head_dim,
         4.0 * pairs * heads * head_dim,
         roof);
}

void bench_elementwise(backend& device, const roofline& roof, std::int32_t rows) {
  constexpr std::int32_t hidden = 2048, inner = 8192;
  const auto count = static_cast<std::size_t>(rows);
  std::vector<float> x = random_floats(count * 2 * inner);
  std::vector<float> y(count * inner);
  const std::string suffix = ", rows " + std::to_string(rows);
  double seconds = best_seconds(20, [&device, &x, &y, rows] {
    device.rms_norm({.x = x.data(),
                     .weight = x.data(),
                     .y = y.data(),
                     .rows = rows,
                     .width = hidden,
                     .x_stride = hidden,
                     .y_stride = hidden,
                     .eps = 1e-5F});
  });
  report("rms_norm 2048" + suffix, seconds, 8.0 * rows * hidden, 0, roof);
  seconds = best_seconds(20, [&device, &x, &y, rows] {
    device.gated_activation({.gate_up = x.data(),
                             .y = y.data(),
                             .rows = rows,
                             .width = inner,
                             .x_stride = 2 * inner,
                             .y_stride = inner,
                             .kind = activation_kind::silu});
  });
  report("gated silu 8192" + suffix, seconds, 12.0 * rows * inner, 0, roof);
  seconds = best_seconds(20, [&device, &x, &y, rows] {
    device.add_residual({.hidden = y.data(),
                         .delta = x.data(),
                         .bias = nullptr,
                         .rows = rows,
                         .width = hidden,
                         .hidden_stride = hidden,
                         .delta_stride = hidden});
  });
  report("add_residual 2048" + suffix, seconds, 12.0 * rows * hidden, 0, roof);
  const std::vector<std::int32_t> positions(count, 0);
  seconds = best_seconds(20, [&device, &x, &y, &positions, rows] {
    device.rope({.x = y.data(),
                 .positions = positions.data(),
                 .cos_table = x.data(),
                 .sin_table = x.data(),
                 .tokens = rows,
                 .heads = 40,
                 .head_dim = 64,
                 .rotary_dim = 64,
                 .x_stride = 40 * 64});
  });
  report("rope 40 heads of 64" + suffix, seconds, 8.0 * rows * 40 * 64, 0, roof);
}

cpu_isa isa_named(std::string_view name) {
  return name == "portable" ? cpu_isa::portable
         : name == "avx2"   ? cpu_isa::avx2
         : name == "avx512" ? cpu_isa::avx512
                            : cpu_isa::automatic;
}

} // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  const auto device =
      make_cpu_backend({.threads = threads, .isa = isa_named(argc > 2 ? argv[2] : "automatic")});
  const roofline roof{measure_read_bandwidth(threads), measure_fma_peak(threads)};
  std::printf("%s, threads %d: reads %.2f GB/s, computes %.1f GFLOP/s\n",
              std::string(device->name()).c_str(),
              threads,
              roof.bytes_per_second * 1e-9,
              roof.flops_per_second * 1e-9);
  const std::vector<std::uint16_t> pool =
      random_halves(static_cast<std::size_t>(rotation_bytes) / 2);
  for (const std::int32_t tokens : {1, 4, 16, 512}) {
    for (const linear_case& c : llama_linears) {
      if (tokens <= 16 || c.out < 100000) {
        bench_linear(*device, roof, pool, c, tokens);
      }
    }
  }
  bench_attention(*device, roof, 1, 1, 2048);
  bench_attention(*device, roof, 16, 1, 2048);
  bench_attention(*device, roof, 1, 512, 512);
  bench_attention(*device, roof, 1, 512, 2048);
  bench_elementwise(*device, roof, 1);
  bench_elementwise(*device, roof, 512);
  return 0;
}
