// What the loader of devices writes, on a device whose memory the test can read: byte for byte what the host's loader writes.
#include "tests/model/exec/device_load_cases.hpp"

#include "model/weights/checkpoint.hpp"

#include "kernels/cpu/cpu_backend.hpp"

namespace vdist {

namespace {

using namespace testing;

std::unique_ptr<kernels::backend> make_device() {
  return kernels::make_cpu_backend({.max_positions = 16, .max_tokens = 1, .max_features = 16});
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_load)

// D-2: rows, columns, transposed tensors, fused weights, padded vocabularies, every rank's part.
BOOST_AUTO_TEST_CASE(writes_the_bytes_of_the_host_s_loader) {
  const auto device = make_device();
  for (const auto* model : load_models) {
    const auto files = weights::checkpoint::open(load_model_folder(model));
    BOOST_REQUIRE(files);
    for (const std::int32_t rank : {0, 1}) {
      BOOST_TEST_CONTEXT(model << " rank " << rank) {
        check_same_bytes(*device, load_plan_of(model, rank, kernels::dtype::bfloat16), *files);
      }
    }
  }
}

// D-1
BOOST_AUTO_TEST_CASE(generated_weights_have_the_bytes_of_read_ones) {
  check_generated(*make_device());
}

// D-1
BOOST_AUTO_TEST_CASE(of_what_the_device_generates_nothing_is_read) {
  const auto device = make_device();
  const auto plan = load_plan_of("llama3_gqa", 1, kernels::dtype::bfloat16);
  const load_region memory(*device, plan.bytes);
  const ruled_source all(3, [](const std::string&) { return true; });
  BOOST_REQUIRE(
      weights::load_weights_to_device(plan, all, memory.data(), *device, load_deadline, {}));
  BOOST_TEST(all.opened() == 0);
  const ruled_source none(3, [](const std::string&) { return false; });
  BOOST_REQUIRE(
      weights::load_weights_to_device(plan, none, memory.data(), *device, load_deadline, {}));
  BOOST_TEST(none.opened() > 0);
}

BOOST_AUTO_TEST_CASE(a_weight_larger_than_a_band_is_cut_into_whole_rows) {
  const auto device = make_device();
  const weights::tensor_ref large{.names = {"large"}, .shape = {3000, 4096}};
  const weights::tensor_ref small{.names = {"small"}, .shape = {7, 33}};
  weights::weight_plan_builder builder(kernels::dtype::float32);
  builder.add("large", weights::weight_role::matrix, {weights::whole(large)}, 5);
  builder.add("small", weights::weight_role::matrix, {weights::whole(small)});
  const auto plan = std::move(builder).build();
  BOOST_REQUIRE(plan.bytes > 5 * weights::device_band_bytes);
  check_same_bytes(*device, plan, ruled_source(11, [](const std::string&) { return false; }));
  check_same_bytes(*device, plan, weights::random_source(11));
}

BOOST_AUTO_TEST_CASE(an_error_of_the_source_is_the_error_of_the_load) {
  const auto device = make_device();
  const weights::tensor_ref missing{.names = {"nobody.has.it"}, .shape = {8, 8}};
  weights::weight_plan_builder builder(kernels::dtype::float32);
  builder.add("missing", weights::weight_role::matrix, {weights::whole(missing)});
  const auto plan = std::move(builder).build();
  const auto files = weights::checkpoint::open(load_model_folder("gpt2"));
  BOOST_REQUIRE(files);
  const load_region memory(*device, plan.bytes);
  const auto done =
      weights::load_weights_to_device(plan, *files, memory.data(), *device, load_deadline, {});
  BOOST_REQUIRE(!done);
  BOOST_TEST(done.error().context.find("nobody.has.it") != std::string::npos, done.error().context);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
