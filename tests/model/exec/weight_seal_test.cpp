// Weights that a rank takes over are those that were loaded (M-3, M-4 of model_runner.hpp), found by their content.
#include "model/exec/weight_seal.hpp"

#include "tests/model/exec/fake_device.hpp"

#include "model/exec/model_runner.hpp"

#include "transport/vault/memory_vault.hpp"

#include "kernels/cpu/cpu_backend.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace vdist {

namespace {

using testing::fake_device;
using testing::fake_trace;

constexpr std::chrono::seconds deadline{5};

/// A rank's weights and KV cache, for workers that come one after the other.
struct kept_rank {
  vault::memory_vault memory;
  fake_trace seen;
  exec::model_runner_config config;
  bool is_device;

  explicit kept_rank(bool on_device) : is_device(on_device) {
    const auto folder =
        std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / "llama3_gqa";
    config.model = *weights::read_model_config(folder, arch::supported_architectures());
    config.source.folder = folder;
    config.type = config.model.type;
    config.place = {.layers = {0, config.model.layers}};
    config.rank = rank_id(3);
    config.limits = {.max_batch_tokens = 16,
                     .max_sequences = 4,
                     .max_positions = 64,
                     .blocks = 16,
                     .block_size = 16};
  }

  [[nodiscard]] exec::model_runner next() {
    return {config, {}, memory, [this](const exec::backend_needs& needs) {
              using made = result<std::unique_ptr<kernels::backend>>;
              return is_device
                         ? made(std::make_unique<fake_device>(seen))
                         : made(kernels::make_cpu_backend({.max_positions = needs.max_positions,
                                                           .max_tokens = needs.max_tokens,
                                                           .max_features = needs.max_features}));
            }};
  }

  /// Progress reports: one where nothing was read.
  int load(exec::model_runner& runner) {
    int reports = 0;
    const auto loaded = runner.load([&reports](std::uint64_t, std::uint64_t) { ++reports; });
    BOOST_REQUIRE_MESSAGE(loaded.has_value(), (loaded ? "" : loaded.error().context));
    return reports;
  }

  int load_next() {
    auto runner = next();
    return load(runner);
  }

  [[nodiscard]] vault::region region(vault::region_kind kind) {
    const auto network = *arch::build(config.model, config.place, config.type);
    const auto bytes = kind == vault::region_kind::weights ? exec::sealed_bytes(network.plan.bytes)
                                                           : exec::kv_bytes(network, config.limits);
    return *memory.map({.rank = config.rank, .kind = kind}, bytes);
  }

  void damage(std::size_t at) {
    auto& byte = region(vault::region_kind::weights).memory[at];
    byte ^= std::byte{1};
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(weight_seal)

BOOST_AUTO_TEST_CASE(finds_one_bit_anywhere_and_in_the_seal) {
  const auto ops = kernels::make_cpu_backend({.max_tokens = 1});
  constexpr std::size_t bytes = 1000;
  std::vector<std::byte> memory(exec::sealed_bytes(bytes));
  exec::weight_seal seal(*ops, memory, bytes, deadline);
  BOOST_REQUIRE(seal.set());
  const auto is_intact = [&seal] {
    seal.begin_check();
    return *seal.is_intact();
  };
  BOOST_TEST(is_intact());
  for (const std::size_t at : {std::size_t{0}, std::size_t{500}, bytes - 1, std::size_t{1024}}) {
    memory[at] ^= std::byte{16};
    BOOST_TEST(!is_intact(), "at " << at);
    memory[at] ^= std::byte{16};
  }
  BOOST_TEST(is_intact());
}

BOOST_AUTO_TEST_CASE(looks_at_pages_of_large_host_memory_first_and_last_among_them) {
  const auto ops = kernels::make_cpu_backend({.max_tokens = 1});
  constexpr auto bytes = 3 * exec::host_checked_bytes + 5 * exec::host_checked_page;
  std::vector<std::byte> memory(exec::sealed_bytes(bytes));
  exec::weight_seal seal(*ops, memory, bytes, deadline);
  BOOST_REQUIRE(seal.set());
  const auto is_intact = [&seal] {
    seal.begin_check();
    return *seal.is_intact();
  };
  BOOST_TEST(is_intact());
  for (const std::size_t at : {std::size_t{1}, bytes - 1}) {
    memory[at] ^= std::byte{1};
    BOOST_TEST(!is_intact(), "at " << at);
    memory[at] ^= std::byte{1};
  }
  std::fill_n(memory.begin() + bytes / 2, 16 * exec::host_checked_page, std::byte{9});
  BOOST_TEST(!is_intact());
}

// M-3
BOOST_DATA_TEST_CASE(damaged_weights_are_loaded_again_and_the_cache_gets_another_name,
                     boost::unit_test::data::make({false, true}),
                     on_device) {
  kept_rank rank(on_device);
  BOOST_TEST(rank.load_next() > 1);
  const auto name = rank.region(vault::region_kind::kv_cache).ready_hash;
  BOOST_TEST(rank.load_next() == 1);
  BOOST_TEST((rank.region(vault::region_kind::kv_cache).ready_hash == name));
  rank.damage(12345);
  BOOST_TEST(rank.load_next() > 1);
  BOOST_TEST((rank.region(vault::region_kind::kv_cache).ready_hash != name));
  BOOST_TEST(rank.load_next() == 1);
}

// M-4
BOOST_AUTO_TEST_CASE(a_standby_loads_nothing) {
  kept_rank rank(true);
  rank.config.is_standby = true;
  auto first = rank.next();
  const auto empty = first.load({});
  BOOST_REQUIRE(!empty);
  BOOST_TEST((empty.error().code == errc::not_found));
  BOOST_TEST(empty.error().context.find("rank=3") != std::string::npos);
  rank.config.is_standby = false;
  BOOST_TEST(rank.load_next() > 1);
  rank.damage(0);
  rank.config.is_standby = true;
  auto second = rank.next();
  const auto damaged = second.load({});
  BOOST_REQUIRE(!damaged);
  BOOST_TEST((damaged.error().code == errc::corrupt));
  BOOST_TEST(damaged.error().context.find("rank 3") != std::string::npos);
  rank.config.is_standby = false;
  BOOST_TEST(rank.load_next() > 1);
}

// M-4: what the one before damaged in its end.
BOOST_DATA_TEST_CASE(a_standby_checks_again_before_its_first_result,
                     boost::unit_test::data::make({false, true}),
                     is_damaged) {
  kept_rank rank(true);
  BOOST_TEST(rank.load_next() > 1);
  rank.config.is_standby = true;
  auto standby = rank.next();
  BOOST_TEST(rank.load(standby) == 1);
  BOOST_REQUIRE(standby.rehearse());
  if (is_damaged) {
    rank.damage(777);
  }
  BOOST_REQUIRE(standby.start_epoch(epoch(1)));
  protocol::step_plan plan;
  plan.step = 1;
  plan.epoch = 1;
  plan.slots = {2};
  plan.request_ids = {77};
  plan.flags = {protocol::flag_new | protocol::flag_samples};
  plan.first_position = {0};
  plan.token_counts = {3};
  plan.block_counts = {1};
  plan.new_blocks = {5};
  plan.tokens = {1, 2, 3};
  plan.sampling.resize(1);
  protocol::step_result out;
  const auto done = standby.execute(plan, out);
  BOOST_REQUIRE(done.has_value() == !is_damaged);
  const int checksums = rank.seen.checksums;
  if (is_damaged) {
    BOOST_TEST((done.error().code == errc::corrupt));
    BOOST_TEST(done.error().context.find("rank 3") != std::string::npos);
    rank.config.is_standby = false;
    BOOST_TEST(rank.load_next() > 1); // they were ready no more
  } else {
    BOOST_REQUIRE(standby.start_epoch(epoch(2))); // once is enough
    BOOST_TEST(rank.seen.checksums == checksums);
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
