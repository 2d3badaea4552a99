// tests/tidy/rules.hpp — what the tree must obey, as tables: who may include whom, which library is
// at home where, which words may not be written. checks.hpp applies them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vdist::tidy {

/// Files below `from` may include files below any of `to`. A pattern is a folder ("runtime/kv"), or
/// a folder with everything below it ("model/*" matches "model" and "model/exec"). The first rule
/// that matches the including folder decides; a folder may always include itself.
struct edge_rule {
  std::string_view from;
  std::vector<std::string_view> to;
};

/// Headers that begin with `prefix` may be included by files whose path begins with one of `homes`.
struct library_rule {
  std::string_view prefix;
  std::vector<std::string_view> homes;
};

/// `token` may not occur in files below one of `places`, except those below one of `exceptions`.
struct banned_rule {
  enum class where : unsigned char {
    code,      // comments and literals do not count
    text,      // they do
    whole_word // in the text, not as a part of a longer word
  };

  std::string_view token;
  where look_in = where::code;
  std::vector<std::string_view> places;
  std::vector<std::string_view> exceptions;
  std::string_view instead; // what to write
};

[[nodiscard]] const std::vector<edge_rule>& edge_rules();
[[nodiscard]] const std::vector<library_rule>& library_rules();
[[nodiscard]] const std::vector<banned_rule>& banned_rules();

/// POSIX and Linux headers that any folder may use; headers without a dot are the standard's.
[[nodiscard]] bool is_system_header(std::string_view header);

/// Whether the edge pattern names the folder.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view folder);

} // namespace vdist::tidy
