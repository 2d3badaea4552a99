// tests/actors/system/watched_rows.hpp — what tests of watched layers share: rows as a watch hands them over, requests that run
// meanwhile, and the rows that the model alone computes on the CPU.
#pragma once

#include "tests/support/engine_driver.hpp"
#include "tests/support/model_driver.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace vdist::testing {

using floats = std::vector<float>;

inline std::unique_ptr<actors::layer_watch> watch(engine_driver& driver,
                                                  const actors::layer_watch_config& config) {
  auto made = driver.get().watch_layer(config);
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
  return std::move(*made);
}

/// By request and position. What came more than once is the same.
using row_table = std::map<std::pair<std::uint64_t, std::int32_t>, floats>;

/// What is there: a request that has ended has all its rows there (W-2).
inline void read_all(actors::layer_watch& watch, std::int32_t layer, row_table& into) {
  while (true) {
    auto row = watch.next(std::chrono::seconds(0));
    BOOST_REQUIRE_MESSAGE(row.has_value(), (row ? "" : row.error().context));
    if (!*row) {
      return;
    }
    BOOST_TEST((*row)->layer == layer);
    const auto [found, is_new] =
        into.try_emplace({(*row)->request.value, (*row)->position}, (*row)->values);
    BOOST_TEST((is_new || found->second == (*row)->values), "a step that ran again");
  }
}

struct ended_request {
  std::uint64_t id;
  std::vector<token_id> tokens; // prompt and generated
  heard result;
};

/// All at once.
inline std::vector<ended_request> run(engine& on, const std::vector<generate_request>& requests) {
  std::vector<actors::generation> made;
  for (const auto& request : requests) {
    auto one = on.generate(request);
    BOOST_REQUIRE_MESSAGE(one.has_value(), (one ? "" : one.error().context));
    made.push_back(std::move(*one));
  }
  std::vector<ended_request> all;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto heard = read_to_end(*made[i].sequences.front());
    auto tokens =
        on.setup().tokenizer->encode(requests[i].prompt, text::special_tokens::add).value();
    tokens.insert(tokens.end(), heard.token_ids.begin(), heard.token_ids.end());
    all.push_back({made[i].sequences.front()->id().value, std::move(tokens), std::move(heard)});
  }
  return all;
}

/// The residual stream behind `layers` layers, of every token but the last, which no step computes: what a stage of so many
/// layers passes on. One rank per stage, one chunk. `type`: none is the stored one.
inline std::vector<floats> reference_rows(std::vector<token_id> tokens,
                                          std::int32_t layers,
                                          std::optional<kernels::dtype> type = std::nullopt) {
  tokens.pop_back();
  floats passed;
  model_driver model({.folder = VDIST_SOURCE_DIR "/examples/models/tiny-tales",
                      .type = type,
                      .stage_layers = {layers, 8 - layers},
                      .limits = {.max_batch_tokens = 256,
                                 .max_sequences = 2,
                                 .max_positions = 192,
                                 .blocks = 32,
                                 .block_size = 16},
                      .on_passed = [&passed](std::span<const float> rows) {
                        passed.insert(passed.end(), rows.begin(), rows.end());
                      }});
  const auto count = tokens.size();
  auto sequence = model.add(std::move(tokens));
  const chunk whole{&sequence, static_cast<std::int32_t>(count)};
  model.step({&whole, 1});
  const auto width = static_cast<std::size_t>(model.model().hidden);
  BOOST_REQUIRE_EQUAL(passed.size(), count * width);
  std::vector<floats> rows;
  for (auto at = passed.begin(); at != passed.end(); at += static_cast<std::ptrdiff_t>(width)) {
    rows.emplace_back(at, at + static_cast<std::ptrdiff_t>(width));
  }
  return rows;
}

inline void check_same_tokens(const std::vector<ended_request>& got,
                              const std::vector<ended_request>& expected) {
  BOOST_REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    BOOST_TEST(got[i].result == expected[i].result);
  }
}

} // namespace vdist::testing
