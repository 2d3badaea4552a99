#include "runtime/config/fault_rule.hpp"

#include "runtime/config/nearest.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <limits>

namespace vdist::config {

namespace {

constexpr std::string_view arrow = "->";
constexpr std::string_view blanks = " \t";

error bad(std::string what) {
  return fail(errc::invalid_argument, in_one_line(std::move(what)));
}

std::vector<std::string_view> action_words() {
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < failpoint_actions; ++i) {
    words.push_back(to_string(static_cast<failpoint_action>(i)));
  }
  return words;
}

/// Takes what stands before the mark, if the mark is there.
std::optional<std::string_view> take_before(std::string_view& text, char mark) {
  const auto at = text.find(mark);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  const auto before = text.substr(0, at);
  text.remove_prefix(at + 1);
  return before;
}

/// "2.5" → 250 of ten thousand; from 0.01 to 100, two places at most.
std::optional<std::uint16_t> parse_percent(std::string_view text) {
  const auto point = text.find('.');
  const auto whole = parse_whole(text.substr(0, point));
  std::int64_t parts = 0;
  if (point != std::string_view::npos) {
    auto places = std::string(text.substr(point + 1));
    if (places.empty() || places.size() > 2) {
      return std::nullopt;
    }
    places.resize(2, '0');
    const auto read = parse_whole(places);
    if (!read) {
      return std::nullopt;
    }
    parts = *read;
  }
  if (!whole || *whole > 100 || *whole * 100 + parts > failpoint_certain
      || *whole * 100 + parts == 0) {
    return std::nullopt;
  }
  return static_cast<std::uint16_t>(*whole * 100 + parts);
}

/// "(500)", or nothing.
result<std::int64_t> parse_argument(std::string_view word, std::string_view text) {
  const auto wanted = argument_of(*action_of(word));
  if (wanted.name.empty()) {
    return text.empty() ? result<std::int64_t>(0)
                        : result<std::int64_t>(bad(fmt::format("{} has no argument", word)));
  }
  const bool has_braces = text.size() >= 2 && text.front() == '(' && text.back() == ')';
  const auto value = has_braces ? parse_whole(text.substr(1, text.size() - 2)) : std::nullopt;
  if (!value || *value < wanted.least || *value > wanted.most) {
    return bad(fmt::format(
        "{}({}) needs a whole number from {} to {}", word, wanted.name, wanted.least, wanted.most));
  }
  return *value;
}

std::string legal_actions(const failpoint_place& place) {
  std::string text;
  for (const auto word : action_words()) {
    if (place.actions.has(*action_of(word))) {
      text += fmt::format("{}{}", text.empty() ? "" : ", ", word);
    }
  }
  return text;
}

} // namespace

std::string in_one_line(std::string text) {
  std::replace_if(
      text.begin(),
      text.end(),
      [](char letter) {
        const auto byte = static_cast<unsigned char>(letter);
        return byte < 0x20 || byte == 0x7f;
      },
      '?');
  return text;
}

std::optional<std::int64_t> parse_whole(std::string_view text) {
  std::int64_t value = 0;
  const auto* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return read.ec == std::errc{} && read.ptr == end && !text.empty() && text.front() != '-'
             ? std::optional(value)
             : std::nullopt;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (auto from = text.find_first_not_of(blanks); from != std::string_view::npos;
       from = text.find_first_not_of(blanks)) {
    text.remove_prefix(from);
    words.push_back(text.substr(0, text.find_first_of(blanks)));
    text.remove_prefix(words.back().size());
  }
  return words;
}

result<void> set_place(failpoint_rule& rule, std::string_view key, std::int64_t value) {
  constexpr std::int64_t small = std::numeric_limits<std::int32_t>::max();
  const auto least = key == "nth" ? 1 : 0;
  const auto most =
      key == "step" || key == "request" ? std::numeric_limits<std::int64_t>::max() : small;
  if (value < least || value > most) {
    return bad(fmt::format("{}: must be a whole number from {} to {}", key, least, most));
  }
  const auto number = static_cast<std::int32_t>(std::min(value, small));
  if (key == "replica") {
    rule.replica = number;
  } else if (key == "stage") {
    rule.stage = number;
  } else if (key == "rank") {
    rule.rank = number;
  } else if (key == "step") {
    rule.step = value;
  } else if (key == "request") {
    rule.request = static_cast<std::uint64_t>(value);
  } else if (key == "nth") {
    rule.nth = static_cast<std::uint32_t>(number);
  } else {
    return bad(fmt::format("unknown key \"{}\" (legal: {})",
                           key,
                           fmt::join(place_keys.begin() + 1, place_keys.end(), ", ")));
  }
  return {};
}

result<failpoint_link> parse_link(std::string_view text, std::uint32_t count) {
  const auto whole = text;
  failpoint_link link{.count = count};
  if (const auto percent = take_before(text, '%')) {
    const auto chance = parse_percent(*percent);
    if (!chance) {
      return bad(fmt::format(
          "\"{}\": the part before % must be a number from 0.01 to 100 with two places at most",
          whole));
    }
    link.chance = *chance;
  }
  if (const auto times = take_before(text, '*')) {
    const auto number = parse_whole(*times);
    if (!number || *number > std::numeric_limits<std::uint32_t>::max()) {
      return bad(
          fmt::format("\"{}\": the part before * must be a whole number (0: always)", whole));
    }
    link.count = static_cast<std::uint32_t>(*number);
  }
  const auto word = text.substr(0, text.find('('));
  const auto action = action_of(word);
  const auto words = action_words();
  if (word.empty()) {
    return bad(fmt::format("an action is missing (legal: {})", fmt::join(words, ", ")));
  }
  if (!action) {
    return bad(fmt::format("no such action \"{}\" (did you mean {}? legal: {})",
                           word,
                           nearest(word, words),
                           fmt::join(words, ", ")));
  }
  link.action = *action;
  VDIST_ASSIGN(link.argument, parse_argument(word, text.substr(word.size())));
  return link;
}

result<void> set_action(failpoint_rule& rule, std::string_view text, std::uint32_t count) {
  std::vector<failpoint_link> links;
  for (bool is_last = false; !is_last;) {
    const auto end = text.find(arrow);
    is_last = end == std::string_view::npos;
    VDIST_ASSIGN(const auto link, parse_link(text.substr(0, end), count));
    links.push_back(link);
    text.remove_prefix(is_last ? text.size() : end + arrow.size());
    if (links.size() > failpoint_links_max) {
      return bad(fmt::format("an action has {} links at most", failpoint_links_max));
    }
  }
  rule.action = links.front().action;
  rule.argument = links.front().argument;
  rule.count = links.front().count;
  rule.chance = links.front().chance;
  rule.next.assign(links.begin() + 1, links.end());
  return {};
}

result<void> check_victims(failpoint_action action, fault_victims victims) {
  if (victims == fault_victims::threads && needs_process(action)) {
    return bad(fmt::format("{} needs workers that are processes: with cluster.isolation = "
                           "\"thread\" it would end or hold the whole program (use kill_actor or "
                           "throw)",
                           to_string(action)));
  }
  return {};
}

result<void> check_rule(const failpoint_rule& rule, fault_victims victims) {
  const auto* const place = find_failpoint(rule.point);
  if (place == nullptr) {
    std::vector<std::string_view> names;
    for (const auto& one : failpoint_places()) {
      names.push_back(one.name);
    }
    return bad(fmt::format("no such point \"{}\" (did you mean {}? legal: {})",
                           rule.point,
                           nearest(rule.point, names),
                           fmt::join(names, ", ")));
  }
  for (const auto& link : links_of(rule)) {
    if (!place->actions.has(link.action)) {
      return bad(fmt::format("{} means nothing at {} (legal there: {})",
                             to_string(link.action),
                             rule.point,
                             legal_actions(*place)));
    }
    VDIST_TRY(check_victims(link.action, victims));
  }
  return {};
}

result<failpoint_rule> parse_fault_rule(std::string_view text, fault_victims victims) {
  const auto words = words_of(text);
  if (words.size() < 2) {
    return bad("a rule is a point, keys and an action (worker.step_begin rank=1 step=40 kill9)");
  }
  failpoint_rule rule{.point = std::string(words.front())};
  for (std::size_t i = 1; i + 1 < words.size(); ++i) {
    auto word = words[i];
    const auto key = take_before(word, '=');
    const auto value = key ? parse_whole(word) : std::nullopt;
    if (!key || !value) {
      return bad(fmt::format("\"{}\": must be key=number (legal keys: {})",
                             words[i],
                             fmt::join(place_keys.begin() + 1, place_keys.end(), ", ")));
    }
    VDIST_TRY(set_place(rule, *key, *value));
  }
  VDIST_TRY(set_action(rule, words.back(), 1));
  VDIST_TRY(check_rule(rule, victims));
  return rule;
}

} // namespace vdist::config
