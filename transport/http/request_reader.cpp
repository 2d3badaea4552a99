#include "transport/http/request_reader.hpp"

#include "transport/http/token.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace vdist::http {

namespace {

constexpr refusal bare_line_end{400, "lines end with CR LF, and neither stands elsewhere"};
constexpr refusal folded_line{400, "folded headers are not accepted"};
constexpr refusal bad_character{400, "a control character in the head of the request"};
constexpr refusal bad_begin{400, "the request line is malformed"};
constexpr refusal target_too_long{414, "the request target is too long"};
constexpr refusal head_too_large{431, "the headers are too large"};
constexpr refusal too_many_headers{431, "there are too many headers"};
constexpr refusal body_too_large{413, "the body is too large"};
constexpr refusal bad_chunk{400, "a chunk is malformed"};
constexpr refusal chunk_line_too_long{400, "the line of a chunk's size is too long"};
constexpr refusal bad_trailer{400, "a trailer is malformed"};
constexpr refusal trailers_too_large{431, "the trailers are too large"};

/// Longest request line besides its target: a method of any length that exists, and the version.
constexpr std::size_t request_line_bytes = 64;
/// First reservation of a body: what is announced may never come.
constexpr std::size_t first_reservation_bytes = std::size_t{256} << 10U;
/// Digits of a chunk's size: 60 bits, so that no sum of them overflows.
constexpr std::size_t size_digits_max = 15;

/// *( ";" token [ "=" ( token / quoted-string ) ] ): RFC 9112 7.1.1 without white space.
bool are_extensions(std::string_view text) {
  const auto skip_token = [&text] {
    const auto end = std::find_if_not(text.begin(), text.end(), is_token_character);
    const auto bytes = static_cast<std::size_t>(end - text.begin());
    text.remove_prefix(bytes);
    return bytes > 0;
  };
  const auto skip_quoted = [&text] {
    for (std::size_t at = 1; at < text.size(); ++at) {
      if (text[at] == '"') {
        text.remove_prefix(at + 1);
        return true;
      }
      at += text[at] == '\\' ? 1 : 0;
    }
    return false;
  };
  while (text.starts_with(';')) {
    text.remove_prefix(1);
    if (!skip_token()) {
      return false;
    }
    if (text.starts_with('=')) {
      text.remove_prefix(1);
      if (!(text.starts_with('"') ? skip_quoted() : skip_token())) {
        return false;
      }
    }
  }
  return text.empty();
}

/// Fields that say where a request ends or goes have no place behind it (RFC 9110 6.5.1).
bool is_of_the_head(std::string_view name) {
  constexpr std::array<std::string_view, 6> names{
      "content-length", "transfer-encoding", "host", "connection", "proxy-connection", "upgrade"};
  return std::any_of(
      names.begin(), names.end(), [name](std::string_view one) { return is_same_word(name, one); });
}

} // namespace

void request_reader::refuse(const refusal& cause) noexcept {
  cause_ = cause;
  state_ = state::refused;
}

bool request_reader::wants_continue() const noexcept {
  return state_ == state::body && head_.expects_continue && received_ == 0;
}

std::size_t request_reader::feed(std::string_view bytes) {
  std::size_t taken = 0;
  if (state_ == state::head) {
    taken = feed_head(bytes);
    bytes.remove_prefix(taken);
  }
  if (state_ == state::body && !bytes.empty()) {
    const auto more = head_.framing == request_head::body_framing::chunked ? feed_chunked(bytes)
                                                                           : feed_length(bytes);
    received_ += more;
    taken += more;
  }
  return taken;
}

std::size_t request_reader::feed_head(std::string_view bytes) {
  const auto before = text_.size();
  text_.append(
      bytes.substr(0, bounds_->header_bytes_max + 1 - before)); // one to see that it is too large
  scan_head();
  return scanned_ - before;
}

/// Looks at each byte once, in their order, so that the cause of a refusal is that of its first bad
/// byte. Leaves `scanned_` behind the last byte that was looked at.
void request_reader::scan_head() {
  while (scanned_ < text_.size() && state_ == state::head) {
    const auto at = scanned_++;
    const char c = text_[at];
    const bool is_line_begin = at == line_;
    const bool is_behind_cr = at > 0 && text_[at - 1] == '\r';
    if (lines_ == 0 && at - line_ >= bounds_->target_bytes_max + request_line_bytes) {
      return refuse(target_too_long);
    }
    if (at >= bounds_->header_bytes_max) {
      return refuse(lines_ == 0 ? target_too_long : head_too_large);
    }
    if (is_behind_cr != (c == '\n')) {
      return refuse(bare_line_end);
    }
    if (c == '\n') {
      end_line(at);
    } else if (is_line_begin && lines_ > 0 && (c == ' ' || c == '\t')) {
      refuse(folded_line);
    } else if (is_line_begin && lines_ == 0 && c != '\r' && !is_token_character(c)) {
      refuse(bad_begin); // TLS on a port without it, for one
    } else if (c == '\0') {
      refuse(bad_character);
    }
  }
}

/// A line of the head ends with the LF at `at`, behind a CR.
void request_reader::end_line(std::size_t at) {
  const bool is_empty = at == line_ + 1;
  line_ = at + 1;
  if (!is_empty) {
    if (++lines_ > bounds_->headers_max + 1) {
      refuse(too_many_headers);
    }
  } else if (lines_ > 0) {
    end_head(line_);
  } else if (begin_ == 0) {
    begin_ = line_; // some clients send an empty line behind a body (RFC 9112 2.2)
  } else {
    refuse(bad_begin);
  }
}

void request_reader::end_head(std::size_t end) {
  const auto refused =
      parse_head(std::string_view(text_).substr(begin_, end - begin_), *bounds_, head_);
  if (refused) {
    return refuse(*refused);
  }
  text_ = {};
  left_ = head_.body_bytes;
  if (head_.framing == request_head::body_framing::chunked) {
    left_ = 0;
    state_ = state::body;
  } else if (left_ > 0) {
    state_ = state::body;
    head_.asked.body.reserve(
        static_cast<std::size_t>(std::min<std::uint64_t>(left_, first_reservation_bytes)));
  } else {
    state_ = state::complete;
  }
}

std::size_t request_reader::feed_data(std::string_view bytes) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  head_.asked.body.append(bytes.substr(0, taken));
  left_ -= taken;
  return taken;
}

std::size_t request_reader::feed_length(std::string_view bytes) {
  const auto taken = feed_data(bytes);
  if (left_ == 0) {
    state_ = state::complete;
  }
  return taken;
}

bool request_reader::take_line(std::string_view& bytes,
                               std::size_t bytes_max,
                               const refusal& too_long) {
  while (!bytes.empty()) {
    const char c = bytes.front();
    bytes.remove_prefix(1);
    const bool is_behind_cr = !text_.empty() && text_.back() == '\r';
    if (is_behind_cr != (c == '\n')) {
      refuse(bare_line_end);
      return false;
    }
    if (c == '\n') {
      text_.pop_back(); // the CR
      return true;
    }
    text_ += c;
    if (text_.size() > bytes_max + (c == '\r' ? 1 : 0)) {
      refuse(too_long);
      return false;
    }
  }
  return false;
}

std::size_t request_reader::feed_chunked(std::string_view bytes) {
  const auto before = bytes.size();
  while (!bytes.empty() && state_ == state::body) {
    switch (part_) {
    case chunk_part::size:
      if (take_line(bytes, bounds_->chunk_line_bytes_max, chunk_line_too_long)) {
        take_size(std::exchange(text_, {}));
      }
      break;
    case chunk_part::data:
      bytes.remove_prefix(feed_data(bytes));
      if (left_ == 0) {
        part_ = chunk_part::data_end;
      }
      break;
    case chunk_part::data_end:
      if (take_line(bytes, 0, bad_chunk)) { // CR LF and nothing else
        part_ = chunk_part::size;
      }
      break;
    case chunk_part::trailer:
      if (take_line(bytes, bounds_->trailer_bytes_max - trailer_bytes_, trailers_too_large)) {
        take_trailer(std::exchange(text_, {}));
      }
      break;
    }
  }
  return before - bytes.size();
}

void request_reader::take_size(std::string_view line) {
  std::uint64_t bytes = 0;
  const auto* first = line.data();
  const auto* last = first + line.size();
  const auto [end, failure] = std::from_chars(first, last, bytes, 16);
  const auto digits = static_cast<std::size_t>(end - first);
  if (failure != std::errc() || digits > size_digits_max) {
    return refuse(bad_chunk);
  }
  // Extensions mean nothing here, but what is no extension may mean something to others.
  const auto extensions = line.substr(digits);
  if (!is_text(extensions) || !are_extensions(extensions)) {
    return refuse(bad_chunk);
  }
  if (bytes > bounds_->body_bytes_max - head_.asked.body.size()) {
    return refuse(body_too_large);
  }
  left_ = bytes;
  part_ = bytes == 0 ? chunk_part::trailer : chunk_part::data;
}

void request_reader::take_trailer(std::string_view line) {
  if (line.empty()) {
    state_ = state::complete;
    return;
  }
  const auto colon = line.find(':');
  const auto name = line.substr(0, colon);
  const bool is_field = colon != std::string_view::npos && colon > 0
                        && std::all_of(name.begin(), name.end(), is_token_character)
                        && is_text(line) && !is_of_the_head(name);
  if (!is_field) {
    return refuse(bad_trailer);
  }
  trailer_bytes_ += std::min(line.size() + 2, bounds_->trailer_bytes_max - trailer_bytes_);
}

} // namespace vdist::http
