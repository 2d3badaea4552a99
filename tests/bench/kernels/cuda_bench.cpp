// tests/bench/kernels/cuda_bench.cpp — vdist_bench_kernels_cuda [filter] [device]: time of every operation of the CUDA
// backend at the shapes of Llama 3.1 8B in bfloat16, as a share of the roofline that the same run measures. `filter`
// keeps the lines whose operation contains it.
//
// Call i of a recording uses memory of its own as far as there is some, so that weights, cache and the rows of large batches
// come from memory; the rows of a small batch stay in the L2, where they are in a step too. Reading is faster than writing,
// so operations that mostly write stay below 100 %.
#include "tests/bench/kernels/cuda_bench_memory.hpp"
#include "tests/bench/kernels/cuda_bench_table.hpp"

#include "kernels/cuda_module.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace vdist::kernels::bench {

namespace {

// Llama 3.1 8B.
constexpr std::int32_t hidden = 4096;
constexpr std::int32_t heads = 32;
constexpr std::int32_t kv_heads = 8;
constexpr std::int32_t head_dim = 128;
constexpr std::int32_t qkv_width = (heads + 2 * kv_heads) * head_dim;
constexpr std::int32_t inner = 14336;
constexpr std::int32_t vocabulary = 128256;

constexpr dtype half = dtype::bfloat16;
constexpr std::int32_t block_size = 16;
constexpr std::int32_t positions_max = 131072;
constexpr std::int32_t tokens_max = 8192;
constexpr std::int32_t logit_rows_max = 64;
constexpr std::int32_t token_counts[] = {1, 8, 16, 64, 512, 8192};

constexpr std::int64_t gib = std::int64_t{1} << 30U;
constexpr std::int64_t fill_bytes = std::int64_t{64} << 20U; // random bytes of the host, repeated

/// Everything that the operations read and write.
struct memory {
  explicit memory(device_queue& queue)
      : weights(queue, 2 * gib, random_halves(fill_bytes / 2)),
        floats(queue, gib, random_floats(fill_bytes / 4, 2.5F)),
        outputs(queue, 2 * gib),
        cache(queue, gib) {}

  region weights; // bfloat16; read only: matrices, keys and values, activations
  region floats;  // float32; read only: activations, logits, norms, tables
  region outputs;
  region cache; // that is written
};

struct bench {
  backend& device;
  memory& data;
  table& out;
};

std::string rows_text(std::int32_t rows) {
  return "x " + std::to_string(rows);
}

struct matrix {
  const char* name;
  std::int32_t in;
  std::int32_t out;
};

constexpr matrix qkv{"qkv", hidden, qkv_width};
constexpr matrix attention_out{"out", hidden, hidden};
constexpr matrix gate_up{"gate-up", hidden, 2 * inner};
constexpr matrix down{"down", inner, hidden};
constexpr matrix head{"head", hidden, vocabulary};

std::string shape_of(const matrix& m, std::int32_t tokens) {
  return std::string(m.name) + " " + std::to_string(m.in) + "->" + std::to_string(m.out) + " "
         + rows_text(tokens);
}

linear_args
linear_of(const bench& b, const matrix& m, std::int32_t tokens, dtype out, std::int64_t turn) {
  return {.x = b.data.weights.place(std::int64_t{tokens} * m.in, half, turn),
          .weight = b.data.weights.place(std::int64_t{m.in} * m.out * 2, turn),
          .bias = nullptr,
          .y = b.data.outputs.place(std::int64_t{tokens} * m.out, out, turn),
          .tokens = tokens,
          .in_features = m.in,
          .out_features = m.out,
          .x_stride = m.in,
          .y_stride = m.out,
          .weight_dtype = half,
          .reduction_leaves = 1};
}

/// `out_bytes`: of one row of the output; counted twice where the operation adds to it.
line linear_line(const char* operation, const matrix& m, std::int32_t tokens, double out_bytes) {
  return {operation,
          shape_of(m, tokens),
          2.0 * m.in * m.out + 2.0 * tokens * m.in + out_bytes * tokens,
          2.0 * tokens * m.in * m.out};
}

void bench_linear(const bench& b) {
  for (const auto& m : {qkv, attention_out, gate_up, down, head}) {
    const bool is_head = m.out == vocabulary; // logits are float32, of few rows
    const auto out = is_head ? dtype::float32 : half;
    for (const auto tokens : token_counts) {
      if (is_head && tokens > logit_rows_max) {
        continue;
      }
      b.out.add(linear_line("linear", m, tokens, static_cast<double>(size_of(out)) * m.out),
                [&](std::int64_t turn) { b.device.linear(linear_of(b, m, tokens, out, turn)); });
    }
  }
}

void bench_linear_residual(const bench& b) {
  for (const auto& m : {attention_out, down}) {
    for (const auto tokens : token_counts) {
      b.out.add(linear_line("linear_residual", m, tokens, 8.0 * m.out), [&](std::int64_t turn) {
        // The cache's region serves as the residual stream.
        b.device.linear_residual(
            {.linear = linear_of(b, m, tokens, dtype::float32, turn),
             .hidden = b.data.cache.place(std::int64_t{tokens} * m.out, dtype::float32, turn),
             .hidden_stride = m.out});
      });
    }
  }
}

void bench_gated_linear(const bench& b) {
  for (const auto tokens : token_counts) {
    b.out.add(linear_line("gated_linear", gate_up, tokens, 2.0 * inner), [&](std::int64_t turn) {
      b.device.gated_linear({.linear = linear_of(b, gate_up, tokens, half, turn),
                             .y = b.data.cache.place(std::int64_t{tokens} * inner, half, turn),
                             .y_stride = inner,
                             .kind = activation_kind::silu});
    });
  }
}

void bench_rows(const bench& b) {
  for (const auto rows : token_counts) {
    const auto count = std::int64_t{rows} * hidden;
    const std::string shape = std::to_string(hidden) + " " + rows_text(rows);
    b.out.add({"rms_norm", shape, 6.0 * static_cast<double>(count)}, [&](std::int64_t turn) {
      b.device.rms_norm({.x = b.data.floats.place(count, dtype::float32, turn),
                         .weight = b.data.floats.place(hidden, dtype::float32, 0).as<float>(),
                         .y = b.data.outputs.place(count, half, turn),
                         .rows = rows,
                         .width = hidden,
                         .x_stride = hidden,
                         .y_stride = hidden,
                         .eps = 1e-5F});
    });
    b.out.add({"add_residual", shape, 12.0 * static_cast<double>(count)}, [&](std::int64_t turn) {
      b.device.add_residual({.hidden = b.data.outputs.place(count, dtype::float32, turn),
                             .delta = b.data.floats.place(count, dtype::float32, turn),
                             .bias = nullptr,
                             .rows = rows,
                             .width = hidden,
                             .hidden_stride = hidden,
                             .delta_stride = hidden});
    });
  }
  for (const auto rows : token_counts) {
    const auto count = std::int64_t{rows} * inner;
    b.out.add({"gated_activation",
               std::to_string(inner) + " " + rows_text(rows),
               6.0 * static_cast<double>(count)},
              [&](std::int64_t turn) {
                b.device.gated_activation({.gate_up = b.data.weights.place(2 * count, half, turn),
                                           .y = b.data.outputs.place(count, half, turn),
                                           .rows = rows,
                                           .width = inner,
                                           .x_stride = 2 * inner,
                                           .y_stride = inner,
                                           .kind = activation_kind::silu});
              });
  }
}

void bench_embedding(const bench& b) {
  generator random;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(16) * tokens_max);
  std::generate(ids.begin(), ids.end(), [&random] {
    return static_cast<std::int32_t>(random.next() % vocabulary);
  });
  const auto on_device = upload(b.device.queue(), ids);
  const void* rows_of_ids = b.data.weights.place(std::int64_t{vocabulary} * hidden * 2, 0);
  for (const auto tokens : token_counts) {
    const auto count = std::int64_t{tokens} * hidden;
    b.out.add({"embedding",
               std::to_string(hidden) + " " + rows_text(tokens),
               6.0 * static_cast<double>(count)},
              [&](std::int64_t turn) {
                const void* wanted = on_device.place(std::int64_t{tokens} * 4, turn);
                b.device.embedding({.ids = static_cast<const std::int32_t*>(wanted),
                                    .table = rows_of_ids,
                                    .y = b.data.outputs.place(count, dtype::float32, turn),
                                    .type = half,
                                    .tokens = tokens,
                                    .first_row = 0,
                                    .rows = vocabulary,
                                    .width = hidden,
                                    .y_stride = hidden});
              });
  }
}

/// A batch of equal sequences in device memory, each `queries` tokens that end at `context`; blocks lie scattered.
class batch {
public:
  batch(device_queue& queue, std::int32_t sequences, std::int32_t queries, std::int32_t context)
      : sequences_(sequences),
        queries_(queries),
        blocks_((context + block_size - 1) / block_size),
        starts_(upload(queue, rising(sequences + 1, queries))),
        first_(upload(
            queue,
            std::vector<std::int32_t>(static_cast<std::size_t>(sequences), context - queries))),
        tables_(upload(queue, scattered(sequences * blocks_))),
        positions_(upload(queue, positions_of(sequences, queries, context))) {}

  [[nodiscard]] sequence_batch view() const {
    return {.query_start = numbers(starts_),
            .first_position = numbers(first_),
            .block_tables = numbers(tables_),
            .block_table_stride = blocks_,
            .sequences = sequences_,
            .tokens = sequences_ * queries_,
            .longest_query = queries_};
  }

  [[nodiscard]] const std::int32_t* positions() const { return numbers(positions_); }

  /// Keys, then values, of one layer in a place of `where`.
  [[nodiscard]] paged_kv cache_in(const region& where, std::int64_t turn) const {
    const auto bytes = std::int64_t{2} * sequences_ * blocks_ * block_size * kv_heads * head_dim;
    std::byte* base = where.place(2 * bytes, turn);
    return {.keys = base,
            .values = base + bytes,
            .type = half,
            .block_size = block_size,
            .kv_heads = kv_heads,
            .head_dim = head_dim};
  }

private:
  static const std::int32_t* numbers(const region& from) {
    return reinterpret_cast<const std::int32_t*>(from.place(1, 0));
  }

  static std::vector<std::int32_t> rising(std::int32_t count, std::int32_t step) {
    std::vector<std::int32_t> out;
    for (std::int32_t i = 0; i < count; ++i) {
      out.push_back(i * step);
    }
    return out;
  }

  /// A permutation: the counts of this benchmark are powers of two.
  static std::vector<std::int32_t> scattered(std::int32_t count) {
    std::vector<std::int32_t> out;
    for (std::int64_t i = 0; i < count; ++i) {
      out.push_back(static_cast<std::int32_t>(i * 7919 % count));
    }
    return out;
  }

  static std::vector<std::int32_t>
  positions_of(std::int32_t sequences, std::int32_t queries, std::int32_t context) {
    std::vector<std::int32_t> out;
    for (std::int32_t i = 0; i < sequences * queries; ++i) {
      out.push_back(context - queries + i % queries);
    }
    return out;
  }

  std::int32_t sequences_;
  std::int32_t queries_;
  std::int32_t blocks_; // of a sequence
  region starts_;
  region first_;
  region tables_;
  region positions_;
};

void bench_prepare_qkv(const bench& b) {
  for (const auto tokens : token_counts) {
    const bool is_decode = tokens <= 64;
    const batch sequences(b.device.queue(),
                          is_decode ? tokens : 1,
                          is_decode ? 1 : tokens,
                          is_decode ? 1024 : tokens);
    const auto count = std::int64_t{tokens} * qkv_width;
    const double rotated =
        2.0 * heads * head_dim + 2.0 * 2 * kv_heads * head_dim; // q in place, k and v to the cache
    b.out.add({"prepare_qkv",
               std::to_string(qkv_width) + " " + rows_text(tokens),
               2.0 * static_cast<double>(count) + tokens * (rotated + 4.0 * head_dim)},
              [&](std::int64_t turn) {
                const auto* angles = b.data.floats.place(1, dtype::float32, 0).as<float>();
                b.device.prepare_qkv({.qkv = b.data.outputs.place(count, half, turn),
                                      .stride = qkv_width,
                                      .heads = heads,
                                      .q_norm = nullptr,
                                      .k_norm = nullptr,
                                      .eps = 1e-5F,
                                      .cos_table = angles,
                                      .sin_table = angles + std::int64_t{tokens_max} * head_dim / 2,
                                      .rotary_dim = head_dim,
                                      .positions = sequences.positions(),
                                      .kv = sequences.cache_in(b.data.cache, turn),
                                      .batch = sequences.view()});
              });
  }
}

struct attention_case {
  const char* name;
  std::int32_t sequences;
  std::int32_t queries;
  std::int32_t context;
};

constexpr attention_case attention_cases[] = {{"decode 1 x 1024", 1, 1, 1024},
                                              {"decode 64 x 1024", 64, 1, 1024},
                                              {"decode 64 x 4096", 64, 1, 4096},
                                              {"decode 1 x 131072", 1, 1, 131072},
                                              {"prefill 1 x 8192", 1, 8192, 8192},
                                              {"prefill 4 x 2048", 4, 2048, 2048},
                                              {"chunk 512 at 7680", 1, 512, 8192}};

void bench_attention(const bench& b) {
  for (const auto& c : attention_cases) {
    const batch sequences(b.device.queue(), c.sequences, c.queries, c.context);
    const auto count = std::int64_t{c.sequences} * c.queries * heads * head_dim;
    const double pairs =
        double{1} * c.sequences * c.queries * (c.context - c.queries + (c.queries + 1) / 2.0);
    const double cache_bytes = 4.0 * c.sequences * c.context * kv_heads * head_dim;
    b.out.add({"attention",
               c.name,
               cache_bytes + 4.0 * static_cast<double>(count),
               4.0 * pairs * heads * head_dim},
              [&](std::int64_t turn) {
                b.device.attention({.q = b.data.weights.place(count, half, turn),
                                    .out = b.data.outputs.place(count, half, turn),
                                    .q_stride = std::int64_t{heads} * head_dim,
                                    .out_stride = std::int64_t{heads} * head_dim,
                                    .kv = sequences.cache_in(b.data.weights, turn),
                                    .batch = sequences.view(),
                                    .heads = heads,
                                    .scale = 0.0883883F,
                                    .window = 0,
                                    .max_position = c.context});
              });
  }
}

void bench_sample(const bench& b) {
  for (const bool is_greedy : {true, false}) {
    for (const std::int32_t rows : {1, 8, logit_rows_max}) {
      std::vector<sampling_row> wanted;
      for (std::int32_t i = 0; i < rows; ++i) {
        wanted.push_back({.seed = static_cast<std::uint64_t>(i),
                          .temperature = is_greedy ? 0.0F : 0.8F,
                          .top_p = is_greedy ? 1.0F : 0.9F,
                          .slot = i});
      }
      const auto requests = upload(b.device.queue(), wanted);
      const auto* first = reinterpret_cast<const sampling_row*>(requests.place(1, 0));
      const auto count = std::int64_t{rows} * vocabulary;
      b.out.add({std::string("sample ") + (is_greedy ? "greedy" : "top_p"),
                 std::to_string(vocabulary) + " " + rows_text(rows),
                 4.0 * static_cast<double>(count)},
                [&](std::int64_t turn) {
                  auto* tokens = reinterpret_cast<std::int32_t*>(b.data.outputs.place(4096, 0));
                  b.device.sample(
                      {.logits = b.data.floats.place(count, dtype::float32, turn).as<float>(),
                       .wanted = first,
                       .tokens = tokens,
                       .fed = tokens + logit_rows_max,
                       .rows = rows,
                       .vocabulary = vocabulary,
                       .logits_stride = vocabulary});
                });
    }
  }
}

void bench_digest(const bench& b) {
  std::vector<std::int32_t> places;
  for (std::int32_t i = 0; i < 512; ++i) {
    places.push_back(i);
  }
  const auto on_device = upload(b.device.queue(), places);
  const auto* indices = reinterpret_cast<const std::int32_t*>(on_device.place(1, 0));
  for (const std::int32_t rows : {1, 8, 64, 512}) {
    const auto count = std::int64_t{rows} * hidden;
    b.out.add({"digest",
               std::to_string(hidden) + " " + rows_text(rows),
               4.0 * static_cast<double>(count)},
              [&](std::int64_t turn) {
                b.device.digest(
                    {.x = b.data.floats.place(count, dtype::float32, turn).as<float>(),
                     .indices = indices,
                     .digest = reinterpret_cast<std::uint64_t*>(b.data.outputs.place(8, 0)),
                     .rows = rows,
                     .width = hidden,
                     .x_stride = hidden});
              });
  }
}

/// Of a table, a matrix, a rank's columns of a matrix, and a matrix that is stored transposed.
void bench_fill_random(const bench& b) {
  struct fill {
    const char* name;
    std::int64_t rows;
    std::int64_t columns;
    std::uint64_t row_step;
    std::uint64_t column_step;
  };

  constexpr fill fills[] = {{"table 128256 x 4096", vocabulary, hidden, hidden, 1},
                            {"matrix 4096 x 4096", hidden, hidden, hidden, 1},
                            {"columns 4096 x 1792", hidden, inner / 8, inner, 1},
                            {"transposed 4096 x 4096", hidden, hidden, 1, hidden}};
  for (const auto type : {dtype::float32, half}) {
    for (const auto& f : fills) {
      const auto count = f.rows * f.columns;
      b.out.add({"fill_random",
                 std::string(f.name) + (type == half ? "" : " f32"),
                 static_cast<double>(size_of(type)) * static_cast<double>(count)},
                [&](std::int64_t turn) {
                  b.device.fill_random({.y = b.data.outputs.place(count, type, turn),
                                        .rule = {.key = 1, .scale = 1e-6F},
                                        .rows = f.rows,
                                        .columns = f.columns,
                                        .y_stride = f.columns,
                                        .first = 0,
                                        .row_step = f.row_step,
                                        .column_step = f.column_step});
                });
    }
  }
}

/// Throws std::runtime_error with the reason if there is no device, or it fails.
void run(const std::string& filter, std::int32_t ordinal) {
  std::string why;
  auto* module = load_cuda_module(why);
  const auto check = [&why](bool is_good) {
    if (!is_good) {
      throw std::runtime_error(why);
    }
  };
  check(module != nullptr);
  const auto facts = module->facts_of(ordinal, why);
  check(why.empty());
  const auto rates = module->measure(ordinal, why);
  check(why.empty());
  std::printf("%s, %d multiprocessors: reads %.0f GB/s, multiplies %.0f TFLOP/s in bfloat16\n",
              facts.name.c_str(),
              facts.multiprocessors,
              rates.read_bytes_per_s * 1e-9,
              rates.gemm_flops_per_s * 1e-12);
  const auto device = module->make_backend({.device = ordinal,
                                            .max_positions = positions_max,
                                            .max_tokens = tokens_max,
                                            .max_heads = heads,
                                            .max_head_dim = head_dim,
                                            .max_logit_rows = logit_rows_max,
                                            .max_vocabulary = vocabulary},
                                           why);
  check(device != nullptr);
  memory data(device->queue());
  table out(*device, rates, filter);
  const bench all{*device, data, out};
  for (const auto& family : {bench_linear,
                             bench_linear_residual,
                             bench_gated_linear,
                             bench_rows,
                             bench_embedding,
                             bench_prepare_qkv,
                             bench_attention,
                             bench_sample,
                             bench_digest,
                             bench_fill_random}) {
    family(all);
    why = all.device.queue().failure();
    check(why.empty());
  }
}

} // namespace

} // namespace vdist::kernels::bench

int main(int argc, char** argv) {
  try {
    vdist::kernels::bench::run(argc > 1 ? argv[1] : "", argc > 2 ? std::atoi(argv[2]) : 0);
    return 0;
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist_bench_kernels_cuda: %s\n", cause.what());
    return 1;
  }
}
