#include "tests/kernels/kernel_fixture.hpp"
#include "tests/kernels/position/rope_ref.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

struct shape {
  std::int32_t tokens, heads, head_dim, rotary_dim;
};

} // namespace

BOOST_AUTO_TEST_CASE(rotates_pairs_as_the_formula_says_with_the_same_bits_everywhere) {
  constexpr std::int32_t table_rows = 50;
  for (const shape s : {shape{0, 2, 8, 8},
                        shape{1, 1, 2, 2},
                        shape{3, 2, 64, 64},
                        shape{90, 4, 80, 32},
                        shape{5, 3, 36, 36}}) {
    const std::int32_t half = s.rotary_dim / 2;
    std::vector<float> cos, sin;
    for (std::int32_t i = 0; i < table_rows * half; ++i) {
      cos.push_back(static_cast<float>(std::cos(i * 0.37)));
      sin.push_back(static_cast<float>(std::sin(i * 0.37)));
    }
    random_source random(static_cast<std::uint32_t>(s.head_dim));
    const std::int32_t width = s.heads * s.head_dim;
    const auto x = random.normals(static_cast<std::size_t>(s.tokens * width));
    std::vector<std::int32_t> positions;
    for (std::int32_t t = 0; t < s.tokens; ++t) {
      positions.push_back(random.below(table_rows));
    }
    std::vector<float> first;
    for (const std::int32_t threads : {1, 3}) {
      for (const auto& device : all_backends(threads)) {
        guarded_rows y(s.tokens, width, width + 3);
        for (std::int32_t t = 0; t < s.tokens; ++t) {
          std::copy_n(x.begin() + t * width, width, y.data() + t * (width + 3));
        }
        device->rope({.x = y.data(),
                      .positions = positions.data(),
                      .cos_table = cos.data(),
                      .sin_table = sin.data(),
                      .tokens = s.tokens,
                      .heads = s.heads,
                      .head_dim = s.head_dim,
                      .rotary_dim = s.rotary_dim,
                      .x_stride = width + 3});
        BOOST_TEST(y.is_exactly_filled());
        first = first.empty() ? y.values() : first;
        BOOST_TEST(same_bits(y.values(), first), device->name());
      }
    }
    for (std::int32_t t = 0; t < s.tokens; ++t) {
      for (std::int32_t h = 0; h < s.heads; ++h) {
        const std::int32_t at = t * width + h * s.head_dim;
        const std::int32_t row = positions[static_cast<std::size_t>(t)] * half;
        const auto want = rotate_in_double(
            x.data() + at, cos.data() + row, sin.data() + row, s.head_dim, s.rotary_dim);
        for (std::int32_t d = 0; d < s.head_dim; ++d) {
          const double got = static_cast<double>(first[static_cast<std::size_t>(at + d)]);
          BOOST_TEST(is_near(got, want[static_cast<std::size_t>(d)], 1e-6));
        }
      }
    }
  }
}
