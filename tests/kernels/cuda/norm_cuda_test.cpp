#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/kernels/norm/norm_ref.hpp"

#include <numeric>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr float eps = 1e-5F;

/// Rows of one call; x is rounded to its type.
struct problem {
  std::int32_t rows;
  std::int32_t width;
  std::int64_t x_stride;
  std::int64_t y_stride;
  dtype x_type;
  dtype y_type;
  std::vector<float> x, weight, bias;

  problem(std::int32_t rows_,
          std::int32_t width_,
          std::int64_t gap,
          dtype x_type_,
          dtype y_type_,
          std::uint32_t seed)
      : rows(rows_),
        width(width_),
        x_stride(width_ + gap),
        y_stride(width_ + 2 * gap),
        x_type(x_type_),
        y_type(y_type_) {
    random_source random(seed);
    x = random.normals(static_cast<std::size_t>(rows * x_stride));
    weight = random.normals(static_cast<std::size_t>(width));
    bias = random.normals(static_cast<std::size_t>(width));
    for (float& value : x) {
      value = rounded_to(x_type, value);
    }
  }

  [[nodiscard]] const float* row(std::int32_t r) const { return x.data() + r * x_stride; }
};

enum class norm_kind { rms, layer, layer_without_bias };

std::vector<float> run(backend& device, const problem& p, norm_kind kind) {
  const device_elements x(device, p.x_type, p.x);
  const device_array<float> weight(device, p.weight);
  const device_array<float> bias(device, p.bias);
  const device_rows y(device, p.y_type, p.rows, p.width, p.y_stride);
  if (kind == norm_kind::rms) {
    device.rms_norm({.x = x.at(),
                     .weight = weight.data(),
                     .y = y.at(),
                     .rows = p.rows,
                     .width = p.width,
                     .x_stride = p.x_stride,
                     .y_stride = p.y_stride,
                     .eps = eps});
  } else {
    device.layer_norm({.x = x.at(),
                       .weight = weight.data(),
                       .bias = kind == norm_kind::layer ? bias.data() : nullptr,
                       .y = y.at(),
                       .rows = p.rows,
                       .width = p.width,
                       .x_stride = p.x_stride,
                       .y_stride = p.y_stride,
                       .eps = eps});
  }
  finish(device);
  return y.read();
}

/// One rounding of the result, and float32 sums: each has relative error of at most (additions in one thread + depth of the
/// tree) * 2^-24, at most (16 + log2(width)) * 2^-24 here; it scales what is added, which is as large as
/// (|x| + |mean|) * scale * |weight| + |bias|.
void check_row(const problem& p, norm_kind kind, std::int32_t r, const float* got) {
  const float* x = p.row(r);
  const float* bias = kind == norm_kind::layer ? p.bias.data() : nullptr;
  const auto want = kind == norm_kind::rms
                        ? rms_norm_in_double(x, p.weight.data(), p.width, eps)
                        : layer_norm_in_double(x, p.weight.data(), bias, p.width, eps);
  const double mean = kind == norm_kind::rms ? 0.0 : std::accumulate(x, x + p.width, 0.0) / p.width;
  double variance = 0.0;
  for (std::int32_t i = 0; i < p.width; ++i) {
    variance += (x[i] - mean) * (x[i] - mean) / p.width;
  }
  const double scale = 1.0 / std::sqrt(variance + static_cast<double>(eps));
  const double sums = (16.0 + std::log2(p.width)) * 0x1p-23;
  std::int64_t wrong = 0;
  for (std::int32_t i = 0; i < p.width; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double size = (std::abs(static_cast<double>(x[i])) + std::abs(mean)) * scale
                            * std::abs(static_cast<double>(p.weight[at]))
                        + (bias != nullptr ? std::abs(static_cast<double>(bias[i])) : 0.0);
    const double tolerance =
        sums * size + 0.51 * epsilon_of(p.y_type) * std::abs(want[at]) + 0x1p-24;
    wrong += static_cast<std::int64_t>(!is_near(got[i], want[at], tolerance));
  }
  BOOST_TEST(wrong == 0,
             wrong << " wrong, kind " << static_cast<int>(kind) << " row " << r << " width "
                   << p.width << " types " << to_string(p.x_type) << " " << to_string(p.y_type));
}

} // namespace

BOOST_AUTO_TEST_CASE(both_norms_agree_with_double_precision,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 1;
  for (const std::int32_t width :
       {1, 7, 31, 32, 33, 64, 80, 128, 255, 256, 257, 300, 1001, 4096, 5120, 8192, 8200, 20000}) {
    for (const std::int64_t gap : {0, 5, 8}) {
      for (const dtype x_type : all_dtypes) {
        for (const dtype y_type : all_dtypes) {
          const problem p(width < 1000 ? 5 : 2, width, gap, x_type, y_type, ++seed);
          for (const auto kind :
               {norm_kind::rms, norm_kind::layer, norm_kind::layer_without_bias}) {
            const auto y = run(*device, p, kind);
            for (std::int32_t r = 0; r < p.rows; ++r) {
              check_row(p, kind, r, y.data() + r * width);
            }
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(no_rows_and_many_rows_are_normed_each_on_its_own,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const auto kind : {norm_kind::rms, norm_kind::layer}) {
    BOOST_TEST(run(*device, problem(0, 64, 0, dtype::float32, dtype::bfloat16, 1), kind).empty());
    for (const std::int32_t width : {64, 512}) {
      const problem many(1027, width, 0, dtype::bfloat16, dtype::bfloat16, 2);
      const auto all = run(*device, many, kind);
      for (const std::int32_t r : {0, 1, 3, 4, 1023, 1026}) {
        check_row(many, kind, r, all.data() + r * width);
        problem one = many;
        one.rows = 1;
        one.x.assign(many.row(r), many.row(r) + width);
        const std::vector<float> among(all.begin() + r * width, all.begin() + (r + 1) * width);
        BOOST_TEST(same_bits(run(*device, one, kind), among));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_norm_may_overwrite_its_input, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : all_dtypes) {
    for (const std::int32_t width : {77, 128, 4096, 9000}) {
      const problem p(3, width, 8, type, type, 9);
      const device_array<float> weight(*device, p.weight);
      const device_array<float> bias(*device, p.bias);
      for (const auto kind : {norm_kind::rms, norm_kind::layer}) {
        const auto want = run(*device, p, kind);
        const device_elements x(*device, type, p.x);
        if (kind == norm_kind::rms) {
          device->rms_norm({.x = x.at(),
                            .weight = weight.data(),
                            .y = x.at(),
                            .rows = p.rows,
                            .width = width,
                            .x_stride = p.x_stride,
                            .y_stride = p.x_stride,
                            .eps = eps});
        } else {
          device->layer_norm({.x = x.at(),
                              .weight = weight.data(),
                              .bias = bias.data(),
                              .y = x.at(),
                              .rows = p.rows,
                              .width = width,
                              .x_stride = p.x_stride,
                              .y_stride = p.x_stride,
                              .eps = eps});
        }
        finish(*device);
        const auto all = x.read();
        std::vector<float> got;
        for (std::int32_t r = 0; r < p.rows; ++r) {
          got.insert(got.end(), all.begin() + r * p.x_stride, all.begin() + r * p.x_stride + width);
        }
        BOOST_TEST(same_bits(got, want));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_stay_in_their_row_and_zeros_stay_zero,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const std::int32_t width : {40, 1000}) {
    problem p(4, width, 0, dtype::float32, dtype::float32, 2);
    const auto row = static_cast<std::size_t>(width);
    p.x[3] = std::numeric_limits<float>::quiet_NaN();
    std::fill_n(p.x.begin() + width, width, 0.0F);
    p.x[2 * row + 1] = std::numeric_limits<float>::infinity();
    const auto y = run(*device, p, norm_kind::rms);
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < row; ++i) {
      wrong += static_cast<std::int64_t>(!std::isnan(y[i]));
      wrong += static_cast<std::int64_t>(y[row + i] != 0.0F);
      wrong +=
          static_cast<std::int64_t>(i == 1 ? !std::isnan(y[2 * row + i]) : y[2 * row + i] != 0.0F);
      wrong += static_cast<std::int64_t>(!std::isfinite(y[3 * row + i]));
    }
    BOOST_TEST(wrong == 0);
  }
}

BOOST_AUTO_TEST_CASE(the_same_call_gives_the_same_bits,
                     *boost::unit_test::precondition(has_gpu)) { // N-4
  const auto device = make_cuda_backend();
  for (const auto kind : {norm_kind::rms, norm_kind::layer}) {
    const problem p(64, 4096, 0, dtype::float32, dtype::bfloat16, 3);
    const auto first = run(*device, p, kind);
    for (int i = 0; i < 5; ++i) {
      BOOST_TEST(same_bits(run(*device, p, kind), first));
    }
  }
}
