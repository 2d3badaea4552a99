// The loader of devices with a GPU: bands through staging memory and weights generated there have the bytes of the host.
#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/model/exec/device_load_cases.hpp"

#include "model/weights/checkpoint.hpp"

namespace {

using namespace vdist;
using namespace vdist::testing;
using kernels::testing::has_gpu;

} // namespace

// D-1
BOOST_AUTO_TEST_CASE(generated_weights_have_the_bytes_of_read_ones,
                     *boost::unit_test::precondition(has_gpu)) {
  check_generated(*kernels::testing::make_cuda_backend());
}

// D-2, D-3
BOOST_AUTO_TEST_CASE(files_arrive_as_the_host_reads_them,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = kernels::testing::make_cuda_backend();
  for (const auto* model : load_models) {
    const auto files = weights::checkpoint::open(load_model_folder(model));
    BOOST_REQUIRE(files);
    BOOST_TEST_CONTEXT(model) {
      check_same_bytes(*device, load_plan_of(model, 1, kernels::dtype::bfloat16), *files);
    }
  }
}

// A layer and the embedding of Llama 3.1 8B: the shapes that are measured, and large enough to be under way while the next
// weight is handed over.
BOOST_AUTO_TEST_CASE(weights_of_real_size_are_generated, *boost::unit_test::precondition(has_gpu)) {
  const auto device = kernels::testing::make_cuda_backend();
  const weights::tensor_ref table{.names = {"table"}, .shape = {128256, 4096}};
  const weights::tensor_ref down{.names = {"down"}, .shape = {4096, 14336}};
  const weights::tensor_ref turned{
      .names = {"turned"}, .shape = {4096, 14336}, .stored = weights::storage::transposed};
  weights::weight_plan_builder builder(kernels::dtype::bfloat16);
  builder.add("table", weights::weight_role::matrix, {weights::rows_of(table, {64128, 64128})}, 64);
  builder.add("down", weights::weight_role::matrix, {weights::columns_of(down, {3584, 3584})});
  builder.add("turned", weights::weight_role::matrix, {weights::columns_of(turned, {3584, 3584})});
  check_same_bytes(*device, std::move(builder).build(), weights::random_source(1));
}
