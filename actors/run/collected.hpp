// actors/run/collected.hpp — gathers the chunks of one sequence into one result line.
#pragma once

#include "actors/front_door/text_stream.hpp"

#include "runtime/api/result_file.hpp"
#include "runtime/base/clock.hpp"

#include <optional>
#include <string>

namespace vdist::actors {

/// What is known of a sequence before its first token.
struct sequence_facts {
  std::string id;
  std::int32_t prompt_tokens = 0;
  std::optional<std::int32_t> index; // set when n > 1
  bool wants_logprobs = false;
  time_point submitted;
};

class collected_sequence {
public:
  explicit collected_sequence(sequence_facts facts);

  void add(text_chunk chunk);

  [[nodiscard]] bool has_ended() const { return result_.reason != protocol::finish_reason::none; }

  [[nodiscard]] std::size_t tokens() const { return result_.token_ids.size(); }

  [[nodiscard]] const std::string& text() const { return result_.text; }

  /// The JSON line of a sequence that has ended: its result, or its error.
  [[nodiscard]] std::string to_line(const token_times& times);

private:
  sequence_facts facts_;
  api::file_result result_;
  std::string message_;
};

} // namespace vdist::actors
