#include "tests/kernels/kernel_fixture.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

} // namespace

BOOST_AUTO_TEST_CASE(tokens_of_this_shard_are_looked_up_and_all_others_are_zero) {
  constexpr std::int32_t rows = 30;
  constexpr std::int32_t first_row = 100;
  const std::vector<std::int32_t> ids = {100, 129, 99, 130, 0, 115, 2147483647, -1};
  const auto tokens = static_cast<std::int32_t>(ids.size());
  for (const dtype type : all_dtypes) {
    for (const std::int32_t width : {1, 16, 43}) {
      const stored_tensor table(type,
                                random_source(3).normals(static_cast<std::size_t>(rows * width)));
      for (const auto& device : all_backends(2)) {
        guarded_rows y(tokens, width, width + 1);
        device->embedding({.ids = ids.data(),
                           .table = table.data(),
                           .y = y.data(),
                           .type = type,
                           .tokens = tokens,
                           .first_row = first_row,
                           .rows = rows,
                           .width = width,
                           .y_stride = width + 1});
        BOOST_TEST(y.is_exactly_filled());
        std::vector<float> want;
        for (const std::int32_t id : ids) {
          const bool is_here = id >= first_row && id < first_row + rows;
          for (std::int32_t i = 0; i < width; ++i) {
            want.push_back(
                is_here ? table.values[static_cast<std::size_t>((id - first_row) * width + i)]
                        : 0.0F);
          }
        }
        BOOST_TEST(same_bits(y.values(), want));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(learned_positions_are_added_with_their_offset) {
  const std::vector<std::int32_t> positions = {0, 7, 3};
  for (const dtype type : all_dtypes) {
    for (const std::int32_t width : {5, 32, 100}) {
      const stored_tensor table(type,
                                random_source(4).normals(static_cast<std::size_t>(10 * width)));
      for (const auto& device : all_backends()) {
        guarded_rows y(3, width, width + 2);
        std::vector<float> want;
        for (std::int32_t t = 0; t < 3; ++t) {
          for (std::int32_t i = 0; i < width; ++i) {
            y.data()[t * (width + 2) + i] = static_cast<float>(i);
            const std::int32_t row = positions[static_cast<std::size_t>(t)] + 2;
            want.push_back(static_cast<float>(i)
                           + table.values[static_cast<std::size_t>(row * width + i)]);
          }
        }
        device->position_embedding({.positions = positions.data(),
                                    .table = table.data(),
                                    .y = y.data(),
                                    .type = type,
                                    .tokens = 3,
                                    .offset = 2,
                                    .width = width,
                                    .y_stride = width + 2});
        BOOST_TEST(y.is_exactly_filled());
        BOOST_TEST(same_bits(y.values(), want));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_are_gathered_in_the_order_of_the_indices) {
  const std::vector<std::int32_t> indices = {4, 0, 4, 2};
  constexpr std::int32_t width = 19;
  constexpr std::int64_t stride = 23;
  const auto x = random_source(8).normals(5 * stride);
  for (const auto& device : all_backends(2)) {
    guarded_rows y(4, width, width);
    device->gather_rows({.x = x.data(),
                         .indices = indices.data(),
                         .y = y.data(),
                         .rows = 4,
                         .width = width,
                         .x_stride = stride});
    std::vector<float> want;
    for (const std::int32_t index : indices) {
      want.insert(want.end(), x.begin() + index * stride, x.begin() + index * stride + width);
    }
    BOOST_TEST(y.is_exactly_filled());
    BOOST_TEST(same_bits(y.values(), want));
  }
}
