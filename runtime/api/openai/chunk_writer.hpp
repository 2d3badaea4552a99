// runtime/api/openai/chunk_writer.hpp — the chunks of one streamed answer: the data of its SSE events. What all chunks
// have in common is written once; a chunk of one token costs a few copies and no allocation once `out` is large enough.
//
// A chat:       begin() for each choice, add() …, add() with a reason for each choice, finish(), stream_end.
// A completion: add() …, add() with a reason for each choice, finish(), stream_end.
// C-1 Every chunk of a stream has the same id, created and model. C-2 `usage` is in a chunk exactly if include_usage is
// set: null, or with continuous_usage_stats the tokens so far, and the sum in finish(), whose choices are empty.
#pragma once

#include "runtime/api/openai/request.hpp"
#include "runtime/api/openai/response.hpp"

#include <string>

namespace vdist::api::openai {

/// Const and stateless but for what the constructor was told: chunks may be written again, for a client that resumes.
class chunk_writer {
public:
  enum class kind : std::uint8_t { completion, chat };

  chunk_writer(kind what, const response_head& head, const stream_options& options);

  /// The first chunk of a chat's choice: its role and an empty text. Nothing for completions.
  void begin(std::string& out, std::int32_t index, const usage& so_far) const;

  /// What a choice got, and its end when there is a reason.
  void add(std::string& out, const choice_text& choice, const usage& so_far) const;

  /// The last chunk, with the usage. Nothing unless include_usage is set.
  void finish(std::string& out, const usage& spent) const;

private:
  void close(std::string& out, const usage& so_far) const;

  kind kind_;
  stream_options options_;
  std::string opening_; // of every chunk, up to its choices
};

} // namespace vdist::api::openai
