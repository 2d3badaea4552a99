// Any rectangle of a tensor, by every way of reading, against the file's bytes; and files that are
// not what they were.
#include "model/weights/file_tensor_reader.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/model/weights/toy_models.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <random>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using kernels::dtype;
using vdist::testing::temporary_folder;

constexpr std::uint64_t head_bytes = 13; // odd: no promise of alignment

/// A file with one tensor of `count` small numbers behind some other bytes.
struct stored_tensor {
  stored_tensor(std::int64_t count, dtype stored) : type(stored) {
    for (std::int64_t i = 0; i < count; ++i) {
      values.push_back(static_cast<float>(i * 7919 % 2039) / 8.0F);
    }
    path = folder.write("w", std::string(head_bytes, '?') + encoded(values, type) + "behind");
    const auto file = weight_file::open(path);
    BOOST_REQUIRE(file.has_value());
    identity = file->identity();
  }

  [[nodiscard]] file_tensor_reader reader() const {
    return file_tensor_reader({.path = path,
                               .identity = identity,
                               .name = "layer.w",
                               .first = head_bytes,
                               .bytes = values.size() * kernels::size_of(type),
                               .type = type});
  }

  temporary_folder folder;
  std::filesystem::path path;
  dtype type;
  std::vector<float> values;
  file_identity identity;
};

/// Reads the block into lines with a gap behind each, and compares elements and gaps.
bool reads(const stored_tensor& tensor, const tensor_block& block, dtype held) {
  const std::size_t element = kernels::size_of(held);
  const auto count = static_cast<std::size_t>(block.count);
  const std::size_t stride = (count + 3) * element;
  std::vector<float> memory(static_cast<std::size_t>(block.lines) * (count + 3), -1.0F);
  auto* data = reinterpret_cast<std::byte*>(memory.data());
  const std::vector<std::byte> before(data, data + memory.size() * sizeof(float));
  auto reader = tensor.reader();
  const auto outcome = reader.read(block, {.data = data, .stride = stride, .type = held});
  if (!outcome) {
    return false;
  }
  for (std::int64_t line = 0; line < block.lines; ++line) {
    const std::byte* at = data + static_cast<std::size_t>(line) * stride;
    const std::vector<float> got = decoded(at, count, held);
    for (std::size_t i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(block.first + line * block.stride) + i;
      if (got[i] != rounded(tensor.values[index], tensor.type, held)) {
        return false;
      }
    }
    const std::size_t gap = static_cast<std::size_t>(line) * stride + count * element;
    if (!std::equal(data + gap, data + gap + 3 * element, before.data() + gap)) {
      return false;
    }
  }
  return true;
}

/// A block of lines whose starts are `stride` apart.
tensor_block draw_block(std::mt19937& random, std::int64_t elements, std::int64_t stride) {
  const auto below = [&random](std::int64_t end) {
    return std::uniform_int_distribution<std::int64_t>(0, end - 1)(random);
  };
  tensor_block block{.stride = stride};
  block.count = 1 + below(stride);
  block.lines = 1 + below((elements - block.count) / stride + 1);
  block.first = below(elements - (block.lines - 1) * stride - block.count + 1);
  return block;
}

error read_all(const stored_tensor& tensor, dtype held) {
  std::vector<float> memory(tensor.values.size());
  auto reader = tensor.reader();
  return error_of(reader.read({.count = static_cast<std::int64_t>(tensor.values.size())},
                              {.data = reinterpret_cast<std::byte*>(memory.data()), .type = held}));
}

} // namespace

BOOST_AUTO_TEST_CASE(C_1_every_block_is_read_exactly_whatever_its_stride_and_types) {
  std::mt19937 random(20'261'120);
  constexpr std::int64_t elements = 300'000; // one line of all is longer than the buffer
  for (const dtype stored : {dtype::float32, dtype::bfloat16, dtype::float16}) {
    const stored_tensor tensor(elements, stored);
    for (const dtype held : {dtype::float32, dtype::bfloat16, dtype::float16}) {
      // Below, at and above a page; the last: one line.
      for (const std::int64_t stride :
           {1LL, 37LL, 1023LL, 1024LL, 2048LL, 5000LL, 150'001LL, 300'000LL}) {
        for (int repeat = 0; repeat < 4; ++repeat) {
          const tensor_block block = draw_block(random, elements, stride);
          BOOST_TEST(reads(tensor, block, held),
                     kernels::to_string(stored)
                         << " to " << kernels::to_string(held) << ", first " << block.first
                         << ", count " << block.count << ", lines " << block.lines << ", stride "
                         << block.stride);
        }
      }
      BOOST_TEST(reads(tensor, {.count = elements}, held));
      BOOST_TEST(reads(tensor, {.first = elements - 1, .count = 1}, held));
      BOOST_TEST(reads(tensor, {.count = 0}, held));
      BOOST_TEST(reads(tensor, {.count = 5, .lines = 0, .stride = 5}, held));
    }
  }
}

BOOST_AUTO_TEST_CASE(C_2_a_file_that_has_shrunk_or_grown_is_an_error_that_names_file_and_tensor) {
  for (const std::int64_t change : {-1'000, -7, 1, 1'000}) {
    const stored_tensor tensor(1000, dtype::float32);
    std::filesystem::resize_file(
        tensor.path,
        static_cast<std::uintmax_t>(static_cast<std::int64_t>(tensor.identity.bytes) + change));
    BOOST_TEST(says(read_all(tensor, dtype::float32),
                    errc::corrupt,
                    {tensor.path.string(), "has changed", "tensor=layer.w", "bytes_before=4019"}));
  }
}

BOOST_AUTO_TEST_CASE(C_2_a_file_that_was_replaced_or_removed_is_an_error) {
  const stored_tensor tensor(1000, dtype::float32);
  const auto other = tensor.folder.write("other", std::string(tensor.identity.bytes, 'x'));
  std::filesystem::rename(other, tensor.path);
  BOOST_TEST(says(read_all(tensor, dtype::float32), errc::corrupt, {"has changed", "layer.w"}));
  std::filesystem::remove(tensor.path);
  BOOST_TEST(says(read_all(tensor, dtype::float32), errc::not_found, {tensor.path.string()}));
}

BOOST_AUTO_TEST_CASE(C_2_a_file_that_shrinks_while_it_is_read_is_an_error_and_no_signal) {
  const stored_tensor tensor(100'000, dtype::float32);
  std::vector<float> memory(100'000);
  const block_target target{.data = reinterpret_cast<std::byte*>(memory.data()),
                            .type = dtype::float32};
  auto reader = tensor.reader();
  BOOST_TEST(reader.read({.count = 10}, target).has_value()); // the file is open now
  std::filesystem::resize_file(tensor.path, 200'000);
  BOOST_TEST(says(error_of(reader.read({.count = 100'000}, target)),
                  errc::corrupt,
                  {tensor.path.string(), "ends early", "tensor=layer.w", "bytes_missing=200013"}));
}

BOOST_AUTO_TEST_CASE(a_value_that_does_not_fit_names_file_and_tensor) {
  stored_tensor tensor(10, dtype::float32);
  tensor.values[9] = 1e6F;
  tensor.folder.write(
      "w", std::string(head_bytes, '?') + encoded(tensor.values, dtype::float32) + "behind");
  BOOST_TEST(says(read_all(tensor, dtype::float16),
                  errc::unsupported,
                  {tensor.path.string(), "does not fit", "tensor=layer.w", "dtype=float16"}));
  BOOST_TEST(says(read_all(tensor, dtype::bfloat16), errc::ok));
}

BOOST_AUTO_TEST_CASE(what_the_system_refuses_to_read_is_named_with_its_reason) {
  const auto memory = weight_file::open("/proc/self/mem"); // page 0 cannot be read
  BOOST_REQUIRE(memory.has_value());
  std::byte out[8];
  BOOST_TEST(says(error_of(memory->read(0, out, "layer.w")),
                  errc::io_failed,
                  {"/proc/self/mem", "Input/output error", "tensor=layer.w", "offset=0"}));
  BOOST_TEST(says(error_of(weight_file::open("/proc/self")), errc::not_found, {"not a regular"}));
  BOOST_TEST(says(error_of(weight_file::open("/proc/none")), errc::not_found, {"/proc/none"}));
}
