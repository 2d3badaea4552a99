// What the loader of devices writes, on a device whose memory the test can read: byte for byte what the host's loader writes.
#include "model/weights/device_load.hpp"

#include "model/arch/registry.hpp"
#include "model/weights/checkpoint.hpp"
#include "model/weights/random_source.hpp"

#include "kernels/cpu/host_queue.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace vdist {

namespace {

constexpr std::chrono::seconds deadline{30};

std::filesystem::path model_folder(const std::string& model) {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / model;
}

/// Poisoned, so that a byte that nobody writes shows.
class region {
public:
  explicit region(std::size_t bytes) : bytes_(bytes), memory_(queue_.allocate(bytes)) {
    std::memset(memory_, 0xa5, bytes_);
  }

  ~region() { queue_.release(memory_); }

  region(const region&) = delete;
  region& operator=(const region&) = delete;

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }

  [[nodiscard]] std::vector<std::byte> content() const { return {data(), data() + bytes_}; }

private:
  kernels::host_queue queue_;
  std::size_t bytes_;
  void* memory_;
};

void check_same_bytes(const weights::weight_plan& plan, const weights::weight_source& source) {
  const region by_host(plan.bytes);
  BOOST_REQUIRE(weights::load_weights(plan, source, {by_host.data(), plan.bytes}));
  for (const std::int32_t threads : {1, 3}) {
    kernels::host_queue queue;
    const region by_device(plan.bytes);
    std::size_t last = 0;
    const weights::load_options options{.threads = threads,
                                        .progress = [&last](std::size_t done, std::size_t) {
                                          last = done;
                                        }};
    BOOST_REQUIRE(
        weights::load_weights_to_device(plan, source, by_device.data(), queue, deadline, options));
    BOOST_TEST((by_device.content() == by_host.content()));
    BOOST_TEST(last == plan.bytes);
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_load)

// D-1: rows, columns, transposed tensors, fused weights, padded vocabularies, every rank's part.
BOOST_AUTO_TEST_CASE(writes_the_bytes_of_the_host_s_loader) {
  for (const auto* model : {"gpt2", "llama3_gqa", "opt_post_norm", "phi3_short", "qwen2_tied"}) {
    const auto config =
        weights::read_model_config(model_folder(model), arch::supported_architectures());
    BOOST_REQUIRE(config);
    const auto files = weights::checkpoint::open(model_folder(model));
    BOOST_REQUIRE(files);
    for (const std::int32_t rank : {0, 1}) {
      const topology::shard place{
          .tensor_rank = rank, .tensor_size = 2, .layers = {0, config->layers}};
      const auto network = arch::build(*config, place, kernels::dtype::bfloat16);
      BOOST_REQUIRE(network);
      BOOST_TEST_CONTEXT(model << " rank " << rank) {
        check_same_bytes(network->plan, *files);
        check_same_bytes(network->plan, weights::random_source(7));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_weight_larger_than_a_band_is_cut_into_whole_rows) {
  const weights::tensor_ref large{.names = {"large"}, .shape = {3000, 4096}};
  const weights::tensor_ref small{.names = {"small"}, .shape = {7, 33}};
  weights::weight_plan_builder builder(kernels::dtype::float32);
  builder.add("large", weights::weight_role::matrix, {weights::whole(large)}, 5);
  builder.add("small", weights::weight_role::matrix, {weights::whole(small)});
  const auto plan = std::move(builder).build();
  BOOST_REQUIRE(plan.bytes > 5 * weights::device_band_bytes);
  check_same_bytes(plan, weights::random_source(11));
}

BOOST_AUTO_TEST_CASE(an_error_of_the_source_is_the_error_of_the_load) {
  const weights::tensor_ref missing{.names = {"nobody.has.it"}, .shape = {8, 8}};
  weights::weight_plan_builder builder(kernels::dtype::float32);
  builder.add("missing", weights::weight_role::matrix, {weights::whole(missing)});
  const auto plan = std::move(builder).build();
  const auto files = weights::checkpoint::open(model_folder("gpt2"));
  BOOST_REQUIRE(files);
  kernels::host_queue queue;
  const region memory(plan.bytes);
  const auto done =
      weights::load_weights_to_device(plan, *files, memory.data(), queue, deadline, {});
  BOOST_REQUIRE(!done);
  BOOST_TEST(done.error().context.find("nobody.has.it") != std::string::npos, done.error().context);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
