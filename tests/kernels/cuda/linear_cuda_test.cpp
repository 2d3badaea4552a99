#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/kernels/cuda/linear_cuda_ref.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;
using boost::unit_test::precondition;

struct element_types {
  dtype weight;
  dtype x;
  dtype y; // of y, or of hidden
};

constexpr element_types with_types(dtype inner, dtype outer) {
  return {inner, inner, outer};
}

struct linear_shape {
  std::int32_t tokens; // at most; a run may take fewer
  std::int32_t in;
  std::int32_t out;
  std::int64_t x_gap = 0; // elements between rows, NaN
  std::int64_t y_gap = 0;
  std::int64_t x_first = 0; // element where x begins
};

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

/// Weights, bias and x in device memory, and what they should give.
class linear_problem {
public:
  linear_problem(backend& device,
                 const linear_shape& shape,
                 const element_types& types,
                 unsigned seed)
      : device_(device),
        shape_(shape),
        types_(types),
        random_(seed),
        weight_(device, types.weight, random_.normals(size(std::int64_t{shape.out} * shape.in))),
        bias_(device, random_.normals(size(shape.out))),
        x_(device, types.x, rows_of_x()),
        columns_(columns_to_check(shape.out,
                                  std::int64_t{shape.in} * shape.out > 1'000'000 ? 60 : 5000)) {}

  [[nodiscard]] linear_args
  args(std::int32_t tokens, bool has_bias, elements y, std::int64_t y_stride) const {
    return {.x = x_.at(shape_.x_first),
            .weight = weight_.raw(),
            .bias = has_bias ? bias_.data() : nullptr,
            .y = y,
            .tokens = tokens,
            .in_features = shape_.in,
            .out_features = shape_.out,
            .x_stride = x_stride(),
            .y_stride = y_stride,
            .weight_dtype = types_.weight,
            .reduction_leaves = 1};
  }

  /// Twice: the same call gives the same bits (N-4).
  void check_linear(std::int32_t tokens, bool has_bias) {
    const auto first = linear(tokens, has_bias);
    BOOST_TEST(same_bits(linear(tokens, has_bias), first));
    const auto want = [this, has_bias](std::int32_t t, std::int32_t o) {
      return reference(t, o, has_bias);
    };
    check(tokens, "linear", [&](std::int32_t t, std::int32_t o) {
      const product_reference r = want(t, o);
      return is_near(first[size(std::int64_t{t} * shape_.out + o)],
                     r.value(),
                     r.tolerance(shape_.in) + r.rounding(epsilon_of(types_.y)));
    });
  }

  /// The room for the product is of type `room`.
  void check_residual(std::int32_t tokens, bool has_bias, dtype room) {
    const std::int64_t stride = shape_.out + shape_.y_gap;
    const auto before = random_.normals(size(std::max(tokens, 1) * stride));
    const device_elements hidden(device_, types_.y, before);
    const auto first = residual(tokens, has_bias, room, hidden);
    BOOST_TEST(same_bits(
        residual(tokens, has_bias, room, device_elements(device_, types_.y, before)), first));
    for (std::int64_t i = 0; i < std::ssize(first); ++i) {
      if (i % stride >= shape_.out || i >= tokens * stride) {
        BOOST_REQUIRE(first[size(i)] == hidden.values()[size(i)]);
      }
    }
    check(tokens, "linear_residual", [&](std::int32_t t, std::int32_t o) {
      const auto at = size(t * stride + o);
      const product_reference r = reference(t, o, has_bias);
      const double want = hidden.values()[at] + r.value();
      return is_near(first[at],
                     want,
                     r.tolerance(shape_.in) + r.rounding(epsilon_of(room))
                         + epsilon_of(types_.y) * (std::abs(want) + std::abs(want - r.bias)));
    });
  }

  void check_gated(std::int32_t tokens, bool has_bias, dtype room, activation_kind kind) {
    const auto first = gated(tokens, has_bias, room, kind);
    BOOST_TEST(same_bits(gated(tokens, has_bias, room, kind), first));
    const std::int32_t width = shape_.out / 2;
    check(tokens, "gated_linear", [&](std::int32_t t, std::int32_t o) {
      if (o >= width) {
        return true;
      }
      const auto error = [this, room](const product_reference& r) {
        return r.tolerance(shape_.in) + r.rounding(epsilon_of(room));
      };
      const product_reference gate = reference(t, o, has_bias);
      const product_reference up = reference(t, width + o, has_bias);
      const auto want = gated_in_double(kind, gate.value(), up.value(), error(gate), error(up));
      return is_near(first[size(std::int64_t{t} * width + o)],
                     want.value,
                     want.tolerance + 0.6 * epsilon_of(types_.y) * std::abs(want.value) + 0x1p-24);
    });
  }

  [[nodiscard]] std::vector<float> linear(std::int32_t tokens, bool has_bias) const {
    const device_rows y(device_, types_.y, tokens, shape_.out, shape_.out + shape_.y_gap);
    device_.linear(args(tokens, has_bias, y.at(), shape_.out + shape_.y_gap));
    finish(device_);
    return y.read();
  }

private:
  [[nodiscard]] std::vector<float>
  residual(std::int32_t tokens, bool has_bias, dtype room, const device_elements& hidden) const {
    const device_elements y(
        device_, room, std::vector<float>(size(std::max(tokens, 1) * shape_.out)));
    device_.linear_residual({.linear = args(tokens, has_bias, y.at(), shape_.out),
                             .hidden = hidden.at(),
                             .hidden_stride = shape_.out + shape_.y_gap});
    finish(device_);
    return hidden.read();
  }

  [[nodiscard]] std::vector<float>
  gated(std::int32_t tokens, bool has_bias, dtype room, activation_kind kind) const {
    const std::int32_t width = shape_.out / 2;
    const device_rows y(device_, types_.y, tokens, width, width + shape_.y_gap);
    const device_elements both(
        device_, room, std::vector<float>(size(std::max(tokens, 1) * shape_.out)));
    device_.gated_linear({.linear = args(tokens, has_bias, both.at(), shape_.out),
                          .y = y.at(),
                          .y_stride = width + shape_.y_gap,
                          .kind = kind});
    finish(device_);
    return y.read();
  }

  [[nodiscard]] std::int64_t x_stride() const { return shape_.in + shape_.x_gap; }

  std::vector<float> rows_of_x() {
    std::vector<float> out(size(shape_.x_first + shape_.tokens * x_stride()),
                           std::numeric_limits<float>::quiet_NaN());
    for (std::int32_t t = 0; t < shape_.tokens; ++t) {
      for (std::int32_t k = 0; k < shape_.in; ++k) {
        out[size(shape_.x_first + t * x_stride() + k)] = random_.normal();
      }
    }
    return out;
  }

  [[nodiscard]] product_reference reference(std::int32_t t, std::int32_t o, bool has_bias) {
    auto& known = dots_[size(std::int64_t{t} * shape_.out + o)];
    if (!known) {
      known = dot_in_double(x_.values().data() + shape_.x_first + t * x_stride(),
                            weight_.values().data() + std::int64_t{o} * shape_.in,
                            shape_.in);
    }
    return {*known, has_bias ? static_cast<double>(bias_.values()[size(o)]) : 0.0};
  }

  template <class IsRight>
  void check(std::int32_t tokens, const char* operation, const IsRight& is_right) {
    std::int64_t wrong = 0;
    for (std::int32_t t = 0; t < tokens; ++t) {
      for (const std::int32_t o : columns_) {
        wrong += is_right(t, o) ? 0 : 1;
      }
    }
    BOOST_TEST(wrong == 0,
               operation << ": " << wrong << " wrong (tokens=" << tokens << " in=" << shape_.in
                         << " out=" << shape_.out << " weight=" << to_string(types_.weight)
                         << " x=" << to_string(types_.x) << " y=" << to_string(types_.y) << ")");
  }

  /// float32 with its host values.
  class bias_array {
  public:
    bias_array(backend& device, std::vector<float> values)
        : elements_(device, dtype::float32, std::move(values)) {}

    [[nodiscard]] const float* data() const { return static_cast<const float*>(elements_.raw()); }

    [[nodiscard]] const std::vector<float>& values() const { return elements_.values(); }

  private:
    device_elements elements_;
  };

  backend& device_;
  linear_shape shape_;
  element_types types_;
  random_source random_;
  device_elements weight_;
  bias_array bias_;
  device_elements x_;
  std::vector<std::int32_t> columns_;
  std::vector<std::optional<dot_reference>> dots_ =
      std::vector<std::optional<dot_reference>>(size(std::int64_t{shape_.tokens} * shape_.out));
};

constexpr auto every_count = {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 64, 200};

} // namespace

BOOST_AUTO_TEST_CASE(linears_of_every_size_agree_with_double_precision, *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const std::int32_t in : {8, 16, 40, 64, 200, 4096}) {
    for (const std::int32_t out : {1, 2, 7, 16, 33, 129, 4096}) {
      if (in == 4096 && out == 4096) {
        continue; // below
      }
      linear_problem p(*device,
                       {.tokens = 200, .in = in, .out = out, .x_gap = in % 16, .y_gap = out % 3},
                       with_types(dtype::bfloat16, dtype::float32),
                       static_cast<unsigned>(in * 7 + out));
      for (const std::int32_t tokens : every_count) {
        p.check_linear(tokens, tokens % 2 == 1);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(linears_of_every_pair_of_types_agree_with_double_precision,
                     *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype inner : all_dtypes) {
    for (const dtype outer : all_dtypes) {
      for (const std::int32_t in : {16, 200, 1032}) {
        for (const std::int32_t out : {7, 96, 129}) {
          linear_problem p(*device,
                           {.tokens = 64, .in = in, .out = out, .x_gap = 8, .y_gap = 8},
                           with_types(inner, outer),
                           static_cast<unsigned>(in + out));
          for (const std::int32_t tokens : {1, 3, 6, 13, 16, 17, 64}) {
            p.check_linear(tokens, false);
            p.check_linear(tokens, true);
          }
        }
      }
    }
  }
}

// Any mixture of types, odd sizes, odd strides, x that begins anywhere: nobody's fast path.
BOOST_AUTO_TEST_CASE(linears_of_any_types_and_alignment_agree_with_double_precision,
                     *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype weight : all_dtypes) {
    for (const dtype x : all_dtypes) {
      for (const dtype y : all_dtypes) {
        for (const std::int32_t in : {1, 37, 64}) {
          linear_problem p(
              *device,
              {.tokens = 70, .in = in, .out = in + 4, .x_gap = 3, .y_gap = 1, .x_first = in % 2},
              {weight, x, y},
              static_cast<unsigned>(in));
          for (const std::int32_t tokens : {1, 9, 70}) {
            p.check_linear(tokens, tokens != 9);
            p.check_residual(tokens, tokens == 9, dtype::float32);
          }
        }
      }
    }
  }
}

// More tiles than blocks, so that a block's ring runs on from tile to tile; and shapes of a real model.
BOOST_AUTO_TEST_CASE(large_linears_agree_with_double_precision, *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const linear_shape& shape : {linear_shape{.tokens = 17, .in = 4096, .out = 4096},
                                    linear_shape{.tokens = 17, .in = 1544, .out = 2500},
                                    linear_shape{.tokens = 17, .in = 520, .out = 7001},
                                    linear_shape{.tokens = 17, .in = 64, .out = 32003}}) {
    linear_problem p(*device,
                     shape,
                     with_types(shape.in == 520 ? dtype::float16 : dtype::bfloat16, dtype::float32),
                     static_cast<unsigned>(shape.in));
    for (const std::int32_t tokens : {1, 2, 4, 5, 8, 9, 16, 17}) {
      p.check_linear(tokens, true);
    }
  }
}

BOOST_AUTO_TEST_CASE(residual_linears_add_to_the_stream_and_to_nothing_else,
                     *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype inner : all_dtypes) {
    for (const dtype stream : {dtype::float32, inner}) {
      for (const std::int32_t in : {40, 1032}) {
        for (const std::int32_t out : {1, 33, 200, 2500}) {
          if (in == 1032 && out == 2500 && stream != dtype::float32) {
            continue;
          }
          linear_problem p(*device,
                           {.tokens = 33, .in = in, .out = out, .y_gap = out % 2 == 0 ? 8 : 3},
                           with_types(inner, stream),
                           static_cast<unsigned>(in - out));
          for (const std::int32_t tokens : {0, 1, 4, 7, 16, 33}) {
            p.check_residual(tokens, tokens % 2 == 1, tokens == 4 ? inner : dtype::float32);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gated_linears_agree_with_double_precision, *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype inner : all_dtypes) {
    for (const std::int32_t in : {16, 520}) {
      for (const std::int32_t width : {1, 2, 7, 8, 33, 200, 3003}) {
        if (in == 520 && width == 3003 && inner != dtype::bfloat16) {
          continue;
        }
        linear_problem p(*device,
                         {.tokens = 40, .in = in, .out = 2 * width, .x_gap = 8, .y_gap = width % 4},
                         with_types(inner, width % 2 == 0 ? dtype::float32 : inner),
                         static_cast<unsigned>(in + width));
        for (const std::int32_t tokens : {0, 1, 2, 6, 16, 17, 40}) {
          p.check_gated(tokens, tokens % 2 == 0, inner, activation_kind::silu);
        }
        for (const std::int32_t tokens : {1, 12, 17}) {
          p.check_gated(tokens, true, dtype::float32, activation_kind::gelu_tanh);
          p.check_gated(tokens, false, dtype::float32, activation_kind::gelu_erf);
          p.check_gated(tokens, true, inner, activation_kind::relu);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_stay_in_their_row_and_column, *precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  constexpr std::int32_t in = 136;
  constexpr std::int32_t out = 50;
  for (const dtype type : all_dtypes) {
    for (const std::int32_t tokens : {3, 5, 12, 16, 40}) {
      random_source random(static_cast<unsigned>(tokens));
      auto x_values = random.normals(size(tokens * in));
      auto weights = random.normals(size(out * in));
      x_values[size(1 * in + 7)] = std::numeric_limits<float>::quiet_NaN();
      x_values[size(2 * in + in - 1)] = std::numeric_limits<float>::infinity();
      weights[size(17 * in + 64)] = -std::numeric_limits<float>::infinity();
      const device_elements x(*device, type, x_values);
      const device_elements weight(*device, type, weights);
      const device_rows y(*device, dtype::float32, tokens, out, out);
      device->linear({.x = x.at(),
                      .weight = weight.raw(),
                      .bias = nullptr,
                      .y = y.at(),
                      .tokens = tokens,
                      .in_features = in,
                      .out_features = out,
                      .x_stride = in,
                      .y_stride = out,
                      .weight_dtype = type,
                      .reduction_leaves = 1});
      finish(*device);
      const auto got = y.read();
      std::int32_t wrong = 0;
      for (std::int32_t t = 0; t < tokens; ++t) {
        for (std::int32_t o = 0; o < out; ++o) {
          const auto want =
              dot_in_double(x.values().data() + t * in, weight.values().data() + o * in, in);
          wrong += is_near(got[size(t * out + o)], want.value, 1e-3) ? 0 : 1;
        }
      }
      BOOST_TEST(wrong == 0, to_string(type) << ", " << tokens << " tokens: " << wrong << " wrong");
    }
  }
}

BOOST_AUTO_TEST_CASE(a_replayed_linear_gives_the_bits_of_a_called_one, *precondition(has_gpu)) {
  const auto device = make_cuda_backend(true);
  std::uint64_t key = 1;
  for (const dtype inner : {dtype::bfloat16, dtype::float32}) {
    const linear_problem p(*device,
                           {.tokens = 40, .in = 264, .out = 72},
                           with_types(inner, inner),
                           static_cast<unsigned>(key));
    for (const std::int32_t tokens : {1, 12, 40}) {
      const auto called = p.linear(tokens, true);
      const device_rows y(*device, inner, tokens, 72, 72);
      ++key;
      for (int i = 0; i < 4; ++i) {
        device->queue().run(key, [&] { device->linear(p.args(tokens, true, y.at(), 72)); });
        finish(*device);
        BOOST_TEST(same_bits(y.read(), called));
      }
    }
  }
}
