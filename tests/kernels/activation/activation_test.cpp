#include "tests/kernels/activation/activation_ref.hpp"
#include "tests/kernels/kernel_fixture.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr activation_kind all_kinds[] = {activation_kind::silu,
                                         activation_kind::gelu_tanh,
                                         activation_kind::gelu_erf,
                                         activation_kind::relu};

/// A dense grid, both signs, from subnormal to overflow.
std::vector<float> inputs() {
  std::vector<float> out = {0.0F,
                            -0.0F,
                            1e-45F,
                            -1e-45F,
                            1e-30F,
                            -1e-30F,
                            3e38F,
                            -200.0F,
                            -104.5F,
                            104.5F,
                            88.8F,
                            -88.8F};
  for (int i = -40000; i <= 40000; ++i) {
    out.push_back(static_cast<float>(i) / 2000.0F);
  }
  return out;
}

std::vector<float> run(backend& device, activation_kind kind, std::vector<float> x) {
  device.activation({.x = x.data(),
                     .rows = 1,
                     .width = static_cast<std::int32_t>(x.size()),
                     .x_stride = static_cast<std::int64_t>(x.size()),
                     .kind = kind});
  return x;
}

} // namespace

BOOST_AUTO_TEST_CASE(activations_are_within_a_few_units_of_double_precision) {
  const std::vector<float> x = inputs();
  const auto device = make_backend(cpu_isa::automatic);
  for (const activation_kind kind : all_kinds) {
    const auto y = run(*device, kind, x);
    double worst = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double want = activate_in_double(kind, static_cast<double>(x[i]));
      constexpr double tiny = 1e-30; // exp(-x) overflows below x = -88.7, silu is then zero
      // Where 1 + f cancels, f's own rounding (relative to one) is what is left.
      const bool is_gelu = kind == activation_kind::gelu_tanh || kind == activation_kind::gelu_erf;
      const double unit =
          std::abs(want) + (is_gelu ? std::abs(static_cast<double>(x[i])) : 0.0) + tiny;
      worst = std::max(worst, std::abs(static_cast<double>(y[i]) - want) / unit);
    }
    BOOST_TEST(worst < 4 * 0x1p-23,
               "kind " << static_cast<int>(kind) << " is off by " << worst * 0x1p23 << " ulp");
  }
}

BOOST_AUTO_TEST_CASE(every_instruction_set_gives_the_same_bits) {
  std::vector<float> x = inputs();
  x.push_back(std::numeric_limits<float>::infinity());
  x.push_back(-std::numeric_limits<float>::infinity());
  x.push_back(std::numeric_limits<float>::quiet_NaN());
  const auto reference = make_backend(cpu_isa::portable);
  for (const activation_kind kind : all_kinds) {
    const auto want = run(*reference, kind, x);
    for (const auto& device : all_backends()) {
      BOOST_TEST(same_bits(run(*device, kind, x), want),
                 device->name() << " kind " << static_cast<int>(kind));
    }
  }
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_follow_the_formula) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& device : all_backends()) {
    for (const activation_kind kind : all_kinds) {
      const auto y = run(*device, kind, {std::numeric_limits<float>::quiet_NaN(), infinity});
      BOOST_TEST(std::isnan(y[0]));
      BOOST_TEST(y[1] == infinity);
    }
    BOOST_TEST(run(*device, activation_kind::relu, {-infinity})[0] == 0.0F);
  }
}

BOOST_AUTO_TEST_CASE(the_gated_form_multiplies_the_activation_with_the_second_half) {
  for (const std::int32_t threads : {1, 2}) {
    for (const auto& device : all_backends(threads)) {
      for (const std::int32_t width : {1, 16, 37, 1000}) {
        for (const std::int32_t rows : {0, 1, 5, 40}) {
          const std::int64_t stride = 2 * width + 3;
          random_source random(static_cast<std::uint32_t>(width + rows));
          const auto x = random.normals(static_cast<std::size_t>(rows * stride));
          guarded_rows y(rows, width, width + 1);
          device->gated_activation({.gate_up = x.data(),
                                    .y = y.data(),
                                    .rows = rows,
                                    .width = width,
                                    .x_stride = stride,
                                    .y_stride = width + 1,
                                    .kind = activation_kind::silu});
          BOOST_TEST(y.is_exactly_filled());
          std::vector<float> want;
          for (std::int32_t r = 0; r < rows; ++r) {
            const auto row = x.begin() + r * stride;
            const auto gates =
                run(*device, activation_kind::silu, std::vector<float>(row, row + width));
            for (std::int32_t i = 0; i < width; ++i) {
              want.push_back(gates[static_cast<std::size_t>(i)] * row[width + i]);
            }
          }
          BOOST_TEST(same_bits(y.values(), want));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(activation_leaves_the_gaps_between_rows_alone) {
  for (const auto& device : all_backends()) {
    guarded_rows x(3, 21, 30);
    for (std::int32_t r = 0; r < 3; ++r) {
      std::fill_n(x.data() + r * 30, 21, -1.0F);
    }
    device->activation(
        {.x = x.data(), .rows = 3, .width = 21, .x_stride = 30, .kind = activation_kind::relu});
    BOOST_TEST(x.is_exactly_filled());
    BOOST_TEST(same_bits(x.values(), std::vector<float>(63, 0.0F)));
  }
}

BOOST_AUTO_TEST_CASE(the_residual_is_added_with_the_bias_inside) {
  for (const auto& device : all_backends(2)) {
    for (const std::int32_t width : {1, 33, 512}) {
      for (const bool has_bias : {false, true}) {
        constexpr std::int32_t rows = 7;
        random_source random(static_cast<std::uint32_t>(width));
        const auto hidden = random.normals(static_cast<std::size_t>(rows * width));
        const auto delta = random.normals(static_cast<std::size_t>(rows * (width + 2)));
        const auto bias = random.normals(static_cast<std::size_t>(width));
        guarded_rows y(rows, width, width + 4);
        std::vector<float> want;
        for (std::int32_t r = 0; r < rows; ++r) {
          for (std::int32_t i = 0; i < width; ++i) {
            const float h = hidden[static_cast<std::size_t>(r * width + i)];
            const float d = delta[static_cast<std::size_t>(r * (width + 2) + i)];
            y.data()[r * (width + 4) + i] = h;
            want.push_back(h + (has_bias ? d + bias[static_cast<std::size_t>(i)] : d));
          }
        }
        device->add_residual({.hidden = y.data(),
                              .delta = delta.data(),
                              .bias = has_bias ? bias.data() : nullptr,
                              .rows = rows,
                              .width = width,
                              .hidden_stride = width + 4,
                              .delta_stride = width + 2});
        BOOST_TEST(y.is_exactly_filled());
        BOOST_TEST(same_bits(y.values(), want));
      }
    }
  }
}
