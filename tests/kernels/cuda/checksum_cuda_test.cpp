#include "tests/kernels/checksum/checksum_cases.hpp"
#include "tests/kernels/cuda/cuda_fixture.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

std::uint64_t sum_on(backend& device, const void* data, std::size_t bytes) {
  const device_array<std::uint64_t> sum(device, {0xdeadU});
  device.checksum({.data = data, .bytes = bytes, .sum = sum.data()});
  finish(device);
  return sum.read().front();
}

} // namespace

// H-1
BOOST_AUTO_TEST_CASE(a_checksum_is_that_of_the_host, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const auto host = make_backend(cpu_isa::automatic);
  for (const auto bytes : checksum_sizes()) {
    const auto data = noise(bytes, static_cast<std::uint32_t>(bytes) + 3);
    const device_bytes on_device(*device, data);
    std::uint64_t want = 0;
    host->checksum({.data = data.data(), .bytes = bytes, .sum = &want});
    BOOST_TEST(sum_on(*device, on_device.data(), bytes) == want, bytes << " bytes");
  }
}

// The speed is printed: 16 GB should take about 4 ms on an H200.
BOOST_AUTO_TEST_CASE(a_checksum_of_gigabytes_finds_one_bit,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  auto& queue = device->queue();
  constexpr std::size_t bytes = std::size_t{5} << 30U;
  auto* memory = static_cast<std::byte*>(queue.allocate(bytes));
  if (memory == nullptr) {
    BOOST_TEST_MESSAGE("left out: the device has no 5 GiB");
    return;
  }
  queue.fill_zero(memory, bytes);
  const auto intact = sum_on(*device, memory, bytes);
  const device_array<std::uint64_t> sum(*device, {0});
  finish(*device);
  const auto start = std::chrono::steady_clock::now();
  constexpr int repeats = 10;
  for (int i = 0; i < repeats; ++i) {
    device->checksum({.data = memory, .bytes = bytes, .sum = sum.data()});
  }
  finish(*device);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  BOOST_TEST_MESSAGE("checksum: " << static_cast<double>(bytes) * repeats / took.count() / 1e9
                                  << " GB/s");
  BOOST_TEST(sum.read().front() == intact);
  for (const std::size_t at : {std::size_t{0}, (std::size_t{1} << 32U) + 12345, bytes - 1}) {
    const std::byte one{1};
    const std::byte zero{0};
    queue.copy_in(memory + at, &one, 1);
    BOOST_TEST(sum_on(*device, memory, bytes) != intact, "at " << at);
    queue.copy_in(memory + at, &zero, 1);
  }
  BOOST_TEST(sum_on(*device, memory, bytes) == intact);
  queue.release(memory);
}
