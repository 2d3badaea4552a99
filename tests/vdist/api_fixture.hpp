// tests/vdist/api_fixture.hpp — engines of the public API for tests, with a way to their inside: faults are armed there.
#pragma once

#include "tests/support/engine_driver.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "vdist/embedding/engine_core.hpp"
#include "vdist/engine.hpp"

namespace vdist::testing {

/// Longest wait of a test for something that comes.
inline constexpr std::chrono::seconds long_time{60};

/// A simulated model: tokens are a function of the prompt.
inline vdist::engine sim_engine(engine_options options = {}) {
  options.settings.emplace_back("log.level=off");
  auto made = vdist::engine::from_text(sim_config(), std::move(options));
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

inline vdist::generate_request sim_request(std::int32_t tokens, std::int32_t first = 1) {
  return {.token_ids = {first, 2, 3},
          .sampling = {.seed = 7, .max_tokens = tokens, .ignore_eos = true}};
}

inline stream stream_of(vdist::engine& engine, const vdist::generate_request& request) {
  auto made = engine.generate(request);
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

/// The cluster of a running engine; the engine does not close while this lives.
inline embedding::engine_core::user inside(const vdist::engine& engine) {
  auto user = embedding::engine_core::of(engine)->enter();
  BOOST_REQUIRE(user.has_value());
  return std::move(*user);
}

inline std::vector<std::int32_t> tokens_of(vdist::engine& engine,
                                           const vdist::generate_request& request) {
  auto stream = stream_of(engine, request);
  auto all = stream.collect(long_time);
  BOOST_REQUIRE_MESSAGE(all.has_value(), (all ? "" : all.error().message));
  return all->sequences.front().token_ids;
}

} // namespace vdist::testing
