#include "model/weights/random_source.hpp"

#include "model/weights/convert.hpp"
#include "model/weights/load_weights.hpp"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <vector>

namespace {

using namespace vdist::weights;
using vdist::kernels::dtype;

std::vector<float> generated(std::uint64_t seed,
                             const std::string& name,
                             weight_role role,
                             std::int64_t first,
                             std::int64_t count) {
  const random_source source(seed);
  const auto reader = source.open({.names = {name}, .shape = {first + count, 0}}, role);
  std::vector<float> values(static_cast<std::size_t>(count));
  BOOST_REQUIRE((*reader)->read(
      {.first = first, .count = count},
      {.data = reinterpret_cast<std::byte*>(values.data()), .type = dtype::float32}));
  return values;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b, std::size_t lag) {
  double sum = 0;
  for (std::size_t i = lag; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i - lag]);
  }
  return sum / static_cast<double>(a.size()) / (0.02 * 0.02);
}

} // namespace

BOOST_AUTO_TEST_CASE(matrices_have_the_promised_mean_and_deviation) {
  constexpr std::int64_t count = 1 << 18;
  const auto values = generated(1, "a.weight", weight_role::matrix, 0, count);
  double sum = 0;
  double squares = 0;
  float largest = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * static_cast<double>(value);
    largest = std::max(largest, std::abs(value));
  }
  BOOST_TEST(std::abs(sum / count) < 5 * 0.02 / std::sqrt(count)); // five standard errors
  BOOST_TEST(std::sqrt(squares / count) == 0.02, boost::test_tools::tolerance(0.01));
  BOOST_TEST(largest < 0.05F);
}

BOOST_AUTO_TEST_CASE(neighbours_columns_tensors_and_seeds_are_uncorrelated) {
  constexpr std::int64_t count = 1 << 16;
  const auto a = generated(1, "a.weight", weight_role::matrix, 0, count);
  const double bound = 5 / std::sqrt(static_cast<double>(count));
  for (const std::size_t lag : {1U, 2U, 3U, 64U, 768U, 4096U}) {
    BOOST_TEST(std::abs(correlation(a, a, lag)) < bound, "lag " << lag);
  }
  BOOST_TEST(std::abs(correlation(a, generated(1, "b.weight", weight_role::matrix, 0, count), 0))
             < bound);
  BOOST_TEST(std::abs(correlation(a, generated(2, "a.weight", weight_role::matrix, 0, count), 0))
             < bound);
  constexpr std::int64_t page = std::int64_t{1} << 32;
  BOOST_TEST(std::abs(correlation(a, generated(1, "a.weight", weight_role::matrix, page, count), 0))
             < bound);
}

BOOST_AUTO_TEST_CASE(an_element_depends_on_its_place_only) {
  // Across the places where the generator changes its key or its buffer.
  constexpr std::int64_t page = std::int64_t{1} << 32;
  for (const std::int64_t start : {std::int64_t{0}, std::int64_t{1000}, page - 1500}) {
    const auto all = generated(3, "a.weight", weight_role::matrix, start, 3000);
    for (const std::int64_t offset : {1, 17, 1023, 1024, 1499, 1500, 2999}) {
      const auto one = generated(3, "a.weight", weight_role::matrix, start + offset, 1);
      BOOST_TEST(one[0] == all[static_cast<std::size_t>(offset)]);
    }
  }
}

BOOST_AUTO_TEST_CASE(norms_are_one_and_biases_are_small) {
  for (const float value : generated(1, "norm", weight_role::norm, 0, 100)) {
    BOOST_TEST(value == 1.0F);
  }
  double squares = 0;
  for (const float value : generated(1, "bias", weight_role::bias, 0, 10'000)) {
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  BOOST_TEST(std::sqrt(squares / 10'000) == 0.002, boost::test_tools::tolerance(0.05));
}

BOOST_AUTO_TEST_CASE(the_first_values_never_change) {
  // Recorded once: streams of generated models are compared between versions.
  const auto values = generated(42, "model.layers.0.mlp.up_proj.weight", weight_role::matrix, 0, 4);
  const float recorded[] = {0.013191F, -0.0430833F, -0.0187735F, 0.00558706F};
  for (std::size_t i = 0; i < values.size(); ++i) {
    BOOST_TEST(values[i] == recorded[i], boost::test_tools::tolerance(1e-5F));
  }
}
