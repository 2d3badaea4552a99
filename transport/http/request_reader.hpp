// transport/http/request_reader.hpp — one request out of bytes that come in any pieces. No sockets, no
// time. Internal to transport/http.
// Q-1 The outcome depends on the bytes only, not on how they were cut. Q-2 Lines end with CR LF: a CR
// or LF alone, a folded header or a NUL is refused as soon as it is seen. Q-3 No more than
// header_bytes_max, chunk_line_bytes_max, trailer_bytes_max and body_bytes_max are ever kept; memory
// grows with what came, never with what was announced. Q-4 Bytes behind the request are left alone.
// Bodies are not Beast's: 1.74 has no bound for chunk lines and trailers, accepts a bare LF in a quoted
// extension, and aborts on a last chunk that comes in two pieces (BOOST_ASSERT(n >= 5)).
// Not thread-safe. Cost: each byte is looked at once and copied once, those of a head twice.
#pragma once

#include "transport/http/request_head.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace vdist::http {

class request_reader {
public:
  enum class state { head, body, complete, refused };

  /// `bounds` must outlive this object.
  explicit request_reader(const limits& bounds) noexcept : bounds_(&bounds) {}

  /// Takes in bytes and says how many; fewer than there are only in `complete` and `refused`.
  std::size_t feed(std::string_view bytes);

  [[nodiscard]] state now() const noexcept { return state_; }

  /// In `body`: nothing of it came yet, and the client waits for `100 Continue`.
  [[nodiscard]] bool wants_continue() const noexcept;

  /// In `refused`.
  [[nodiscard]] const refusal& cause() const noexcept { return cause_; }

  /// From `body` on. In `complete` with its body; the caller may move from it.
  [[nodiscard]] request_head& head() noexcept { return head_; }

  /// Of the body, framing included.
  [[nodiscard]] std::uint64_t body_bytes_received() const noexcept { return received_; }

  /// Bytes of the body that are kept.
  [[nodiscard]] std::size_t bytes_kept() const noexcept { return head_.asked.body.size(); }

private:
  enum class chunk_part { size, data, data_end, trailer };

  std::size_t feed_head(std::string_view bytes);
  std::size_t feed_length(std::string_view bytes);
  std::size_t feed_chunked(std::string_view bytes);
  std::size_t feed_data(std::string_view bytes);
  /// Collects a line in text_; true when it is whole, without its end.
  bool take_line(std::string_view& bytes, std::size_t bytes_max, const refusal& too_long);
  void scan_head();
  void end_line(std::size_t at);
  void end_head(std::size_t end);
  void take_size(std::string_view line);
  void take_trailer(std::string_view line);
  void refuse(const refusal& cause) noexcept;

  const limits* bounds_;
  state state_ = state::head;
  chunk_part part_ = chunk_part::size;
  refusal cause_;
  request_head head_;
  std::string text_;        // the head so far, then a line of the chunked framing
  std::size_t begin_ = 0;   // of the request line: 2 behind an empty line
  std::size_t line_ = 0;    // where the present line of the head begins
  std::size_t scanned_ = 0; // of text_
  std::size_t lines_ = 0;   // of the head, whole ones
  std::uint64_t left_ = 0;  // of the body, or of its present chunk
  std::uint64_t received_ = 0;
  std::size_t trailer_bytes_ = 0;
};

} // namespace vdist::http
