#include "runtime/text/jinja/text_functions.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>

namespace vdist::text::jinja {

std::string_view
stripped(workspace& space, std::string_view utf8, const value& set, strip_side side) {
  space.spend_bytes(utf8.size());
  if (set.is_none()) {
    utf8 = side == strip_side::right ? utf8 : strip_left(utf8);
    return side == strip_side::left ? utf8 : strip_right(utf8);
  }
  const auto characters = require_string(set, "strip");
  space.spend(1 + utf8.size() * (1 + characters.size()) / 64);
  utf8 = side == strip_side::right ? utf8 : strip_left(utf8, characters);
  return side == strip_side::left ? utf8 : strip_right(utf8, characters);
}

value replaced(workspace& space,
               std::string_view utf8,
               std::string_view old,
               std::string_view by,
               integer count) {
  auto left = count < 0 ? static_cast<integer>(utf8.size()) + 1 : count;
  auto made = space.text();
  made.reserve(utf8.size());
  std::size_t at = 0;
  if (old.empty()) { // before every character, and at the end
    for (; left > 0 && at < utf8.size(); --left) {
      space.spend_bytes(by.size());
      made += by;
      const auto bytes = code_point_at(utf8, at).bytes;
      made += utf8.substr(at, bytes);
      at += bytes;
    }
    made += utf8.substr(at);
    made += left > 0 ? by : "";
    return space.done(std::move(made));
  }
  space.spend_bytes(utf8.size());
  for (; left > 0; --left) {
    const auto found = find_text(utf8, old, at);
    if (found == std::string_view::npos) {
      break;
    }
    space.spend_bytes(by.size());
    made += utf8.substr(at, found - at);
    made += by;
    at = found + old.size();
  }
  made += utf8.substr(at);
  return space.done(std::move(made));
}

value centred(workspace& space, std::string_view utf8, integer width, std::string_view fill) {
  const auto length = static_cast<integer>(count_characters(utf8));
  auto missing = std::max(width - length, integer{0});
  // Python puts the odd one to the left where the width is odd.
  const auto before = missing / 2 + (missing & width & 1);
  auto made = space.text();
  const auto pad = [&](integer count) {
    for (; count > 0; --count) {
      space.spend_bytes(0);
      made += fill;
    }
  };
  pad(before);
  made += utf8;
  pad(missing - before);
  return space.done(std::move(made));
}

std::vector<std::string_view> split_words(std::string_view utf8) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto c = code_point_at(utf8, at);
    if (is_python_space(c.value)) {
      if (at > begin) {
        words.push_back(utf8.substr(begin, at - begin));
      }
      begin = at + c.bytes;
    }
    at += c.bytes;
  }
  if (begin < utf8.size()) {
    words.push_back(utf8.substr(begin));
  }
  return words;
}

value dict_view_of_items(workspace& space, const value& of) {
  return dict_view(space, of.as_dict(), dict_part::items);
}

} // namespace vdist::text::jinja
