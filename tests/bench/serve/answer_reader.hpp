// tests/bench/serve/answer_reader.hpp — from the body of one answer to what is measured of it: when tokens came, how many, and
// how it ended. Completions and chats, streamed or whole, of any server that speaks OpenAI's API.
// A-1 An answer is ok only when it is whole: a stream has its [DONE], a whole answer its choices. A-2 An event counts as tokens
// when the server says so (usage in every chunk), else when it has text.
// Not thread-safe.
#pragma once

#include "tests/bench/serve/http_wire.hpp"

#include "runtime/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::bench::serve {

/// How a request ended.
enum class outcome : std::uint8_t {
  ok,
  refused,      // 429
  http_error,   // any other status but 200
  stream_error, // an error instead of the rest of a stream
  cut,          // the connection or the stream ended before the answer did
  malformed,    // not HTTP, or not JSON
  timed_out,
  not_connected,
  interrupted,       // we have ended the run
  count_of_outcomes, // not an outcome
};

[[nodiscard]] std::string_view to_string(outcome how) noexcept;

/// Between an event with tokens and the one before.
struct token_gap {
  double ms = 0;
  std::int64_t tokens = 1; // that the event brought
};

/// Of one answer.
struct answer_figures {
  outcome how = outcome::cut;
  int status = 0;
  std::optional<time_point> first; // of its tokens; unset of whole answers
  std::optional<time_point> last;
  std::int64_t events = 0;        // with tokens
  std::int64_t output_tokens = 0; // as the server says, else by events
  std::int64_t input_tokens = -1; // -1: the server does not say
  std::vector<token_gap> gaps;
  std::string error; // what the server says, shortened; empty: nothing
};

class answer_reader {
public:
  /// The head has come.
  void begin(int status, bool is_event_stream);

  /// A part of the body, read at `now`.
  void take(std::string_view body, time_point now);

  /// The body is complete.
  [[nodiscard]] answer_figures finish();

  /// It ended otherwise.
  [[nodiscard]] answer_figures give_up(outcome why);

private:
  void take_event(std::string_view data, time_point now);
  void take_tokens(std::int64_t count, time_point now);
  void take_whole();

  answer_figures figures_;
  event_parser events_;
  std::string body_; // of what is no stream, up to whole_bytes_max
  bool is_stream_ = false;
  bool is_done_ = false;         // [DONE] has come
  bool has_failed_ = false;      // how is set already
  std::int64_t tokens_told_ = 0; // by usage so far
};

} // namespace vdist::bench::serve
