// Blocks of a cache in the memory of a GPU, through the host store and back, in the shape of Llama 3.1 8B.
#include "tests/kernels/cuda/cuda_fixture.hpp"

#include "model/exec/block_copies.hpp"
#include "model/exec/device_memory.hpp"

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using namespace vdist;
using namespace std::chrono_literals;
using kernels::testing::has_gpu;
using clock_type = std::chrono::steady_clock;

constexpr std::int32_t block_size = 16;
constexpr std::int32_t blocks = 64;
constexpr std::int32_t saves_max = 16;

double ms_since(clock_type::time_point begin) {
  return std::chrono::duration<double, std::milli>(clock_type::now() - begin).count();
}

weights::model_config shape_8b() {
  weights::model_config model;
  model.layers = 32;
  model.kv_heads = 8;
  model.head_dim = 128;
  return model;
}

struct device_cache {
  device_cache(kernels::device_queue& on, const weights::model_config& model)
      : queue(on),
        half(static_cast<std::size_t>(model.kv_heads) * blocks * block_size
             * static_cast<std::size_t>(model.head_dim) * 2),
        bytes(half * 2 * static_cast<std::size_t>(model.layers)),
        memory(queue, bytes) {
    for (std::int32_t layer = 0; layer < model.layers; ++layer) {
      auto* const keys = memory.data() + half * 2 * static_cast<std::size_t>(layer);
      layers.push_back({.keys = keys,
                        .values = keys + half,
                        .type = kernels::dtype::bfloat16,
                        .block_size = block_size,
                        .kv_heads = model.kv_heads,
                        .head_dim = model.head_dim});
    }
  }

  void fill(const std::vector<std::uint64_t>& from) {
    queue.copy_in(memory.data(), from.data(), bytes);
    BOOST_REQUIRE(queue.wait(queue.mark(), 10s));
  }

  [[nodiscard]] std::vector<std::uint64_t> read() {
    std::vector<std::uint64_t> all(bytes / sizeof(std::uint64_t));
    queue.copy_out(all.data(), memory.data(), bytes);
    BOOST_REQUIRE(queue.wait(queue.mark(), 10s));
    return all;
  }

  kernels::device_queue& queue;
  std::size_t half;
  std::size_t bytes;
  exec::device_memory memory;
  std::vector<kernels::paged_kv> layers;
};

std::vector<std::uint64_t> pattern(std::size_t count) {
  std::vector<std::uint64_t> numbers(count);
  std::uint64_t state = 1;
  for (auto& number : numbers) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    number = state;
  }
  return numbers;
}

} // namespace

BOOST_AUTO_TEST_CASE(blocks_come_back_as_they_were_saved,
                     *boost::unit_test::precondition(has_gpu)) { // C-1, C-2
  const auto model = shape_8b();
  const auto device = kernels::testing::make_cuda_backend();
  auto& queue = device->queue();
  device_cache cache(queue, model);
  const auto stride = exec::stored_block_bytes(model, kernels::dtype::bfloat16, block_size);
  std::vector<std::byte> memory(stride * saves_max);
  exec::block_copies copies({.memory = memory, .stride = stride, .saves_max = saves_max},
                            exec::share_of(model, {.layers = {0, model.layers}}, cache.layers),
                            queue);
  const auto before = pattern(cache.bytes / sizeof(std::uint64_t));
  cache.fill(before);
  std::vector<protocol::block_copy> saves;
  std::vector<protocol::block_copy> loads;
  for (std::int32_t i = 0; i < saves_max; ++i) {
    saves.push_back({2 * i, i});
    loads.push_back({2 * i + 1, i});
  }
  for (std::uint64_t step = 1; step <= 5; ++step) { // the first touches the pages of the store
    auto begin = clock_type::now();
    BOOST_REQUIRE(copies.save(step, saves));
    const auto called = ms_since(begin);
    BOOST_REQUIRE(copies.wait_read(step, 10s));
    const auto read = ms_since(begin);
    while (copies.stored(step) < step) {
      std::this_thread::yield();
    }
    const auto stored = ms_since(begin);
    begin = clock_type::now();
    copies.load(loads);
    BOOST_REQUIRE(queue.wait(queue.mark(), 10s));
    BOOST_TEST_MESSAGE(saves_max << " blocks of " << (stride >> 20U) << " MiB: save called "
                                 << called << " ms, read " << read << " ms, stored " << stored
                                 << " ms; loaded " << ms_since(begin) << " ms");
  }
  const auto after = cache.read();
  const auto block_numbers = cache.half / blocks / sizeof(std::uint64_t);
  const auto halves = 2 * static_cast<std::size_t>(model.layers);
  for (std::size_t half = 0; half < halves; ++half) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(saves_max); ++i) {
      const auto* const from = before.data() + (half * blocks + 2 * i) * block_numbers;
      const auto* const to = after.data() + (half * blocks + 2 * i + 1) * block_numbers;
      BOOST_REQUIRE(std::memcmp(from, to, block_numbers * sizeof(std::uint64_t)) == 0);
    }
  }
}
