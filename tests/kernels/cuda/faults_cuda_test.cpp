// What a GPU does when a kernel of ours breaks or never ends, and that the device is there again for the next process. Each
// fault has a process of its own: it ends the use of the device by that process.
#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

#include "kernels/device_fault.hpp"

#include <iostream>
#include <unistd.h>

namespace vdist::kernels {

namespace {

using namespace testing;
using namespace std::chrono_literals;

constexpr int exit_as_expected = 76;

/// Of 80 layers, with everything that cuBLAS adds: more than a queue takes that nobody has deepened.
constexpr int launches_of_two_prefills = 3'000;

/// Names of the child's cases; they run only when asked for by a parent.
constexpr const char* wanted_fault = "VDIST_TEST_FAULT";

/// Runs one fault in a process of its own.
vdist::testing::process_result run_fault(const char* name) {
  const vdist::testing::temporary_folder folder;
  (void)setenv(wanted_fault, name, 1);
  vdist::testing::process child({std::filesystem::read_symlink("/proc/self/exe").string(),
                                 "--run_test=faults_of_devices/in_a_process_of_its_own"},
                                folder.path(),
                                std::filesystem::current_path().string());
  (void)unsetenv(wanted_fault);
  return child.wait();
}

/// Without any clean-up, which would wait for the device.
[[noreturn]] void end(const std::string& text) {
  std::cerr << text << "\n" << std::flush;
  ::_exit(exit_as_expected);
}

double ms_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun)
      .count();
}

} // namespace

BOOST_AUTO_TEST_SUITE(faults_of_devices)

BOOST_AUTO_TEST_CASE(in_a_process_of_its_own) {
  const char* const name = std::getenv(wanted_fault);
  if (name == nullptr) {
    return;
  }
  deepen_launch_queues();
  const auto device = make_cuda_backend();
  auto& queue = device->queue();
  BOOST_REQUIRE(queue.wait(queue.mark(), 5s));
  const std::string wanted = name;
  const auto begun = std::chrono::steady_clock::now();
  if (wanted == "illegal_address") {
    BOOST_REQUIRE(device->inject(injected_fault::illegal_address));
    BOOST_REQUIRE(!queue.wait(queue.mark(), 5s));
    BOOST_TEST(queue.failure_code() == 700);
    BOOST_TEST((class_of_cuda_error(queue.failure_code()) == fault_class::worker));
    end("failed after " + std::to_string(ms_since(begun)) + " ms: " + queue.failure());
  }
  BOOST_REQUIRE(device->inject(wanted == "stuck_device" ? injected_fault::stuck_device
                               : wanted == "stuck_copy" ? injected_fault::stuck_copy
                                                        : injected_fault::stuck_kernel));
  if (wanted == "stuck_kernel, much behind it") {
    float* const word = static_cast<float*>(queue.allocate(sizeof(float)));
    for (int i = 0; i < launches_of_two_prefills; ++i) {
      queue.fill_zero(word, sizeof(float));
    }
  }
  BOOST_REQUIRE(!queue.wait(queue.mark(), 500ms));
  BOOST_TEST(queue.failure() == "", "it says nothing");
  end("silent for " + std::to_string(ms_since(begun)) + " ms");
}

BOOST_AUTO_TEST_CASE(end_the_process_and_leave_the_device_to_others,
                     *boost::unit_test::precondition(has_gpu)) {
  for (const char* name : {"illegal_address",
                           "stuck_kernel",
                           "stuck_kernel, much behind it",
                           "stuck_device",
                           "stuck_copy"}) {
    const auto ended = run_fault(name);
    std::cout << name << ": " << ended.err << std::flush;
    BOOST_TEST(ended.exit_code == exit_as_expected, name << ": " << ended.out << ended.err);
    const auto device = make_cuda_backend();
    const device_array<float> data(*device, {1, 2, 3});
    device->flip_bit(data.data());
    finish(*device);
    BOOST_TEST(data.read()[0] == 1.5F, "a bit of the fraction");
    BOOST_TEST(data.read()[1] == 2.0F);
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist::kernels
