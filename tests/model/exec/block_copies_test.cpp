// Blocks of one split, through the host store, into the cache of another one: on the CPU, and on a device that copies late.
#include "model/exec/block_copies.hpp"

#include "kernels/cpu/host_queue.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <thread>

using namespace vdist;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t block_size = 4;
constexpr std::int32_t blocks = 6;
constexpr std::int32_t slots = 5;

weights::model_config small_model(std::int32_t kv_heads) {
  weights::model_config model;
  model.layers = 4;
  model.kv_heads = kv_heads;
  model.head_dim = 2;
  return model;
}

/// Of one number of a KV cache, wherever it lies.
float value_of(
    std::int32_t content, std::int64_t layer, bool is_value, std::int64_t head, int element) {
  return static_cast<float>(content * 10000 + layer * 1000 + (is_value ? 500 : 0) + head * 20
                            + element);
}

/// The cache of one rank.
struct rank_cache {
  rank_cache(const weights::model_config& model, const topology::shard& where)
      : shape(model),
        place(where),
        heads(weights::head_range(model.kv_heads, place.tensor_rank, place.tensor_size)) {
    const auto layers_here = place.layers.last - place.layers.first;
    const auto half = static_cast<std::size_t>(heads.count) * blocks * block_size * 2;
    numbers.resize(half * 2 * static_cast<std::size_t>(layers_here));
    for (std::int32_t i = 0; i < layers_here; ++i) {
      auto* const keys = numbers.data() + half * 2 * static_cast<std::size_t>(i);
      layers.push_back({.keys = keys,
                        .values = keys + half,
                        .type = kernels::dtype::float32,
                        .block_size = block_size,
                        .kv_heads = static_cast<std::int32_t>(heads.count),
                        .head_dim = 2});
    }
  }

  rank_cache(rank_cache&&) = default; // layers points into numbers
  rank_cache(const rank_cache&) = delete;
  rank_cache& operator=(const rank_cache&) = delete;
  ~rank_cache() = default;

  [[nodiscard]] exec::block_share share() const { return exec::share_of(shape, place, layers); }

  /// visit(number, layer, is_value, head, element) for all of a block.
  void each(std::int32_t block,
            const std::function<void(float&, std::int64_t, bool, std::int64_t, int)>& visit) {
    const auto block_numbers = heads.count * block_size * 2;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      for (const bool is_value : {false, true}) {
        auto* at = static_cast<float*>(is_value ? layers[layer].values : layers[layer].keys)
                   + block * block_numbers;
        for (std::int64_t head = 0; head < heads.count; ++head) {
          for (int element = 0; element < block_size * 2; ++element) {
            visit(*at++,
                  place.layers.first + static_cast<std::int64_t>(layer),
                  is_value,
                  heads.first + head,
                  element);
          }
        }
      }
    }
  }

  void fill(std::int32_t block, std::int32_t content) {
    each(block, [content](float& number, auto layer, bool is_value, auto head, int element) {
      number = value_of(content, layer, is_value, head, element);
    });
  }

  bool holds(std::int32_t block, std::int32_t content) {
    bool is_right = true;
    each(block,
         [&is_right, content](float& number, auto layer, bool is_value, auto head, int element) {
           is_right = is_right && number == value_of(content, layer, is_value, head, element);
         });
    return is_right;
  }

  weights::model_config shape;
  topology::shard place;
  weights::index_range heads;
  std::vector<float> numbers;
  std::vector<kernels::paged_kv> layers;
};

std::vector<rank_cache>
ranks_of(const weights::model_config& model, std::int32_t tensor, std::int32_t stages) {
  std::vector<rank_cache> ranks;
  for (std::int32_t stage = 0; stage < stages; ++stage) {
    for (std::int32_t rank = 0; rank < tensor; ++rank) {
      ranks.emplace_back(model,
                         topology::shard{.tensor_rank = rank,
                                         .tensor_size = tensor,
                                         .stage = stage,
                                         .stages = stages,
                                         .layers = {stage * 4 / stages, (stage + 1) * 4 / stages}});
    }
  }
  return ranks;
}

struct store_memory {
  explicit store_memory(const weights::model_config& model)
      : stride(exec::stored_block_bytes(model, kernels::dtype::float32, block_size) + 64),
        bytes(stride * slots) {}

  [[nodiscard]] exec::store_slots view(std::int32_t saves_max = 4) {
    return {.memory = bytes, .stride = stride, .saves_max = saves_max};
  }

  std::size_t stride;
  std::vector<std::byte> bytes;
};

/// Host memory that is copied only when the test says so.
class late_queue final : public kernels::device_queue {
public:
  explicit late_queue(late_queue** side = nullptr) : side_(side) {}

  void* allocate(std::size_t size) noexcept override { return memory_.allocate(size); }

  void release(void* memory) noexcept override { memory_.release(memory); }

  void* allocate_staging(std::size_t size) noexcept override { return allocate(size); }

  void release_staging(void* memory) noexcept override { release(memory); }

  void copy_in(void* to, const void* from, std::size_t size) noexcept override {
    std::memcpy(to, from, size);
  }

  void copy_out(void* to, const void* from, std::size_t size) noexcept override {
    late_.push_back({to, from, size});
  }

  void fill_zero(void* memory, std::size_t size) noexcept override { std::memset(memory, 0, size); }

  kernels::queue_mark mark() noexcept override {
    marks_.push_back(late_.size() + passed_);
    return marks_.size();
  }

  bool wait(kernels::queue_mark at, std::chrono::nanoseconds timeout) noexcept override {
    if (timeout > 0ns) {
      pass();
    }
    return marks_[at - 1] <= passed_;
  }

  void run(std::uint64_t /*key*/, const std::function<void()>& work) override { work(); }

  [[nodiscard]] const std::string& failure() const noexcept override { return failure_; }

  [[nodiscard]] bool is_host_memory() const noexcept override { return false; }

  [[nodiscard]] std::unique_ptr<kernels::device_queue> make_side_queue() override {
    auto made = std::make_unique<late_queue>();
    *side_ = made.get();
    return made;
  }

  void pass() {
    for (; !late_.empty(); late_.pop_front(), ++passed_) {
      std::memcpy(late_.front().to, late_.front().from, late_.front().bytes);
    }
  }

private:
  struct copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };

  kernels::host_queue memory_;
  late_queue** side_;
  std::deque<copy> late_;
  std::size_t passed_ = 0;
  std::vector<std::size_t> marks_;
  std::string failure_;
};

/// Until all that was saved up to that step is in the store.
bool arrives(exec::block_copies& copies, std::uint64_t step) {
  for (const auto until = std::chrono::steady_clock::now() + 10s; copies.stored(step) < step;) {
    if (std::chrono::steady_clock::now() > until) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

} // namespace

BOOST_AUTO_TEST_SUITE(block_copies)

BOOST_AUTO_TEST_CASE(moves_blocks_from_any_split_to_any_other) { // C-4

  struct split {
    std::int32_t tensor;
    std::int32_t stages;
  };

  constexpr split splits[] = {{1, 1}, {2, 1}, {4, 1}, {1, 2}, {2, 2}, {4, 4}};
  for (const std::int32_t kv_heads : {4, 2}) { // 2: ranks share heads in groups of 4
    const auto model = small_model(kv_heads);
    for (const auto& from : splits) {
      for (const auto& to : splits) {
        kernels::host_queue queue;
        store_memory store(model);
        for (auto& rank : ranks_of(model, from.tensor, from.stages)) {
          exec::block_copies copies(store.view(), rank.share(), queue);
          rank.fill(5, 1);
          rank.fill(0, 2);
          BOOST_REQUIRE(copies.save(7, std::vector<protocol::block_copy>{{5, 0}, {0, 4}}));
          BOOST_TEST(copies.is_read(7));
          BOOST_TEST(copies.stored(7) == 7U);
        }
        for (auto& rank : ranks_of(model, to.tensor, to.stages)) {
          exec::block_copies copies(store.view(), rank.share(), queue);
          copies.load(std::vector<protocol::block_copy>{{3, 4}, {1, 0}, {2, 0}});
          BOOST_TEST(rank.holds(1, 1));
          BOOST_TEST(rank.holds(2, 1));
          BOOST_TEST(rank.holds(3, 2));
          BOOST_TEST(!rank.holds(0, 2));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(writes_shared_heads_once) { // C-4
  const auto model = small_model(2);
  int writers = 0;
  for (auto& rank : ranks_of(model, 4, 1)) {
    writers += rank.share().saves ? 1 : 0;
  }
  BOOST_TEST(writers == 2);
}

struct late_fixture {
  late_fixture()
      : rank(model, {.layers = {0, 4}}), queue(&side), copies(store.view(3), rank.share(), queue) {}

  weights::model_config model = small_model(2);
  rank_cache rank;
  late_queue* side = nullptr;
  store_memory store{model};
  late_queue queue;
  exec::block_copies copies;
};

BOOST_FIXTURE_TEST_CASE(a_device_saves_beside_its_steps, late_fixture) { // C-1, C-2
  rank.fill(0, 1);
  rank.fill(1, 2);
  BOOST_REQUIRE(copies.save(3, std::vector<protocol::block_copy>{{0, 0}}));
  BOOST_REQUIRE(copies.save(4, std::vector<protocol::block_copy>{{1, 1}}));
  BOOST_TEST(!copies.is_read(3));
  BOOST_TEST(copies.is_read(2));
  side->pass();
  BOOST_TEST(copies.is_read(3));
  BOOST_REQUIRE(copies.wait_read(3, 1s));
  rank.fill(0, 9); // it is read: a step may write it
  BOOST_TEST(arrives(copies, 3));
  BOOST_REQUIRE(copies.wait_read(4, 1s));
  BOOST_TEST(arrives(copies, 4));
  BOOST_TEST(copies.stored(5) == 5U);
  copies.load(std::vector<protocol::block_copy>{{4, 0}, {5, 1}});
  BOOST_TEST(rank.holds(4, 1));
  BOOST_TEST(rank.holds(5, 2));
}

BOOST_FIXTURE_TEST_CASE(a_device_has_room_for_as_many_as_may_be_on_their_way, late_fixture) {
  const std::vector<protocol::block_copy> two{{0, 0}, {1, 1}};
  for (std::uint64_t step = 1; step <= 20; ++step) { // goes round the staging memory
    rank.fill(0, static_cast<std::int32_t>(step));
    rank.fill(1, static_cast<std::int32_t>(step + 1));
    BOOST_REQUIRE(copies.save(step, two));
    const auto refused = copies.save(step, two);
    BOOST_REQUIRE(!refused);
    BOOST_TEST((refused.error().code == errc::corrupt));
    BOOST_REQUIRE(copies.wait_read(step, 1s));
    BOOST_REQUIRE(arrives(copies, step));
    copies.load(std::vector<protocol::block_copy>{{4, 0}, {5, 1}});
    BOOST_REQUIRE(rank.holds(4, static_cast<std::int32_t>(step)));
    BOOST_REQUIRE(rank.holds(5, static_cast<std::int32_t>(step + 1)));
  }
}

BOOST_FIXTURE_TEST_CASE(nothing_of_an_epoch_is_written_behind_it, late_fixture) { // C-3
  for (int round = 0; round < 200; ++round) {
    rank.fill(0, 1);
    BOOST_REQUIRE(copies.save(1, std::vector<protocol::block_copy>{{0, 0}, {0, 1}, {0, 2}}));
    if (round % 2 == 0) {
      BOOST_REQUIRE(copies.wait_read(1, 1s));
    }
    copies.forget();
    const auto before = store.bytes;
    BOOST_TEST(copies.stored(2) == 2U);
    std::this_thread::yield();
    BOOST_REQUIRE((store.bytes == before));
  }
}

BOOST_AUTO_TEST_SUITE_END()
