// tests/model/exec/fake_rank.hpp — one rank of a small model on a fake device.
#pragma once

#include "tests/model/exec/fake_device.hpp"
#include "tests/model/exec/golden_config.hpp"

#include "transport/vault/memory_vault.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vdist::testing {

constexpr std::int32_t max_sequences = 12;

/// Weights that another worker has loaded, and a runner that may replace it.
struct one_rank {
  vault::memory_vault memory;
  fake_trace seen;
  exec::model_runner_config config;

  explicit one_rank(const std::string& model = "llama3_gqa")
      : config(golden_config(model,
                             {.max_batch_tokens = 100,
                              .max_sequences = max_sequences,
                              .max_positions = 64,
                              .blocks = 32,
                              .block_size = 16,
                              .small_step_tokens = 32})) {
    exec::model_runner first(config, {}, memory, factory());
    BOOST_REQUIRE(first.load({}));
    seen = {};
    config.is_standby = true;
  }

  [[nodiscard]] exec::backend_factory factory() {
    return [this](const exec::backend_needs&) -> result<std::unique_ptr<kernels::backend>> {
      return std::unique_ptr<kernels::backend>(std::make_unique<fake_device>(seen));
    };
  }

  [[nodiscard]] std::span<std::byte> region(vault::region_kind kind) {
    const auto network = *arch::build(config.model, config.place, config.type);
    const auto bytes = kind == vault::region_kind::weights ? exec::sealed_bytes(network.plan.bytes)
                                                           : exec::kv_bytes(network, config.limits);
    return memory.map({.rank = config.rank, .kind = kind}, bytes)->memory;
  }

  /// The next runner has another place, and loads by itself.
  void move_to(const topology::shard& place) {
    config.place = place;
    config.is_standby = false;
    for (const auto kind : {vault::region_kind::weights, vault::region_kind::kv_cache}) {
      BOOST_REQUIRE(memory.release({.rank = config.rank, .kind = kind}).has_value());
    }
  }
};

} // namespace vdist::testing
