#include "tests/kernels/kernel_fixture.hpp"
#include "tests/kernels/linear/linear_ref.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

struct problem {
  std::int32_t tokens;
  std::int32_t in;
  std::int32_t out;
  dtype type;
  std::int32_t leaves;
  std::int64_t x_stride;
  std::vector<float> x;
  stored_tensor weight;
  std::vector<float> bias;

  problem(std::int32_t tokens_,
          std::int32_t in_,
          std::int32_t out_,
          dtype type_,
          std::int32_t leaves_,
          std::uint32_t seed)
      : tokens(tokens_),
        in(in_),
        out(out_),
        type(type_),
        leaves(leaves_),
        x_stride(in_ + static_cast<int>(seed % 3) * 5),
        x(random_source(seed).normals(static_cast<std::size_t>(tokens * x_stride))),
        weight(type,
               random_source(seed + 1).normals(static_cast<std::size_t>(in)
                                               * static_cast<std::size_t>(out))),
        bias(random_source(seed + 2).normals(static_cast<std::size_t>(out))) {}

  [[nodiscard]] linear_args args(float* y, std::int64_t y_stride) const {
    return {.x = x.data(),
            .weight = weight.data(),
            .bias = bias.data(),
            .y = y,
            .tokens = tokens,
            .in_features = in,
            .out_features = out,
            .x_stride = x_stride,
            .y_stride = y_stride,
            .weight_dtype = type,
            .reduction_leaves = leaves};
  }

  [[nodiscard]] std::vector<float> run(backend& device) const {
    guarded_rows y(tokens, out, out + 3);
    device.linear(args(y.data(), out + 3));
    BOOST_TEST(y.is_exactly_filled());
    return y.values();
  }

  [[nodiscard]] std::vector<float> expected() const {
    std::vector<float> y;
    for (std::int32_t t = 0; t < tokens; ++t) {
      for (std::int32_t o = 0; o < out; ++o) {
        const float dot =
            dot_in_leaves(x.data() + t * x_stride, weight.values.data() + o * in, in, leaves);
        y.push_back(dot + bias[static_cast<std::size_t>(o)]);
      }
    }
    return y;
  }
};

} // namespace

BOOST_AUTO_TEST_CASE(every_path_sums_in_the_order_that_n2_and_n3_define) {
  const auto devices = all_backends(2);

  struct shape {
    std::int32_t tokens, in, out, leaves;
  };

  std::uint32_t seed = 100;
  // One token to several panel chunks; tails in k, outputs and tokens; leaves of whole and of
  // broken lane vectors; a k that needs more than one panel segment, with leaf boundaries inside
  // and across segments.
  for (const shape s : {shape{1, 1, 1, 1},
                        shape{1, 15, 3, 1},
                        shape{1, 64, 40, 1},
                        shape{2, 33, 17, 1},
                        shape{3, 100, 9, 4},
                        shape{4, 48, 21, 2},
                        shape{5, 16, 16, 1},
                        shape{6, 80, 7, 8},
                        shape{7, 129, 5, 1},
                        shape{12, 64, 19, 4},
                        shape{13, 70, 33, 1},
                        shape{14, 24, 35, 8},
                        shape{20, 4096, 5, 1},
                        shape{17, 4000, 6, 4},
                        shape{16, 4096, 4, 16},
                        shape{75, 40, 18, 2},
                        shape{150, 17, 21, 1},
                        shape{1, 4096, 9, 32},
                        shape{80, 512, 3, 512}}) {
    for (const dtype type : all_dtypes) {
      const problem p(s.tokens, s.in, s.out, type, s.leaves, ++seed);
      const std::vector<float> expected = p.expected();
      for (const auto& device : devices) {
        BOOST_TEST_CONTEXT(device->name()
                           << " " << to_string(type) << " tokens " << s.tokens << " in " << s.in
                           << " out " << s.out << " leaves " << s.leaves) {
          BOOST_TEST(same_bits(p.run(*device), expected));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(agrees_with_double_precision) {
  const auto device = make_backend(cpu_isa::automatic, 2);
  for (const dtype type : all_dtypes) {
    const problem p(9, 1000, 50, type, 1, 7);
    const std::vector<float> y = p.run(*device);
    for (std::int32_t t = 0; t < p.tokens; ++t) {
      for (std::int32_t o = 0; o < p.out; ++o) {
        const dot_reference want =
            dot_in_double(p.x.data() + t * p.x_stride, p.weight.values.data() + o * p.in, p.in);
        const double got = y[static_cast<std::size_t>(t * p.out + o)];
        BOOST_TEST(is_near(
            got, want.value + p.bias[static_cast<std::size_t>(o)], want.magnitude * 0x1p-20));
      }
    }
  }
}

// N-1
BOOST_AUTO_TEST_CASE(
    a_row_has_the_same_bits_alone_and_in_any_batch_and_with_any_number_of_threads) {
  const problem p(83, 200, 37, dtype::bfloat16, 2, 21);
  const auto alone = make_backend(cpu_isa::automatic, 1);
  std::vector<float> rows;
  for (std::int32_t t = 0; t < p.tokens; ++t) {
    guarded_rows y(1, p.out, p.out);
    linear_args args = p.args(y.data(), p.out);
    args.tokens = 1;
    args.x = args.x.behind(t * p.x_stride);
    alone->linear(args);
    const auto row = y.values();
    rows.insert(rows.end(), row.begin(), row.end());
  }
  for (const std::int32_t threads : {1, 2, 3}) {
    const auto device = make_backend(cpu_isa::automatic, threads);
    BOOST_TEST(same_bits(p.run(*device), rows), "threads " << threads);
  }
}

// N-3: ranks that hold a share of k, summed by a tree over ranks, equal the undivided linear.
BOOST_AUTO_TEST_CASE(partial_sums_of_tensor_ranks_add_up_to_the_same_bits) {
  constexpr std::int32_t leaves = 8;
  for (const std::int32_t tokens : {1, 5, 30}) {
    problem p(tokens, 320, 23, dtype::bfloat16, leaves, 31);
    p.bias.assign(p.bias.size(), 0.0F);
    const auto device = make_backend(cpu_isa::automatic, 2);
    const std::vector<float> whole = p.run(*device);
    for (const std::int32_t ranks : {1, 2, 4, 8}) {
      const std::int32_t share = p.in / ranks;
      std::vector<std::vector<float>> partial;
      for (std::int32_t rank = 0; rank < ranks; ++rank) {
        std::vector<float> columns;
        for (std::int32_t o = 0; o < p.out; ++o) {
          const auto from = p.weight.values.begin() + o * p.in + rank * share;
          columns.insert(columns.end(), from, from + share);
        }
        const stored_tensor weight(p.type, columns);
        guarded_rows y(tokens, p.out, p.out);
        linear_args args = p.args(y.data(), p.out);
        args.x = args.x.behind(rank * share);
        args.weight = weight.data();
        args.in_features = share;
        args.reduction_leaves = leaves / ranks;
        args.bias = nullptr;
        device->linear(args);
        partial.push_back(y.values());
      }
      std::vector<float> sums;
      for (std::size_t i = 0; i < whole.size(); ++i) {
        std::vector<float> terms;
        for (const auto& rank : partial) {
          terms.push_back(rank[i]);
        }
        sums.push_back(sum_of_tree(terms) + 0.0F);
      }
      BOOST_TEST(same_bits(sums, whole), "ranks " << ranks << " tokens " << tokens);
    }
  }
}

BOOST_AUTO_TEST_CASE(no_tokens_or_no_outputs_write_nothing) {
  const auto device = make_backend(cpu_isa::automatic, 2);
  const problem p(1, 8, 8, dtype::float32, 1, 3);
  guarded_rows y(1, 0, 8);
  linear_args args = p.args(y.data(), 8);
  args.tokens = 0;
  device->linear(args);
  args.tokens = 1;
  args.out_features = 0;
  device->linear(args);
  BOOST_TEST(y.is_exactly_filled());
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_stay_in_their_row) {
  for (const auto& device : all_backends()) {
    for (const std::int32_t tokens : {3, 40}) {
      problem p(tokens, 100, 20, dtype::float16, 1, 44);
      p.x[static_cast<std::size_t>(p.x_stride + 99)] = std::numeric_limits<float>::quiet_NaN();
      p.x[static_cast<std::size_t>(2 * p.x_stride)] = std::numeric_limits<float>::infinity();
      const std::vector<float> y = p.run(*device);
      for (std::int32_t t = 0; t < tokens; ++t) {
        for (std::int32_t o = 0; o < p.out; ++o) {
          const float value = y[static_cast<std::size_t>(t * p.out + o)];
          BOOST_TEST((t == 1   ? std::isnan(value)
                      : t == 2 ? std::isinf(value)
                               : std::isfinite(value)));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(stored_halves_of_every_bit_pattern_are_widened_exactly) {
  for (const dtype type : {dtype::bfloat16, dtype::float16}) {
    std::vector<std::uint16_t> weight(65536);
    for (std::size_t i = 0; i < weight.size(); ++i) {
      weight[i] = static_cast<std::uint16_t>(i);
    }
    const float one = 1.0F;
    for (const auto& device : all_backends()) {
      guarded_rows y(1, 65536, 65536);
      device->linear({.x = &one,
                      .weight = weight.data(),
                      .bias = nullptr,
                      .y = y.data(),
                      .tokens = 1,
                      .in_features = 1,
                      .out_features = 65536,
                      .x_stride = 1,
                      .y_stride = 65536,
                      .weight_dtype = type,
                      .reduction_leaves = 1});
      std::vector<float> expected;
      for (const std::uint16_t bits : weight) {
        expected.push_back(decode(type, bits) + 0.0F); // a sum begins at +0, so -0 becomes +0
      }
      BOOST_TEST(same_bits(y.values(), expected), device->name() << " " << to_string(type));
    }
  }
}
