#include "model/weights/weight_plan.hpp"

#include "tests/model/weights/toy_models.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <set>

namespace {

using namespace vdist::weights;
using namespace vdist::weights::testing;
using vdist::kernels::dtype;

/// How often each element of each tensor is held, over all ranks.
using coverage = std::map<std::string, std::vector<int>>;

void count_slices(const weight_plan& plan, coverage& counts) {
  for (const weight& held : plan.weights) {
    for (const weight_slice& slice : held.slices) {
      // lm_head and embedding read different tensors here, so a name stands for one use.
      auto& count = counts[slice.tensor.names.front()];
      count.resize(static_cast<std::size_t>(slice.tensor.shape.elements()));
      for (std::int64_t row = slice.rows.first; row < slice.rows.end(); ++row) {
        for (std::int64_t column = slice.columns.first; column < slice.columns.end(); ++column) {
          ++count[static_cast<std::size_t>(row * slice.tensor.shape.width() + column)];
        }
      }
    }
  }
}

bool is_split(const std::string& name) {
  return !name.ends_with("norm.weight") && name.find("ln_") == std::string::npos
         && name.find("c_proj.bias") == std::string::npos && name.find("wpe") == std::string::npos;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_union_of_all_shards_is_every_tensor_the_same_number_of_times) {
  for (const std::int32_t size : {1, 2, 4, 8}) {
    coverage llama;
    coverage gpt2;
    for (std::int32_t rank = 0; rank < size; ++rank) {
      count_slices(llama_plan(toy_llama_sizes, dtype::bfloat16, rank, size), llama);
      count_slices(gpt2_plan(toy_gpt2_sizes, dtype::bfloat16, rank, size), gpt2);
    }
    BOOST_TEST(llama.size() == toy_llama(toy_llama_sizes).size());
    BOOST_TEST(gpt2.size() == toy_gpt2(toy_gpt2_sizes, "").size());
    for (const coverage* counts : {&llama, &gpt2}) {
      for (const auto& [name, count] : *counts) {
        const bool is_kv =
            name.find("k_proj") != std::string::npos || name.find("v_proj") != std::string::npos;
        const int copies = is_kv ? std::max(1, size / 2) : is_split(name) ? 1 : size;
        BOOST_TEST(std::set<int>(count.begin(), count.end()) == std::set<int>{copies},
                   boost::test_tools::per_element());
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(W_1_offsets_are_aligned_rising_and_never_overlap) {
  for (const dtype type : {dtype::float32, dtype::bfloat16}) {
    for (const std::int32_t size : {1, 8}) {
      const weight_plan plan = llama_plan(toy_llama_sizes, type, 0, size);
      std::size_t end = 0;
      for (const weight& held : plan.weights) {
        BOOST_TEST(held.offset % weight_alignment == 0U);
        BOOST_TEST(held.offset >= end);
        BOOST_TEST(held.offset - end < weight_alignment);
        BOOST_TEST((held.type == (held.role == weight_role::matrix ? type : dtype::float32)));
        end = held.offset + held.bytes();
      }
      BOOST_TEST(plan.bytes >= end);
      BOOST_TEST(plan.bytes % weight_alignment == 0U);
    }
  }
}

BOOST_AUTO_TEST_CASE(W_1_odd_sizes_are_rounded_up_to_the_alignment) {
  weight_plan_builder builder(dtype::bfloat16);
  builder.add("a", weight_role::matrix, {whole({.names = {"a"}, .shape = {3, 5}})}); // 30 bytes
  builder.add("b", weight_role::norm, {whole({.names = {"b"}, .shape = {17}})});     // 68 bytes
  builder.add("c", weight_role::bias, {whole({.names = {"c"}, .shape = {1}})});
  const weight_plan plan = std::move(builder).build();
  BOOST_TEST(plan.weights[0].offset == 0U);
  BOOST_TEST(plan.weights[1].offset == 64U);
  BOOST_TEST(plan.weights[2].offset == 192U);
  BOOST_TEST(plan.bytes == 256U);
}

BOOST_AUTO_TEST_CASE(a_table_smaller_than_its_ranks_gives_the_last_ones_padding_only) {
  weight_plan_builder builder(dtype::float32);
  const tensor_ref table{.names = {"t"}, .shape = {3, 5}};
  const toy_part part = part_of(3, 7, 8);
  builder.add("table", weight_role::matrix, {rows_of(table, part.rows)}, part.padding);
  const weight_plan plan = std::move(builder).build();
  const weight* held = plan.find("table");
  BOOST_REQUIRE(held != nullptr);
  BOOST_TEST((held->shape == tensor_shape{1, 5}));
  BOOST_TEST(held->padding_rows == 1);
  BOOST_TEST(held->slices.empty());
  BOOST_TEST(plan.find("other") == nullptr);
}

BOOST_AUTO_TEST_CASE(heads_are_split_evenly_or_shared_by_neighbours) {
  BOOST_TEST((head_range(8, 3, 4) == index_range{6, 2}));
  BOOST_TEST((head_range(2, 0, 8) == index_range{0, 1}));
  BOOST_TEST((head_range(2, 3, 8) == index_range{0, 1}));
  BOOST_TEST((head_range(2, 4, 8) == index_range{1, 1}));
  BOOST_TEST((head_range(1, 7, 8) == index_range{0, 1}));
  BOOST_TEST((even_range(96, 7, 8) == index_range{84, 12}));
  BOOST_TEST((index_range{2, 3}.times(8).shifted(100) == index_range{116, 24}));
}

BOOST_AUTO_TEST_CASE(slices_beside_each_other_make_a_wider_weight) {
  weight_plan_builder builder(dtype::float32);
  weight_slice left = whole({.names = {"l"}, .shape = {4, 3}});
  weight_slice right = columns_of({.names = {"r"}, .shape = {4, 9}}, {2, 5});
  right.destination_column = 3;
  builder.add("both", weight_role::matrix, {left, right});
  const weight_plan plan = std::move(builder).build();
  BOOST_TEST((plan.find("both")->shape == tensor_shape{4, 8}));
}
