#include "tests/kernels/kernel_fixture.hpp"
#include "tests/kernels/norm/norm_ref.hpp"

#include <span>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr float eps = 1e-5F;

struct problem {
  std::int32_t rows;
  std::int32_t width;
  std::int64_t stride;
  std::vector<float> x, weight, bias;

  problem(std::int32_t rows_, std::int32_t width_, std::uint32_t seed)
      : rows(rows_), width(width_), stride(width_ + 5) {
    random_source random(seed);
    x = random.normals(static_cast<std::size_t>(rows * stride));
    weight = random.normals(static_cast<std::size_t>(width));
    bias = random.normals(static_cast<std::size_t>(width));
  }

  [[nodiscard]] std::vector<float> rms(backend& device) const {
    guarded_rows y(rows, width, width + 2);
    device.rms_norm({.x = x.data(),
                     .weight = weight.data(),
                     .y = y.data(),
                     .rows = rows,
                     .width = width,
                     .x_stride = stride,
                     .y_stride = width + 2,
                     .eps = eps});
    BOOST_TEST(y.is_exactly_filled());
    return y.values();
  }

  [[nodiscard]] std::vector<float> layer(backend& device, const float* b) const {
    guarded_rows y(rows, width, width + 2);
    device.layer_norm({.x = x.data(),
                       .weight = weight.data(),
                       .bias = b,
                       .y = y.data(),
                       .rows = rows,
                       .width = width,
                       .x_stride = stride,
                       .y_stride = width + 2,
                       .eps = eps});
    BOOST_TEST(y.is_exactly_filled());
    return y.values();
  }
};

void check_near(std::span<const float> got, const std::vector<double>& want) {
  double worst = 0.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst,
                     std::abs(static_cast<double>(got[i]) - want[i]) / (1.0 + std::abs(want[i])));
  }
  BOOST_TEST(worst < 1e-6);
}

} // namespace

BOOST_AUTO_TEST_CASE(
    both_norms_agree_with_double_precision_and_between_instruction_sets_and_threads) {
  for (const std::int32_t width : {1, 7, 16, 33, 100, 2048}) {
    for (const std::int32_t rows : {0, 1, 3, 65}) {
      const problem p(rows, width, static_cast<std::uint32_t>(width + rows));
      const auto reference = make_backend(cpu_isa::portable);
      const auto rms = p.rms(*reference);
      const auto layer = p.layer(*reference, p.bias.data());
      const auto unbiased = p.layer(*reference, nullptr);
      for (std::int32_t r = 0; r < rows; ++r) {
        const float* x = p.x.data() + r * p.stride;
        const auto row = [r, width](const std::vector<float>& all) {
          return std::span(all).subspan(static_cast<std::size_t>(r * width),
                                        static_cast<std::size_t>(width));
        };
        check_near(row(rms), rms_norm_in_double(x, p.weight.data(), width, eps));
        if (width > 1) { // one element: the deviation is rounding alone
          check_near(row(layer),
                     layer_norm_in_double(x, p.weight.data(), p.bias.data(), width, eps));
          check_near(row(unbiased), layer_norm_in_double(x, p.weight.data(), nullptr, width, eps));
        }
      }
      for (const std::int32_t threads : {1, 3}) {
        for (const auto& device : all_backends(threads)) {
          BOOST_TEST(same_bits(p.rms(*device), rms));
          BOOST_TEST(same_bits(p.layer(*device, p.bias.data()), layer));
          BOOST_TEST(same_bits(p.layer(*device, nullptr), unbiased));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_norm_may_overwrite_its_input) {
  const problem p(5, 77, 9);
  for (const auto& device : all_backends()) {
    const auto want = p.rms(*device);
    std::vector<float> x = p.x;
    device->rms_norm({.x = x.data(),
                      .weight = p.weight.data(),
                      .y = x.data(),
                      .rows = p.rows,
                      .width = p.width,
                      .x_stride = p.stride,
                      .y_stride = p.stride,
                      .eps = eps});
    std::vector<float> got;
    for (std::int32_t r = 0; r < p.rows; ++r) {
      got.insert(got.end(), x.begin() + r * p.stride, x.begin() + r * p.stride + p.width);
    }
    BOOST_TEST(same_bits(got, want));
  }
}

BOOST_AUTO_TEST_CASE(nan_stays_in_its_row_and_zeros_stay_zero) {
  problem p(3, 40, 2);
  p.x[3] = std::numeric_limits<float>::quiet_NaN();
  std::fill_n(p.x.begin() + p.stride, p.width, 0.0F);
  for (const auto& device : all_backends()) {
    const auto y = p.rms(*device);
    for (std::size_t i = 0; i < 40; ++i) {
      BOOST_TEST(std::isnan(y[i]));
      BOOST_TEST(y[40 + i] == 0.0F);
      BOOST_TEST(std::isfinite(y[80 + i]));
    }
  }
}
