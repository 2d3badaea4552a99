#include "tests/bench/serve/http_wire.hpp"

#include <algorithm>
#include <charconv>

namespace vdist::bench::serve {

namespace {

constexpr std::string_view line_end = "\r\n";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_same(std::string_view a, std::string_view lower_case) {
  return std::equal(a.begin(), a.end(), lower_case.begin(), lower_case.end(), [](char x, char y) {
    return lower(x) == y;
  });
}

bool begins_with(std::string_view text, std::string_view lower_case) {
  return is_same(text.substr(0, lower_case.size()), lower_case);
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <class Number>
std::optional<Number> number_in(std::string_view text, int base) {
  Number value = 0;
  const auto [end, cause] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  const bool is_whole = cause == std::errc() && end == text.data() + text.size();
  return is_whole && !text.empty() ? std::optional(value) : std::nullopt;
}

} // namespace

void response_parser::reset() {
  *this = {};
}

std::size_t response_parser::feed(std::string_view bytes, const body_sink& sink) {
  std::size_t taken = 0;
  while (taken < bytes.size() && (state_ == state::head || state_ == state::body)) {
    const auto rest = bytes.substr(taken);
    taken += state_ == state::head ? feed_head(rest) : feed_body(rest, sink);
  }
  return taken;
}

void response_parser::end() {
  const bool is_whole = state_ == state::body && framing_ == framing::until_end;
  if (state_ != state::complete) {
    state_ = is_whole ? state::complete : state::broken;
  }
  keeps_alive_ = false;
}

std::size_t response_parser::feed_head(std::string_view bytes) {
  constexpr std::string_view head_end = "\r\n\r\n";
  const auto before = line_.size();
  const auto room = head_bytes_max - before;
  line_.append(bytes.substr(0, room));
  const auto from = before < head_end.size() ? 0 : before - head_end.size();
  const auto at = line_.find(head_end, from);
  if (at == std::string::npos) {
    if (line_.size() >= head_bytes_max) {
      state_ = state::broken;
    }
    return std::min(bytes.size(), room);
  }
  const auto whole = at + head_end.size();
  line_.resize(at + line_end.size());
  take_head();
  line_.clear();
  return whole - before;
}

void response_parser::take_head() {
  // HTTP/1.1 200 OK
  constexpr std::size_t status_at = 9;
  constexpr std::size_t status_digits = 3;
  std::string_view head = line_;
  constexpr int status_least = 100;
  const bool is_http_1 = head.starts_with("HTTP/1.1 ") || head.starts_with("HTTP/1.0 ");
  status_ = is_http_1 && head.size() > status_at + status_digits
                ? number_in<int>(head.substr(status_at, status_digits), 10).value_or(0)
                : 0;
  if (status_ < status_least) {
    state_ = state::broken;
    return;
  }
  length_.reset();
  is_chunked_ = false;
  is_event_stream_ = false;
  keeps_alive_ = head.starts_with("HTTP/1.1 ");
  for (head.remove_prefix(head.find(line_end) + line_end.size());
       !head.empty() && state_ == state::head;
       head.remove_prefix(head.find(line_end) + line_end.size())) {
    take_header(head.substr(0, head.find(line_end)));
  }
  constexpr int status_no_content = 204;
  constexpr int status_not_modified = 304;
  if (state_ == state::broken || status_ < 200) {
    return; // an interim answer: the next head follows
  }
  state_ = state::body;
  if (status_ == status_no_content || status_ == status_not_modified) {
    state_ = state::complete;
  } else if (is_chunked_) {
    framing_ = framing::chunk_line;
  } else if (length_) {
    framing_ = framing::length;
    left_ = *length_;
    state_ = left_ == 0 ? state::complete : state::body;
  } else {
    framing_ = framing::until_end;
    keeps_alive_ = false;
  }
}

void response_parser::take_header(std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) {
    state_ = state::broken;
    return;
  }
  const auto name = line.substr(0, colon);
  const auto value = trimmed(line.substr(colon + 1));
  if (is_same(name, "content-length")) {
    length_ = number_in<std::uint64_t>(value, 10);
    state_ = length_ ? state_ : state::broken;
  } else if (is_same(name, "transfer-encoding")) {
    is_chunked_ = is_same(value, "chunked");
    state_ = is_chunked_ ? state_ : state::broken;
  } else if (is_same(name, "content-type")) {
    is_event_stream_ = begins_with(value, "text/event-stream");
  } else if (is_same(name, "connection")) {
    keeps_alive_ = is_same(value, "keep-alive") || (keeps_alive_ && !is_same(value, "close"));
  }
}

std::size_t response_parser::feed_body(std::string_view bytes, const body_sink& sink) {
  switch (framing_) {
  case framing::until_end:
    sink(bytes);
    return bytes.size();
  case framing::length:
  case framing::chunk_data: {
    const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
    sink(bytes.substr(0, taken));
    left_ -= taken;
    if (left_ == 0) {
      const bool is_last = framing_ == framing::length;
      framing_ = framing::chunk_end;
      state_ = is_last ? state::complete : state::body;
    }
    return taken;
  }
  case framing::chunk_line:
  case framing::chunk_end:
  case framing::trailer:
    return feed_line(bytes);
  }
  return bytes.size();
}

std::size_t response_parser::feed_line(std::string_view bytes) {
  const auto newline = bytes.find('\n');
  const auto taken = newline == std::string_view::npos ? bytes.size() : newline + 1;
  if (line_.size() + taken > line_bytes_max) {
    state_ = state::broken;
    return bytes.size();
  }
  line_.append(bytes.substr(0, taken));
  if (line_.ends_with('\n')) {
    line_.resize(line_.size() - (line_.ends_with(line_end) ? line_end.size() : 1));
    take_line();
    line_.clear();
  }
  return taken;
}

void response_parser::take_line() {
  if (framing_ == framing::chunk_end) { // behind a chunk's data stands nothing
    framing_ = framing::chunk_line;
    state_ = line_.empty() ? state::body : state::broken;
    return;
  }
  if (framing_ == framing::trailer) {
    state_ = line_.empty() ? state::complete : state::body;
    return;
  }
  const auto size =
      number_in<std::uint64_t>(trimmed(std::string_view(line_).substr(0, line_.find(';'))), 16);
  if (!size) {
    state_ = state::broken;
    return;
  }
  left_ = *size;
  framing_ = left_ == 0 ? framing::trailer : framing::chunk_data;
}

void event_parser::reset() {
  *this = {};
}

bool event_parser::feed(std::string_view bytes, const event_sink& sink) {
  while (!bytes.empty() && !is_broken_) {
    if (skips_newline_ && bytes.front() == '\n') {
      bytes.remove_prefix(1);
    }
    skips_newline_ = false;
    const auto end = bytes.find_first_of("\r\n");
    if (line_.size() + data_.size() + std::min(end, bytes.size()) > event_bytes_max) {
      is_broken_ = true;
      break;
    }
    if (end == std::string_view::npos) {
      line_.append(bytes);
      break;
    }
    skips_newline_ = bytes[end] == '\r';
    if (line_.empty()) {
      take_line(bytes.substr(0, end), sink);
    } else {
      line_.append(bytes.substr(0, end));
      take_line(line_, sink);
      line_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
  return !is_broken_;
}

void event_parser::take_line(std::string_view line, const event_sink& sink) {
  constexpr std::string_view field = "data";
  if (line.empty()) {
    if (has_data_) {
      sink(data_);
    }
    data_.clear();
    has_data_ = false;
    return;
  }
  if (!line.starts_with(field)) {
    return; // a comment, an id, an event's type
  }
  line.remove_prefix(field.size());
  if (!line.empty() && line.front() != ':') {
    return; // a longer name
  }
  line.remove_prefix(std::min<std::size_t>(line.size(), 1));
  line.remove_prefix(line.starts_with(' ') ? 1 : 0);
  if (has_data_) {
    data_ += '\n';
  }
  data_ += line;
  has_data_ = true;
}

} // namespace vdist::bench::serve
