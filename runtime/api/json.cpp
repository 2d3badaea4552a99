#include "runtime/api/json.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

namespace vdist::api {

namespace {

using nlohmann::json;

/// Watches the parser: levels and doubled keys, neither of which it refuses itself.
struct watcher {
  std::size_t depth_max;
  std::vector<std::unordered_set<std::string>> keys; // one set per open object
  std::size_t depth = 0;
  std::string doubled;
  bool is_too_deep = false;

  bool operator()(json::parse_event_t event, json& parsed) {
    using enum json::parse_event_t;
    if (event == object_start || event == array_start) {
      ++depth;
      is_too_deep = is_too_deep || depth > depth_max;
    } else if (event == object_end || event == array_end) {
      --depth;
    }
    if (event == object_start) {
      keys.emplace_back();
    } else if (event == object_end) {
      keys.pop_back();
    } else if (event == key && !keys.empty() && doubled.empty()) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(name).second) {
        doubled = name;
      }
    }
    return !is_too_deep; // false: the parser drops the value instead of building it
  }
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

} // namespace

std::optional<std::size_t> invalid_utf8_at(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = sequence_length(lead);
    if (length == 0 || at + length > text.size()) {
      return at;
    }
    for (std::size_t i = 1; i < length; ++i) {
      const auto byte = static_cast<unsigned char>(text[at + i]);
      if (i == 1 ? !is_second_byte(lead, byte) : (byte & 0xc0) != 0x80) {
        return at;
      }
    }
    at += length;
  }
  return std::nullopt;
}

result<json> parse_object(std::string_view text, std::size_t depth_max) {
  if (const std::optional<std::size_t> at = invalid_utf8_at(text)) {
    return fail(errc::invalid_argument, fmt::format("not valid utf-8 (byte={})", *at + 1));
  }
  watcher watch{.depth_max = depth_max};
  json value;
  try {
    value = json::parse(text, [&watch](int, json::parse_event_t event, json& parsed) {
      return watch(event, parsed);
    });
  } catch (const json::parse_error& e) {
    return fail(errc::invalid_argument, fmt::format("not valid json (byte={})", e.byte));
  } catch (const json::exception&) {
    return fail(errc::invalid_argument, "not valid json: a number is out of range");
  }
  if (watch.is_too_deep) {
    return fail(errc::invalid_argument,
                fmt::format("nested too deep; legal: {} levels", depth_max));
  }
  if (!watch.doubled.empty()) {
    return fail(errc::invalid_argument,
                fmt::format("field {} is there twice", shown_text(watch.doubled)));
  }
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
