// tests/runtime/api/openai/response_samples.hpp — answers for tests: written by hand, and drawn at random.
#pragma once

#include "runtime/api/openai/response.hpp"

#include <limits>
#include <random>
#include <string>
#include <vector>

namespace vdist::testing {

inline api::openai::response_head sample_head() {
  return {
      .id = "chatcmpl-1", .created = 1'700'000'000, .model = "tiny", .system_fingerprint = "fp_1"};
}

/// Whatever a model may produce: text that is not UTF-8, log probabilities that are no numbers.
class any_answer {
public:
  explicit any_answer(std::uint64_t seed) : random_(seed) {
    text = any_text();
    for (auto left = random_() % 4; left > 0; --left) {
      auto& position = positions.emplace_back();
      position.chosen = any_token();
      for (auto more = random_() % 4; more > 0; --more) {
        position.top.push_back(any_token());
      }
    }
    stop = any_text();
  }

  /// Borrows from this. Reasons are those of streams: none, stop, length.
  [[nodiscard]] api::openai::choice_text choice() {
    api::openai::choice_text made{.index = static_cast<std::int32_t>(random_() % 5),
                                  .text = text,
                                  .reason = static_cast<protocol::finish_reason>(random_() % 3),
                                  .text_offset = random_() % 100};
    if (random_() % 2 == 0) {
      made.logprobs = positions;
    }
    switch (random_() % 3) {
    case 0:
      made.stopped_by = static_cast<token_id>(random_() % 1000);
      break;
    case 1:
      made.stopped_by = std::string_view(stop);
      break;
    default:
      break;
    }
    return made;
  }

  [[nodiscard]] api::openai::usage usage() {
    api::openai::usage made{.prompt_tokens = static_cast<std::int64_t>(random_() % 1000),
                            .completion_tokens = static_cast<std::int64_t>(random_() % 1000)};
    if (random_() % 2 == 0) {
      made.cached_tokens = static_cast<std::int64_t>(random_() % 1000);
    }
    return made;
  }

  std::string text;
  std::string stop;
  std::vector<api::position_logprobs> positions;

private:
  std::string any_text() {
    std::string made;
    for (auto left = random_() % 8; left > 0; --left) {
      made += static_cast<char>(random_() % 256);
    }
    return made;
  }

  api::token_info any_token() {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float odd[] = {
        0, -0.0F, 1e-38F, -1e38F, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
    const float drawn = -20.0F * static_cast<float>(random_() % 100'000) / 1e5F;
    return {.id = static_cast<token_id>(random_() % 1000),
            .text = any_text(),
            .logprob = random_() % 3 == 0 ? odd[random_() % std::size(odd)] : drawn};
  }

  std::mt19937_64 random_;
};

} // namespace vdist::testing
