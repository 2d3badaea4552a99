// The part of a rank that copies a layer's output for its tap, on a queue that works behind the caller's back as a device does.
#include "model/exec/layer_tap.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::exec;

namespace {

constexpr std::int32_t width = 3;

/// Copies when somebody waits.
class late_queue final : public kernels::device_queue {
public:
  std::size_t staging_max = std::size_t{1} << 20U; // bytes
  int allocations = 0;

  void* allocate(std::size_t bytes) noexcept override { return std::malloc(bytes); }

  void release(void* memory) noexcept override { std::free(memory); }

  void* allocate_staging(std::size_t bytes) noexcept override {
    ++allocations;
    return bytes > staging_max ? nullptr : std::malloc(bytes);
  }

  void release_staging(void* memory) noexcept override { std::free(memory); }

  void copy_in(void* to, const void* from, std::size_t bytes) noexcept override {
    std::memcpy(to, from, bytes);
  }

  void copy_out(void* to, const void* from, std::size_t bytes) noexcept override {
    work_.emplace_back([=] { std::memcpy(to, from, bytes); });
  }

  void fill_zero(void* memory, std::size_t bytes) noexcept override {
    std::memset(memory, 0, bytes);
  }

  kernels::queue_mark mark() noexcept override { return ++marks_; }

  bool wait(kernels::queue_mark, std::chrono::nanoseconds) noexcept override {
    for (const auto& each : work_) {
      each();
    }
    work_.clear();
    return true;
  }

  void run(std::uint64_t, const std::function<void()>& work) override { work(); }

  [[nodiscard]] const std::string& failure() const noexcept override { return none_; }

  [[nodiscard]] bool is_host_memory() const noexcept override { return false; }

private:
  std::vector<std::function<void()>> work_;
  kernels::queue_mark marks_ = 0;
  std::string none_;
};

class kept_step final : public layer_tap {
public:
  std::optional<tap_order> order;
  tapped_step last;
  std::vector<float> values;

  std::optional<tap_order> wanted() noexcept override { return order; }

  void take(const tapped_step& step) noexcept override {
    last = step;
    values.assign(step.values, step.values + step.rows * step.width);
  }
};

/// The second of three stages, layers 4 to 7; or another one.
struct tap_fixture {
  [[nodiscard]] layer_copy copy_of(std::int32_t stage = 1) {
    const topology::shard place{.stage = stage, .stages = 3, .layers = {stage * 4, stage * 4 + 4}};
    return {&tap, place, width, queue};
  }

  void pass(layer_copy& copy, std::int32_t tokens) {
    copy.copy(stream.data(), tokens);
    static_cast<void>(queue.wait(copy.mark(), {}));
    copy.hand_over({.step = 9, .tokens = tokens});
  }

  late_queue queue;
  kept_step tap;
  std::vector<float> stream{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(copy_of_a_layer, tap_fixture)

BOOST_AUTO_TEST_CASE(is_made_behind_the_layer_that_was_asked_for) {
  auto copy = copy_of();
  copy.begin_step();
  BOOST_TEST(!copy.is_on(), "nothing is wanted");
  for (const std::int32_t layer : {4, 5, 7}) {
    tap.order = tap_order{.layer = layer, .rows_max = 8};
    copy.begin_step();
    BOOST_REQUIRE(copy.is_on());
    BOOST_TEST(copy.layers_before() == static_cast<std::size_t>(layer - 3));
  }
  for (const std::int32_t layer : {embedding_output, 3, 8}) {
    tap.order = tap_order{.layer = layer, .rows_max = 8};
    copy.begin_step();
    BOOST_TEST(!copy.is_on(), "of another stage");
  }
  auto first = copy_of(0);
  tap.order = tap_order{.layer = embedding_output, .rows_max = 8};
  first.begin_step();
  BOOST_REQUIRE(first.is_on());
  BOOST_TEST(first.layers_before() == 0U);
}

BOOST_AUTO_TEST_CASE(hands_over_what_the_device_copied_and_counts_the_rest) { // T-3
  auto copy = copy_of();
  tap.order = tap_order{.layer = 6, .rows_max = 3};
  copy.begin_step();
  pass(copy, 4);
  BOOST_TEST(tap.last.step == 9U);
  BOOST_TEST(tap.last.layer == 6);
  BOOST_TEST(tap.last.tokens == 4);
  BOOST_TEST(tap.last.rows == 3);
  BOOST_TEST(tap.values == (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}),
             boost::test_tools::per_element());
  copy.begin_step();
  pass(copy, 1);
  BOOST_TEST(tap.last.rows == 1);
  BOOST_TEST(queue.allocations == 1, "once for all steps");
  tap.order->rows_max = 4;
  copy.begin_step();
  pass(copy, 4);
  BOOST_TEST(tap.last.rows == 4);
  BOOST_TEST(queue.allocations == 2);
}

BOOST_AUTO_TEST_CASE(has_no_rows_where_there_is_no_memory_and_fails_nothing) { // T-1
  auto copy = copy_of();
  queue.staging_max = 16;
  tap.order = tap_order{.layer = 6, .rows_max = 4};
  copy.begin_step();
  pass(copy, 2);
  BOOST_TEST(tap.last.tokens == 2);
  BOOST_TEST(tap.last.rows == 0);
  queue.staging_max = 4096;
  copy.begin_step();
  pass(copy, 2);
  BOOST_TEST(tap.last.rows == 2);
}

BOOST_AUTO_TEST_SUITE_END()
