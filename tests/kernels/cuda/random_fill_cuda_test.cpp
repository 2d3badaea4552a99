#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/kernels/random/random_fill_ref.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

/// A case of one row whose y is a part of a larger one's, from column `from` on.
fill_case part_of(const fill_case& whole, std::int64_t from, std::int64_t count) {
  return {.rows = 1,
          .columns = count,
          .y_stride = count,
          .first = whole.first + static_cast<std::uint64_t>(from) * whole.column_step,
          .column_step = whole.column_step};
}

} // namespace

// F-1: the whole buffer is compared, so a byte beside the block shows.
BOOST_AUTO_TEST_CASE(a_fill_has_the_bytes_of_the_host, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const auto host = make_backend(cpu_isa::automatic);
  for (const dtype type : all_dtypes) {
    for (const auto& rule : fill_rules()) {
      for (const auto& c : fill_cases()) {
        std::vector<std::byte> want(static_cast<std::size_t>(c.elements_needed()) * size_of(type),
                                    fill_poison);
        const device_bytes on_device(*device, want);
        device->fill_random(c.args(on_device.data(), type, rule));
        finish(*device);
        host->fill_random(c.args(want.data(), type, rule));
        BOOST_TEST((on_device.read() == want), c << " " << to_string(type) << " key " << rule.key);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_difference_of_the_hash_is_rounded_as_on_the_host,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const auto host = make_backend(cpu_isa::automatic);
  // Four million elements: nearly all of the 131071 differences are among them.
  const fill_case c{.rows = 1, .columns = 1 << 22, .y_stride = 1 << 22, .first = 77};
  for (const dtype type : all_dtypes) {
    for (const float scale :
         {0.02F / random_unit_deviation, 0.002F / random_unit_deviation, 0.9F}) {
      const random_fill_rule rule{.key = 5, .scale = scale};
      std::vector<std::byte> want(static_cast<std::size_t>(c.elements_needed()) * size_of(type),
                                  fill_poison);
      const device_bytes on_device(*device, want);
      device->fill_random(c.args(on_device.data(), type, rule));
      finish(*device);
      host->fill_random(c.args(want.data(), type, rule));
      BOOST_TEST((on_device.read() == want), to_string(type) << " scale " << scale);
    }
  }
}

// More elements than 32 bits count, in one row and in rows that lie far apart. Needs 9 GB of the device.
BOOST_AUTO_TEST_CASE(offsets_have_64_bits, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  auto& queue = device->queue();
  constexpr std::int64_t count = (std::int64_t{1} << 32) + 1000;
  constexpr std::int64_t piece = 2048;
  constexpr dtype type = dtype::bfloat16;
  const auto rule = fill_rules().front();
  void* memory = queue.allocate((count + piece) * size_of(type));
  if (memory == nullptr) {
    BOOST_TEST_MESSAGE("left out: the device has no 9 GB");
    return;
  }
  const auto check = [&](std::int64_t at, const fill_case& c) {
    auto want = reference_fill(c, type, rule);
    want.resize(static_cast<std::size_t>(c.columns) * size_of(type));
    std::vector<std::byte> got(want.size());
    queue.copy_out(got.data(), elements(memory, type).behind(at).data, got.size());
    finish(*device);
    BOOST_TEST((got == want), "at " << at);
  };
  const fill_case run{.rows = 1, .columns = count, .y_stride = count, .first = 5};
  queue.fill_zero(memory, (count + piece) * size_of(type));
  device->fill_random(run.args(memory, type, rule));
  for (const std::int64_t at :
       {std::int64_t{0}, count / 2, count - 1000 - piece * 3 / 4, count - piece}) {
    check(at, part_of(run, at, piece));
  }
  std::vector<std::byte> behind(piece * size_of(type));
  queue.copy_out(behind.data(), elements(memory, type).behind(count).data, behind.size());
  finish(*device);
  BOOST_TEST((behind == std::vector<std::byte>(behind.size())));

  device->fill_random({.y = elements(memory, type),
                       .rule = rule,
                       .rows = 2,
                       .columns = 100,
                       .y_stride = count,
                       .first = 1,
                       .row_step = 1'000'000,
                       .column_step = 1});
  check(count, {.rows = 1, .columns = 100, .y_stride = 100, .first = 1'000'001});
  queue.release(memory);
}
