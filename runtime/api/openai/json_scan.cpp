#include "runtime/api/openai/json_scan.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

constexpr std::string_view spaces = " \t\n\r";

std::size_t skip_spaces(std::string_view text, std::size_t at) noexcept {
  return std::min(text.find_first_not_of(spaces, at), text.size());
}

/// The byte behind the string that begins at `at`.
std::size_t string_end(std::string_view text, std::size_t at) noexcept {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    at += text[at] == '\\' ? 1 : 0;
  }
  return std::min(at + 1, text.size());
}

/// The byte behind the value that begins at `at`.
std::size_t value_end(std::string_view text, std::size_t at) noexcept {
  std::size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = string_end(text, at);
      if (depth == 0) {
        return at;
      }
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}' || c == ']' || spaces.find(c) != spaces.npos)) {
      return at; // behind a number or a word
    }
    if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return at + 1;
    }
    ++at;
  }
  return at;
}

std::string unescaped(std::string_view string) {
  if (string.find('\\') == std::string_view::npos) {
    return std::string(string.substr(1, string.size() - 2));
  }
  const auto parsed = nlohmann::json::parse(string, nullptr, false);
  return parsed.is_string() ? parsed.get<std::string>() : std::string();
}

/// Calls take(begin of entry) → end of entry for everything between the brackets.
template <class Take>
void for_each_entry(std::string_view text, Take take) {
  auto at = skip_spaces(text, skip_spaces(text, 0) + 1);
  while (at < text.size() && text[at] != '}' && text[at] != ']') {
    at = skip_spaces(text, take(at));
    if (at < text.size() && text[at] == ',') {
      at = skip_spaces(text, at + 1);
    }
  }
}

} // namespace

std::vector<json_member> json_members(std::string_view object) {
  std::vector<json_member> members;
  for_each_entry(object, [&members, object](std::size_t begin) {
    const auto name_end = string_end(object, begin);
    const auto colon = skip_spaces(object, name_end);
    const auto value = skip_spaces(object, colon + 1);
    const auto end = value_end(object, value);
    members.emplace_back(unescaped(object.substr(begin, name_end - begin)),
                         object.substr(value, end - value));
    return end;
  });
  return members;
}

std::vector<std::string_view> json_elements(std::string_view list) {
  std::vector<std::string_view> elements;
  for_each_entry(list, [&elements, list](std::size_t begin) {
    const auto end = value_end(list, begin);
    elements.push_back(list.substr(begin, end - begin));
    return end;
  });
  return elements;
}

std::string_view json_member_of(std::string_view object, std::string_view name) {
  for (const auto& [key, value] : json_members(object)) {
    if (key == name) {
      return value;
    }
  }
  return {};
}

std::size_t widest_object(std::string_view value) {
  std::size_t widest = 0;
  std::vector<std::size_t> members; // of each object and list that is open; lists have none
  for (std::size_t at = 0; at < value.size();) {
    const char c = value[at];
    if (c == '"') {
      at = string_end(value, at);
      continue;
    }
    if (c == '{' || c == '[') {
      members.push_back(0);
    } else if ((c == '}' || c == ']') && !members.empty()) {
      members.pop_back();
    } else if (c == ':' && !members.empty()) {
      widest = std::max(widest, ++members.back());
    }
    ++at;
  }
  return widest;
}

} // namespace vdist::api::openai
