// tests/bench/serve/http_wire.hpp — what a client reads: an HTTP/1.1 answer and the server-sent events in it, in whatever pieces
// they come. Written apart from the server's own code, so that the two do not share a mistake.
// R-1 The pieces that bytes come in change nothing. R-2 Nothing grows beyond its bound: heads head_bytes_max, chunk lines
// line_bytes_max, events event_bytes_max. R-3 Bytes behind a complete answer are not taken.
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::bench::serve {

inline constexpr std::size_t head_bytes_max = std::size_t{64} << 10U;
inline constexpr std::size_t line_bytes_max = std::size_t{1} << 10U;
inline constexpr std::size_t event_bytes_max = std::size_t{4} << 20U;

/// One answer. Interim answers (1xx) are skipped.
class response_parser {
public:
  enum class state : std::uint8_t { head, body, complete, broken };

  /// Called with each part of the body; valid during the call.
  using body_sink = std::function<void(std::string_view)>;

  /// Returns how many bytes it took; fewer than given only when complete or broken.
  std::size_t feed(std::string_view bytes, const body_sink& sink);

  /// The server has ended its side: completes a body that only that ends, else the answer is broken unless complete.
  void end();

  /// For the next answer.
  void reset();

  [[nodiscard]] state now() const noexcept { return state_; }

  /// Of the head, from state::body on.
  [[nodiscard]] int status() const noexcept { return status_; }

  [[nodiscard]] bool is_event_stream() const noexcept { return is_event_stream_; }

  [[nodiscard]] bool keeps_alive() const noexcept { return keeps_alive_; }

  /// Whether any byte of an answer has come.
  [[nodiscard]] bool has_begun() const noexcept { return state_ != state::head || !line_.empty(); }

private:
  enum class framing : std::uint8_t {
    length,
    chunk_line,
    chunk_data,
    chunk_end,
    trailer,
    until_end
  };

  [[nodiscard]] std::size_t feed_head(std::string_view bytes);
  [[nodiscard]] std::size_t feed_body(std::string_view bytes, const body_sink& sink);
  [[nodiscard]] std::size_t feed_line(std::string_view bytes);
  void take_head();
  void take_header(std::string_view line);
  void take_line();

  state state_ = state::head;
  framing framing_ = framing::until_end;
  std::string line_;       // the head, or a line of chunked framing, as far as it has come
  std::uint64_t left_ = 0; // of the body or chunk
  int status_ = 0;
  std::optional<std::uint64_t> length_;
  bool is_chunked_ = false;
  bool is_event_stream_ = false;
  bool keeps_alive_ = true;
};

/// The events of one text/event-stream: their data, comments and other fields left out.
class event_parser {
public:
  /// Called with the data of each event; valid during the call.
  using event_sink = std::function<void(std::string_view)>;

  /// False: an event is larger than event_bytes_max; nothing more is taken.
  [[nodiscard]] bool feed(std::string_view bytes, const event_sink& sink);

  void reset();

private:
  void take_line(std::string_view line, const event_sink& sink);

  std::string line_; // as far as it has come
  std::string data_;
  bool has_data_ = false;
  bool skips_newline_ = false; // the line before ended with a CR
  bool is_broken_ = false;
};

} // namespace vdist::bench::serve
