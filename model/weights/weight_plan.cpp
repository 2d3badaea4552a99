#include "model/weights/weight_plan.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <utility>

namespace vdist::weights {

namespace {

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + weight_alignment - 1) / weight_alignment * weight_alignment;
}

bool is_inside(index_range range, std::int64_t size) {
  return range.first >= 0 && range.count >= 0 && range.end() <= size;
}

bool overlap(std::int64_t first_a,
             std::int64_t count_a,
             std::int64_t first_b,
             std::int64_t count_b) {
  return first_a < first_b + count_b && first_b < first_a + count_a;
}

bool overlap(const weight_slice& a, const weight_slice& b) {
  return overlap(a.destination_row, a.rows.count, b.destination_row, b.rows.count)
         && overlap(a.destination_column, a.columns.count, b.destination_column, b.columns.count);
}

/// W-2: with no overlap and everything inside, equal areas mean that all rows but the padding are
/// covered.
void check_cover(const weight& weight) {
  const std::int64_t covered_rows = weight.shape.rows - weight.padding_rows;
  std::int64_t area = 0;
  for (std::size_t i = 0; i < weight.slices.size(); ++i) {
    const weight_slice& slice = weight.slices[i];
    VDIST_CHECK(
        is_inside({slice.destination_row, slice.rows.count}, covered_rows)
            && is_inside({slice.destination_column, slice.columns.count}, weight.shape.width()),
        "W-2: a slice must lie inside its weight");
    for (std::size_t other = 0; other < i; ++other) {
      VDIST_CHECK(!overlap(slice, weight.slices[other]), "W-2: slices must not overlap");
    }
    area += slice.rows.count * slice.columns.count;
  }
  VDIST_CHECK(area == covered_rows * weight.shape.width(), "W-2: slices must cover their weight");
}

} // namespace

index_range even_range(std::int64_t total, std::int32_t rank, std::int32_t size) {
  VDIST_CHECK(size > 0 && rank >= 0 && rank < size && total % size == 0,
              "even_range: the size must divide the total");
  const std::int64_t share = total / size;
  return {rank * share, share};
}

index_range head_range(std::int64_t heads, std::int32_t rank, std::int32_t size) {
  VDIST_CHECK(heads > 0 && size > 0 && rank >= 0 && rank < size,
              "head_range: the rank must be in its group");
  if (heads >= size) {
    return even_range(heads, rank, size);
  }
  VDIST_CHECK(size % heads == 0, "head_range: the heads must divide the size");
  return {rank / (size / heads), 1};
}

weight_slice whole(tensor_ref tensor) {
  const index_range rows{0, tensor.shape.rows};
  return rows_of(std::move(tensor), rows);
}

weight_slice rows_of(tensor_ref tensor, index_range rows) {
  const index_range columns{0, tensor.shape.width()};
  return {.tensor = std::move(tensor), .rows = rows, .columns = columns};
}

weight_slice columns_of(tensor_ref tensor, index_range columns) {
  const index_range rows{0, tensor.shape.rows};
  return {.tensor = std::move(tensor), .rows = rows, .columns = columns};
}

std::vector<weight_slice> stack_rows(std::vector<weight_slice> slices) {
  std::int64_t row = 0;
  for (weight_slice& slice : slices) {
    slice.destination_row = row;
    row += slice.rows.count;
  }
  return slices;
}

const weight* weight_plan::find(std::string_view name) const {
  const auto found = std::find_if(
      weights.begin(), weights.end(), [name](const weight& held) { return held.name == name; });
  return found == weights.end() ? nullptr : &*found;
}

std::size_t weight_plan_builder::add(std::string name,
                                     weight_role role,
                                     std::vector<weight_slice> slices,
                                     std::int64_t padding_rows) {
  VDIST_CHECK(!slices.empty() && padding_rows >= 0, "weight_plan: a weight needs a slice");
  weight added{.name = std::move(name), .role = role};
  added.type = role == weight_role::matrix ? matrix_type_ : kernels::dtype::float32;
  added.padding_rows = padding_rows;
  bool is_vector = true;
  for (const weight_slice& slice : slices) {
    VDIST_CHECK(!slice.tensor.names.empty(), "W-3: a tensor needs a name");
    VDIST_CHECK(is_inside(slice.rows, slice.tensor.shape.rows)
                    && is_inside(slice.columns, slice.tensor.shape.width()),
                "W-3: a slice must lie inside its tensor");
    is_vector = is_vector && slice.tensor.shape.is_vector();
    added.shape.rows = std::max(added.shape.rows, slice.destination_row + slice.rows.count);
    added.shape.columns =
        std::max(added.shape.columns, slice.destination_column + slice.columns.count);
  }
  added.shape.rows += padding_rows;
  added.shape.columns = is_vector ? 0 : added.shape.columns;
  std::erase_if(slices, [](const weight_slice& slice) { return slice.rows.count == 0; });
  added.slices = std::move(slices);
  check_cover(added);

  added.offset = plan_.bytes;
  plan_.bytes = aligned(added.offset + added.bytes());
  const std::size_t index = plan_.weights.size();
  VDIST_CHECK(index_by_name_.emplace(added.name, index).second,
              "weight_plan: names must be unique");
  plan_.weights.push_back(std::move(added));
  return index;
}

weight_plan weight_plan_builder::build() && {
  return std::move(plan_);
}

} // namespace vdist::weights
