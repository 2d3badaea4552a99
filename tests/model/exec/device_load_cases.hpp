// tests/model/exec/device_load_cases.hpp — what the tests of the loader of devices share: plans of real architectures, and
// sources that decide which tensors the device may generate.
#pragma once

#include "model/arch/registry.hpp"
#include "model/weights/device_load.hpp"
#include "model/weights/random_source.hpp"

#include "kernels/backend.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vdist::testing {

inline constexpr std::chrono::seconds load_deadline{30};

/// Rows, columns, transposed tensors, fused weights, padded vocabularies, post-norms.
inline constexpr const char* load_models[] = {
    "gpt2", "llama3_gqa", "opt_post_norm", "phi3_short", "qwen2_tied"};

inline std::filesystem::path load_model_folder(const std::string& model) {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / model;
}

/// A rank's part of two.
inline weights::weight_plan
load_plan_of(const std::string& model, std::int32_t rank, kernels::dtype type) {
  const auto config =
      weights::read_model_config(load_model_folder(model), arch::supported_architectures());
  BOOST_REQUIRE(config);
  const auto network = arch::build(
      *config, {.tensor_rank = rank, .tensor_size = 2, .layers = {0, config->layers}}, type);
  BOOST_REQUIRE(network);
  return network->plan;
}

/// The elements of a random source, with a rule for those tensors only that `has_rule` names. Counts the tensors that
/// were opened.
class ruled_source final : public weights::weight_source {
public:
  ruled_source(std::uint64_t seed, std::function<bool(const std::string&)> has_rule)
      : elements_(seed), has_rule_(std::move(has_rule)) {}

  [[nodiscard]] result<std::unique_ptr<weights::tensor_reader>>
  open(const weights::tensor_ref& tensor, weights::weight_role role) const override {
    ++opened_;
    return elements_.open(tensor, role);
  }

  [[nodiscard]] std::optional<kernels::random_fill_rule>
  rule(const weights::tensor_ref& tensor, weights::weight_role role) const override {
    return has_rule_(tensor.names.front()) ? elements_.rule(tensor, role) : std::nullopt;
  }

  [[nodiscard]] int opened() const { return opened_; }

private:
  weights::random_source elements_;
  std::function<bool(const std::string&)> has_rule_;
  mutable std::atomic<int> opened_{0};
};

/// Memory of a backend's device, poisoned, so that a byte that nobody writes shows. Freed with the object; the backend
/// outlives it.
class load_region {
public:
  load_region(kernels::backend& device, std::size_t bytes)
      : queue_(device.queue()), bytes_(bytes), memory_(queue_.allocate(bytes)) {
    BOOST_REQUIRE(memory_ != nullptr);
    const std::vector<std::byte> poison(bytes, std::byte{0xa5});
    queue_.copy_in(memory_, poison.data(), bytes);
  }

  ~load_region() { queue_.release(memory_); }

  load_region(const load_region&) = delete;
  load_region& operator=(const load_region&) = delete;

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }

  [[nodiscard]] std::vector<std::byte> content() const {
    std::vector<std::byte> copy(bytes_);
    queue_.copy_out(copy.data(), memory_, bytes_);
    BOOST_REQUIRE_MESSAGE(queue_.wait(queue_.mark(), load_deadline), queue_.failure());
    return copy;
  }

private:
  kernels::device_queue& queue_;
  std::size_t bytes_;
  void* memory_;
};

/// Loads to the backend's device, with one thread and with several: the bytes of the host's loader, and progress that
/// rises to the end.
inline void check_same_bytes(kernels::backend& device,
                             const weights::weight_plan& plan,
                             const weights::weight_source& source) {
  std::vector<std::byte> room(plan.bytes + weights::weight_alignment, std::byte{0xa5});
  void* aligned = room.data();
  std::size_t space = room.size();
  auto* by_host =
      static_cast<std::byte*>(std::align(weights::weight_alignment, plan.bytes, aligned, space));
  BOOST_REQUIRE(weights::load_weights(plan, source, {by_host, plan.bytes}));
  for (const std::int32_t threads : {1, 3}) {
    const load_region by_device(device, plan.bytes);
    std::size_t last = 0;
    bool is_rising = true;
    const weights::load_options options{
        .threads = threads, .progress = [&last, &is_rising](std::size_t done, std::size_t) {
          is_rising = is_rising && done >= last;
          last = done;
        }};
    const auto done = weights::load_weights_to_device(
        plan, source, by_device.data(), device, load_deadline, options);
    BOOST_REQUIRE_MESSAGE(done, (done ? std::string() : done.error().context));
    const auto content = by_device.content();
    BOOST_TEST((std::memcmp(content.data(), by_host, plan.bytes) == 0));
    BOOST_TEST(last == plan.bytes);
    BOOST_TEST(is_rising);
  }
}

/// D-1 on a backend: all, none and some of the tensors generated where they are needed.
inline void check_generated(kernels::backend& device) {
  for (const auto* model : load_models) {
    for (const std::int32_t rank : {0, 1}) {
      for (const auto type :
           {kernels::dtype::float32, kernels::dtype::bfloat16, kernels::dtype::float16}) {
        const auto plan = load_plan_of(model, rank, type);
        BOOST_TEST_CONTEXT(model << " rank " << rank << " " << kernels::to_string(type)) {
          check_same_bytes(device, plan, weights::random_source(7));
          check_same_bytes(device, plan, ruled_source(7, [](const std::string&) { return false; }));
          check_same_bytes(device, plan, ruled_source(7, [](const std::string& name) {
                             return name.size() % 2 == 0; // of a fused weight's tensors some
                           }));
        }
      }
    }
  }
}

} // namespace vdist::testing
