// tests/actors/router/recording_sink.hpp — a token sink that remembers.
#pragma once

#include "actors/router/token_sink.hpp"

#include <vector>

namespace vdist::testing {

class recording_sink final : public actors::token_sink {
public:
  void push(const protocol::token_event& event) override { events.push_back(event); }

  [[nodiscard]] bool is_cancelled() const override { return wants_no_more; }

  [[nodiscard]] std::vector<token_id> tokens() const {
    std::vector<token_id> all;
    for (const auto& event : events) {
      if (event.token >= 0) {
        all.push_back(event.token);
      }
    }
    return all;
  }

  [[nodiscard]] std::size_t ends() const {
    std::size_t count = 0;
    for (const auto& event : events) {
      count += event.reason != protocol::finish_reason::none ? 1U : 0U;
    }
    return count;
  }

  std::vector<protocol::token_event> events;
  bool wants_no_more = false;
};

} // namespace vdist::testing
