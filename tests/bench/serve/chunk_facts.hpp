// tests/bench/serve/chunk_facts.hpp — what one chunk of a stream says that a load wants to know. Read without building the
// JSON: at ten thousand chunks a second that would make the generator the bottleneck of what it measures.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vdist::bench::serve {

struct chunk_facts {
  bool has_error = false;  // an "error" that is not null
  bool has_choice = false; // "choices" is not empty
  bool has_text =
      false; // of the first choice: text, or content, reasoning or tool calls of its delta
  bool has_usage = false;              // an object
  std::int64_t prompt_tokens = -1;     // of the usage; -1: it does not say
  std::int64_t completion_tokens = -1; // likewise
};

/// nullopt: not a JSON object.
[[nodiscard]] std::optional<chunk_facts> read_chunk(std::string_view data);

} // namespace vdist::bench::serve
