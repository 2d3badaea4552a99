#include "tests/kernels/cuda/cuda_fixture.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr activation_kind all_kinds[] = {activation_kind::silu,
                                         activation_kind::gelu_tanh,
                                         activation_kind::gelu_erf,
                                         activation_kind::relu};

double in_double(activation_kind kind, double x) {
  switch (kind) {
  case activation_kind::silu:
    return x / (1.0 + std::exp(-x));
  case activation_kind::gelu_tanh:
    return 0.5 * x * (1.0 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
  case activation_kind::gelu_erf:
    return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752));
  case activation_kind::relu:
    return x < 0 ? 0.0 : x;
  }
  return x;
}

/// One rounding to the type. Before it, where the result is float32: a few units in the last place of the function, which
/// near -infinity cancels to an absolute error of |x| 2^-23. Where it has 16 bits: the fast exp, (2 + |z|) 2^-22, with
/// |z| < 32 for results that are not below the absolute part.
double tolerance_of(dtype type, double x, double want, double factor) {
  const double function = type == dtype::float32 ? 8 * 0x1p-23 : 34 * 0x1p-22;
  return (0.51 * epsilon_of(type) + function) * std::abs(want)
         + (4 * 0x1p-23 * std::abs(x) * std::abs(factor)) + 0x1p-24;
}

/// Numbers of all sizes, and special ones.
std::vector<float> mixed(random_source& random, std::size_t count) {
  auto values = random.normals(count);
  for (std::size_t i = 0; i < count; i += 3) {
    values[i] *= 10.0F;
  }
  return values;
}

void check_gated(backend& device,
                 std::int32_t rows,
                 std::int32_t width,
                 std::int64_t gap,
                 dtype x_type,
                 dtype y_type,
                 activation_kind kind) {
  random_source random(static_cast<std::uint32_t>(width + rows));
  const std::int64_t x_stride = 2 * width + gap;
  const std::int64_t y_stride = width + gap;
  const device_elements x(device, x_type, mixed(random, static_cast<std::size_t>(rows * x_stride)));
  const device_rows y(device, y_type, rows, width, y_stride);
  device.gated_activation({.gate_up = x.at(),
                           .y = y.at(),
                           .rows = rows,
                           .width = width,
                           .x_stride = x_stride,
                           .y_stride = y_stride,
                           .kind = kind});
  finish(device);
  const auto got = y.read();
  std::int64_t wrong = 0;
  for (std::int32_t r = 0; r < rows; ++r) {
    for (std::int32_t i = 0; i < width; ++i) {
      const double gate = x.values()[static_cast<std::size_t>(r * x_stride + i)];
      const double up = x.values()[static_cast<std::size_t>(r * x_stride + width + i)];
      const double want = in_double(kind, gate) * up;
      const double value = got[static_cast<std::size_t>(r) * static_cast<std::size_t>(width)
                               + static_cast<std::size_t>(i)];
      wrong +=
          static_cast<std::int64_t>(!is_near(value, want, tolerance_of(y_type, gate, want, up)));
    }
  }
  BOOST_TEST(wrong == 0,
             wrong << " wrong, kind " << static_cast<int>(kind) << " rows " << rows << " width "
                   << width << " gap " << gap << " types " << to_string(x_type) << " "
                   << to_string(y_type));
}

} // namespace

BOOST_AUTO_TEST_CASE(gated_activations_agree_with_double_precision,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const auto kind : all_kinds) {
    for (const dtype x_type : all_dtypes) {
      for (const dtype y_type : all_dtypes) {
        for (const std::int32_t width : {1, 7, 8, 32, 100, 1024, 1033}) {
          for (const std::int64_t gap : {0, 3, 8}) {
            check_gated(*device, 3, width, gap, x_type, y_type, kind);
          }
        }
        check_gated(*device, 0, 64, 0, x_type, y_type, kind);
        check_gated(*device, 1, 14336, 0, x_type, y_type, kind);
        check_gated(*device, 67, 520, 0, x_type, y_type, kind);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(activations_in_place_agree_with_double_precision,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const auto kind : all_kinds) {
    for (const dtype type : all_dtypes) {
      for (const std::int32_t rows : {0, 1, 65}) {
        for (const std::int32_t width : {1, 33, 512, 3001}) {
          random_source random(static_cast<std::uint32_t>(width));
          const std::int64_t stride = width + 8 - width % 8 + (width == 33 ? 1 : 0);
          const device_elements x(
              *device, type, mixed(random, static_cast<std::size_t>(rows * stride)));
          device->activation(
              {.x = x.at(), .rows = rows, .width = width, .x_stride = stride, .kind = kind});
          finish(*device);
          const auto got = x.read();
          std::int64_t wrong = 0;
          for (std::size_t i = 0; i < got.size(); ++i) {
            const double before = x.values()[i];
            const bool is_inside = static_cast<std::int64_t>(i) % stride < width;
            const double want = is_inside ? in_double(kind, before) : before;
            wrong += static_cast<std::int64_t>(
                !is_near(got[i], want, is_inside ? tolerance_of(type, before, want, 1.0) : 0.0));
          }
          BOOST_TEST(wrong == 0,
                     wrong << " wrong, kind " << static_cast<int>(kind) << " width " << width);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(activations_keep_nan_and_saturate_at_large_numbers,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const dtype type : all_dtypes) {
    const float large = type == dtype::float16 ? 60000.0F : 1e30F;
    for (const auto kind : all_kinds) {
      const device_elements x(
          *device, type, {nan, infinity, large, -large, 100.0F, -100.0F, 0.0F, 1.0F, nan});
      device->activation({.x = x.at(), .rows = 1, .width = 9, .x_stride = 9, .kind = kind});
      finish(*device);
      const auto got = x.read();
      BOOST_TEST(std::isnan(got[0]));
      BOOST_TEST(got[1] == infinity);
      BOOST_TEST(got[2] == x.values()[2]);
      BOOST_TEST(std::abs(got[3]) == 0.0F);
      BOOST_TEST(got[4] == 100.0F);
      BOOST_TEST(std::abs(got[5]) < 1e-30F);
      BOOST_TEST(got[6] == 0.0F);
      BOOST_TEST(std::isnan(got[8]));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_residual_is_added_with_and_without_bias,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype hidden_type : all_dtypes) {
    for (const dtype delta_type : all_dtypes) {
      for (const std::int32_t rows : {0, 1, 3, 70}) {
        for (const std::int32_t width : {1, 30, 257, 4096}) {
          for (const std::int64_t gap : {0, 8}) {
            random_source random(static_cast<std::uint32_t>(width + rows));
            const std::int64_t stride = width + gap;
            const auto count = static_cast<std::size_t>(rows * stride);
            const device_elements delta(*device, delta_type, random.normals(count));
            const auto start = random.normals(count);
            const auto bias_values = random.normals(static_cast<std::size_t>(width));
            const device_array<float> bias(*device, bias_values);
            for (const bool has_bias : {false, true}) {
              const device_elements hidden(*device, hidden_type, start);
              device->add_residual({.hidden = hidden.at(),
                                    .delta = delta.at(),
                                    .bias = has_bias ? bias.data() : nullptr,
                                    .rows = rows,
                                    .width = width,
                                    .hidden_stride = stride,
                                    .delta_stride = stride});
              finish(*device);
              const auto got = hidden.read();
              std::int64_t wrong = 0;
              for (std::size_t i = 0; i < count; ++i) {
                const auto column = static_cast<std::int64_t>(i) % stride;
                float want =
                    hidden.values()
                        [i]; // float32 additions in the order of the contract are exact to compare
                if (column < width) {
                  const float b = has_bias ? bias_values[static_cast<std::size_t>(column)] : 0.0F;
                  want = rounded_to(hidden_type, want + (delta.values()[i] + b));
                }
                wrong += static_cast<std::int64_t>(got[i] != want);
              }
              BOOST_TEST(wrong == 0,
                         wrong << " wrong, width " << width << " " << to_string(hidden_type));
            }
          }
        }
      }
    }
  }
}
