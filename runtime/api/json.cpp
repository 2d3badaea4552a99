#include "runtime/api/json.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

namespace vdist::api {

namespace {

using nlohmann::json;

/// Builds the tree from the parser's events and stops at what the library's own builder would take: levels and doubled
/// keys. (That one, with a callback, also searches all earlier elements of a list at the end of each object in it.)
class tree_builder {
public:
  explicit tree_builder(std::size_t depth_max) : depth_max_(depth_max) {}

  /// Why the parser stopped. Call it when it has.
  [[nodiscard]] std::string cause() const { return cause_; }

  [[nodiscard]] json take() { return std::move(root_); }

  // What the parser calls; false stops it.
  bool null() { return put(nullptr); }

  bool boolean(bool value) { return put(value); }

  bool number_integer(json::number_integer_t value) { return put(value); }

  bool number_unsigned(json::number_unsigned_t value) { return put(value); }

  bool number_float(json::number_float_t value, const std::string&) { return put(value); }

  bool string(std::string& value) { return put(std::move(value)); }

  bool binary(json::binary_t&) { return false; } // not in JSON

  bool start_object(std::size_t) { return open(json::object()); }

  bool start_array(std::size_t) { return open(json::array()); }

  bool end_object() { return close(); }

  bool end_array() { return close(); }

  bool key(const std::string& name) {
    const auto [member, is_new] = open_.back()->emplace(name, nullptr);
    member_ = &*member;
    return is_new || stop(fmt::format("field {} is there twice", shown_text(name)));
  }

  bool parse_error(std::size_t byte, const std::string&, const json::exception& what) {
    constexpr int number_is_out_of_range = 406;
    return stop(what.id == number_is_out_of_range
                    ? std::string("not valid json: a number is out of range")
                    : fmt::format("not valid json (byte={})", byte));
  }

private:
  bool stop(std::string cause) {
    cause_ = std::move(cause);
    return false;
  }

  json& add(json value) {
    if (open_.empty()) {
      return root_ = std::move(value);
    }
    return open_.back()->is_array() ? open_.back()->emplace_back(std::move(value))
                                    : *member_ = std::move(value);
  }

  bool put(json value) {
    add(std::move(value));
    return true;
  }

  bool open(json value) {
    if (open_.size() == depth_max_) {
      return stop(fmt::format("nested too deep; legal: {} levels", depth_max_));
    }
    open_.push_back(&add(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::size_t depth_max_;
  json root_;
  std::vector<json*> open_; // from the root inwards; none moves while what is in it is open
  json* member_ = nullptr;  // of the innermost object, waiting for its value
  std::string cause_;
};

/// Bytes of the sequence that begins with this byte, 0 when none does.
std::size_t sequence_length(unsigned char lead) noexcept {
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf) {
    return 2;
  }
  if (lead >= 0xe0 && lead <= 0xef) {
    return 3;
  }
  return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/// Overlong forms, surrogates and code points beyond U+10FFFF differ from valid ones in the second
/// byte.
bool is_second_byte(unsigned char lead, unsigned char byte) noexcept {
  switch (lead) {
  case 0xe0:
    return byte >= 0xa0 && byte <= 0xbf;
  case 0xed:
    return byte >= 0x80 && byte <= 0x9f;
  case 0xf0:
    return byte >= 0x90 && byte <= 0xbf;
  case 0xf4:
    return byte >= 0x80 && byte <= 0x8f;
  default:
    return byte >= 0x80 && byte <= 0xbf;
  }
}

struct sequence {
  std::size_t bytes = 0; // of the character; of a broken one: its longest start, at least 1
  bool is_whole = false;
};

/// The character that begins at `at`, or what stands there instead of one.
sequence sequence_at(std::string_view text, std::size_t at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t length = sequence_length(lead);
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) {
      return {.bytes = i, .is_whole = false};
    }
    const auto byte = static_cast<unsigned char>(text[at + i]);
    if (i == 1 ? !is_second_byte(lead, byte) : (byte & 0xc0) != 0x80) {
      return {.bytes = i, .is_whole = false};
    }
  }
  return length == 0 ? sequence{.bytes = 1, .is_whole = false}
                     : sequence{.bytes = length, .is_whole = true};
}

bool needs_escape(unsigned char byte) noexcept {
  return byte < 0x20 || byte == '"' || byte == '\\';
}

void append_escape(std::string& out, unsigned char byte) {
  constexpr std::string_view digits = "0123456789abcdef";
  constexpr std::string_view named = "\"\\\b\f\n\r\t"; // what has an escape of one letter …
  constexpr std::string_view letters = "\"\\bfnrt";    // … and that letter
  out.push_back('\\');
  if (const auto known = named.find(static_cast<char>(byte)); known != std::string_view::npos) {
    out.push_back(letters[known]);
    return;
  }
  out.append("u00");
  out.push_back(digits[byte >> 4U]);
  out.push_back(digits[byte & 0xfU]);
}

} // namespace

std::optional<std::size_t> invalid_utf8_at(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto [bytes, is_whole] = sequence_at(text, at);
    if (!is_whole) {
      return at;
    }
    at += bytes;
  }
  return std::nullopt;
}

std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += sequence_at(text, at).bytes) {
    ++count;
  }
  return count;
}

void append_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  std::size_t copied = 0; // bytes of text that are in out
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80 && !needs_escape(byte)) {
      ++at;
      continue;
    }
    const auto [bytes, is_whole] = sequence_at(text, at);
    if (byte >= 0x80 && is_whole) {
      at += bytes;
      continue;
    }
    out.append(text, copied, at - copied);
    if (byte >= 0x80) {
      out.append("\xEF\xBF\xBD");
    } else {
      append_escape(out, byte);
    }
    at += bytes;
    copied = at;
  }
  out.append(text, copied);
  out.push_back('"');
}

result<json> parse_object(std::string_view text, std::size_t depth_max) {
  if (const std::optional<std::size_t> at = invalid_utf8_at(text)) {
    return fail(errc::invalid_argument, fmt::format("not valid utf-8 (byte={})", *at + 1));
  }
  tree_builder tree(depth_max);
  if (!json::sax_parse(text, &tree)) {
    return fail(errc::invalid_argument, tree.cause());
  }
  json value = tree.take();
  if (!value.is_object()) {
    return fail(errc::invalid_argument,
                fmt::format("must be a json object (got {})", shown(value)));
  }
  return value;
}

std::string shown_text(std::string_view text) {
  std::string out(text.substr(0, shown_bytes_max));
  // Cutting may have split a character: leave the broken end away.
  if (const std::optional<std::size_t> at = invalid_utf8_at(out)) {
    out.resize(*at);
  }
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return out.size() < text.size() ? out + "…" : out;
}

std::string shown(const json& value) {
  if (value.is_object()) {
    return "an object";
  }
  if (value.is_array()) {
    return fmt::format("a list of {}", value.size());
  }
  return shown_text(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string dump_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

} // namespace vdist::api
