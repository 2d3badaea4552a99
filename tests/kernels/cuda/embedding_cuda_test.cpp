#include "tests/kernels/cuda/cuda_fixture.hpp"

#include <array>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr std::int32_t table_rows = 50;

/// What one call should leave in a row of y.
float element(const std::vector<float>& table,
              std::int64_t stride,
              std::int64_t row,
              std::int32_t column) {
  return table[static_cast<std::size_t>(row * stride + column)];
}

} // namespace

BOOST_AUTO_TEST_CASE(embeddings_of_other_shards_and_of_negative_ids_are_zeros,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  constexpr std::int32_t first_row = 100;
  for (const dtype type : all_dtypes) {
    for (const dtype y_type : all_dtypes) {
      for (const std::int32_t width : {1, 9, 64, 1030, 4096}) {
        for (const std::int32_t tokens : {0, 1, 7, 66}) {
          random_source random(static_cast<std::uint32_t>(width + tokens));
          const device_elements table(
              *device, type, random.normals(static_cast<std::size_t>(table_rows * width)));
          std::vector<std::int32_t> ids;
          for (std::int32_t t = 0; t < tokens; ++t) {
            constexpr std::array special = {
                first_row - 1, first_row, first_row + table_rows - 1, first_row + table_rows, -1};
            ids.push_back(t < 5 ? special[static_cast<std::size_t>(t)]
                                : first_row - 10 + random.below(table_rows + 20));
          }
          const device_array<std::int32_t> on_device(*device, ids);
          const device_rows y(*device, y_type, tokens, width, width + 8);
          device->embedding({.ids = on_device.data(),
                             .table = table.raw(),
                             .y = y.at(),
                             .type = type,
                             .tokens = tokens,
                             .first_row = first_row,
                             .rows = table_rows,
                             .width = width,
                             .y_stride = width + 8});
          finish(*device);
          std::vector<float> want;
          for (const auto id : ids) {
            const bool is_here = id >= first_row && id < first_row + table_rows;
            for (std::int32_t i = 0; i < width; ++i) {
              want.push_back(
                  is_here ? rounded_to(y_type, element(table.values(), width, id - first_row, i))
                          : 0.0F);
            }
          }
          BOOST_TEST(same_bits(y.read(), want));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(positions_are_added_and_padding_adds_nothing,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : all_dtypes) {
    for (const dtype y_type : all_dtypes) {
      for (const std::int32_t width : {3, 64, 2050}) {
        random_source random(static_cast<std::uint32_t>(width));
        const std::vector<std::int32_t> positions = {0, -1, 47, 5, -1, 5};
        const auto tokens = static_cast<std::int32_t>(positions.size());
        const device_array<std::int32_t> on_device(*device, positions);
        const device_elements table(
            *device, type, random.normals(static_cast<std::size_t>(table_rows * width)));
        const device_elements y(
            *device, y_type, random.normals(static_cast<std::size_t>(tokens * width)));
        device->position_embedding({.positions = on_device.data(),
                                    .table = table.raw(),
                                    .y = y.at(),
                                    .type = type,
                                    .tokens = tokens,
                                    .offset = 2,
                                    .width = width,
                                    .y_stride = width});
        finish(*device);
        std::vector<float> want;
        for (std::size_t t = 0; t < positions.size(); ++t) {
          for (std::int32_t i = 0; i < width; ++i) {
            const float before = element(y.values(), width, static_cast<std::int64_t>(t), i);
            want.push_back(
                positions[t] < 0
                    ? before
                    : rounded_to(y_type,
                                 before + element(table.values(), width, positions[t] + 2, i)));
          }
        }
        BOOST_TEST(same_bits(y.read(), want));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_are_gathered_converted_and_negative_indices_give_zeros,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype x_type : all_dtypes) {
    for (const dtype y_type : all_dtypes) {
      for (const std::int32_t width : {1, 40, 1001, 4096}) {
        for (const std::int64_t gap : {0, 3}) {
          random_source random(static_cast<std::uint32_t>(width));
          const std::int64_t stride = width + gap;
          const device_elements x(
              *device, x_type, random.normals(static_cast<std::size_t>(20 * stride)));
          const std::vector<std::int32_t> indices = {19, 0, -1, 7, 7};
          const device_array<std::int32_t> on_device(*device, indices);
          const device_rows y(*device, y_type, 5, width, width);
          device->gather_rows({.x = x.at(),
                               .indices = on_device.data(),
                               .y = y.at(),
                               .rows = 5,
                               .width = width,
                               .x_stride = stride});
          finish(*device);
          std::vector<float> want;
          for (const auto index : indices) {
            for (std::int32_t i = 0; i < width; ++i) {
              want.push_back(index < 0 ? 0.0F
                                       : rounded_to(y_type, element(x.values(), stride, index, i)));
            }
          }
          BOOST_TEST(same_bits(y.read(), want));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_without_indices_are_converted_in_place_of_each_other,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype y_type : all_dtypes) {
    constexpr std::int32_t rows = 37;
    constexpr std::int32_t width = 83;
    const device_elements x(*device, dtype::float32, random_source(5).normals(rows * width));
    const device_rows y(*device, y_type, rows, width, width);
    device->gather_rows({.x = x.at(),
                         .indices = nullptr,
                         .y = y.at(),
                         .rows = rows,
                         .width = width,
                         .x_stride = width});
    finish(*device);
    auto expected = x.values();
    for (float& value : expected) {
      value = rounded_to(y_type, value);
    }
    BOOST_TEST(same_bits(y.read(), expected), to_string(y_type));
  }
}

BOOST_AUTO_TEST_CASE(fed_tokens_replace_negative_ids_only,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const std::int32_t tokens : {0, 1, 255, 257, 1000}) {
    random_source random(static_cast<std::uint32_t>(tokens));
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> slots;
    std::vector<std::int32_t> fed;
    for (std::int32_t i = 0; i < 64; ++i) {
      fed.push_back(random.below(128000));
    }
    std::vector<std::int32_t> want;
    for (std::int32_t t = 0; t < tokens; ++t) {
      ids.push_back(random.below(2) == 0 ? -1 : random.below(128000));
      slots.push_back(t % 9 == 8 ? -1 : random.below(64));
      const bool is_fed = ids.back() < 0 && slots.back() >= 0;
      want.push_back(is_fed ? fed[static_cast<std::size_t>(slots.back())] : ids.back());
    }
    const device_array<std::int32_t> ids_there(*device, ids);
    const device_array<std::int32_t> slots_there(*device, slots);
    const device_array<std::int32_t> fed_there(*device, fed);
    device->take_fed_tokens({.ids = ids_there.data(),
                             .slots = slots_there.data(),
                             .fed = fed_there.data(),
                             .tokens = tokens});
    finish(*device);
    BOOST_TEST(ids_there.read() == want, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(block_updates_change_their_cells_only,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  constexpr std::int32_t table_stride = 37;
  for (const std::int32_t count : {0, 1, 300}) {
    std::vector<std::int32_t> tables(20 * table_stride, -5);
    std::vector<std::int32_t> rows;
    std::vector<std::int32_t> columns;
    std::vector<std::int32_t> blocks;
    auto want = tables;
    for (std::int32_t i = 0; i < count; ++i) { // every second cell, once
      rows.push_back(2 * i / table_stride);
      columns.push_back(2 * i % table_stride);
      blocks.push_back(1000 + i);
      want[static_cast<std::size_t>(2 * i)] = 1000 + i;
    }
    const device_array<std::int32_t> rows_there(*device, rows);
    const device_array<std::int32_t> columns_there(*device, columns);
    const device_array<std::int32_t> blocks_there(*device, blocks);
    const device_array<std::int32_t> tables_there(*device, tables);
    device->update_blocks({.rows = rows_there.data(),
                           .columns = columns_there.data(),
                           .blocks = blocks_there.data(),
                           .tables = tables_there.data(),
                           .stride = table_stride,
                           .count = count});
    finish(*device);
    BOOST_TEST(tables_there.read() == want, boost::test_tools::per_element());
  }
}
