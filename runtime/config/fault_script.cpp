#include "runtime/config/fault_script.hpp"

#include "runtime/config/load.hpp"
#include "runtime/config/toml.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <limits>

namespace vdist::config {

namespace {

error bad(std::string_view name, const toml::node& at, std::string_view what) {
  return fail(errc::bad_configuration,
              fmt::format("{}:{}: {}", name, at.source().begin.line, what));
}

/// The legal keys of one table; anything else is an error.
template <std::size_t N>
result<void> check_keys(std::string_view name,
                        const toml::table& table,
                        const std::array<std::string_view, N>& legal) {
  for (const auto& [key, value] : table) {
    const std::string_view word(key.str());
    if (std::find(legal.begin(), legal.end(), word) == legal.end()) {
      return bad(
          name, value, fmt::format("unknown key \"{}\" (legal: {})", word, fmt::join(legal, ", ")));
    }
  }
  return {};
}

/// An optional whole number that is not negative.
template <class T>
result<void> read_number(std::string_view name,
                         const toml::table& table,
                         std::string_view key,
                         std::optional<T>& into) {
  const auto* node = table.get(key);
  if (node == nullptr) {
    return {};
  }
  const auto value = node->value_exact<std::int64_t>();
  if (!value || *value < 0 || *value > std::numeric_limits<T>::max()) {
    return bad(name, *node, fmt::format("{}: must be a whole number that is not negative", key));
  }
  into = static_cast<T>(*value);
  return {};
}

struct parsed_action {
  failpoint_action action = failpoint_action::throw_error;
  std::int64_t argument = 0;
};

/// "delay(500)" → delay, 500.
std::optional<parsed_action> parse_action(std::string_view text) {
  const auto open = text.find('(');
  const auto word = text.substr(0, open);
  parsed_action parsed;
  const bool has_argument = open != std::string_view::npos;
  if (has_argument) {
    const auto number = text.substr(open + 1, text.size() - open - 2);
    const auto end = number.data() + number.size();
    const auto read = std::from_chars(number.data(), end, parsed.argument);
    if (!text.ends_with(')') || read.ec != std::errc{} || read.ptr != end || parsed.argument < 0) {
      return std::nullopt;
    }
  }
  if (word == "throw" && !has_argument) {
    parsed.action = failpoint_action::throw_error;
  } else if (word == "kill_actor" && !has_argument) {
    parsed.action = failpoint_action::kill_actor;
  } else if (word == "delay" && has_argument) {
    parsed.action = failpoint_action::delay;
  } else if (word == "exit" && has_argument && parsed.argument <= 255) {
    parsed.action = failpoint_action::exit;
  } else if (word == "kill9" && !has_argument) {
    parsed.action = failpoint_action::kill9;
  } else {
    return std::nullopt;
  }
  return parsed;
}

result<failpoint_rule> read_fault(std::string_view name, const toml::table& fault) {
  constexpr std::array<std::string_view, 3> fault_keys{"at", "action", "count"};
  constexpr std::array<std::string_view, 5> place_keys{"point", "replica", "stage", "rank", "step"};
  VDIST_TRY(check_keys(name, fault, fault_keys));
  const auto* at = fault["at"].as_table();
  const auto point = at != nullptr ? (*at)["point"].value_exact<std::string>() : std::nullopt;
  if (!point) {
    return bad(name,
               fault,
               "fault: at.point is missing (for example at = { point = \"worker.step_begin\" })");
  }
  VDIST_TRY(check_keys(name, *at, place_keys));
  failpoint_rule rule{.point = *point};
  VDIST_TRY(read_number(name, *at, "replica", rule.replica));
  VDIST_TRY(read_number(name, *at, "stage", rule.stage));
  VDIST_TRY(read_number(name, *at, "rank", rule.rank));
  VDIST_TRY(read_number(name, *at, "step", rule.step));
  std::optional<std::uint32_t> count;
  VDIST_TRY(read_number(name, fault, "count", count));
  rule.count = count.value_or(1);
  const auto text = fault["action"].value_exact<std::string>();
  const auto parsed = text ? parse_action(*text) : std::nullopt;
  if (!parsed) {
    return bad(name,
               fault,
               "fault: action must be one of throw, kill_actor, delay(ms), exit(code), kill9");
  }
  rule.action = parsed->action;
  rule.argument = parsed->argument;
  return rule;
}

} // namespace

result<fault_script> parse_fault_script(std::string_view text, std::string_view name) {
  constexpr std::array<std::string_view, 3> root_keys{"fault", "expect", "seed"};
  const result<toml::table> parsed = parse_toml(text, name);
  if (!parsed) {
    return parsed.error();
  }
  VDIST_TRY(check_keys(name, *parsed, root_keys));
  const auto* faults = (*parsed)["fault"].as_array();
  if (faults == nullptr || faults->empty()) {
    return fail(errc::bad_configuration, fmt::format("{}: no [[fault]]", name));
  }
  fault_script script;
  for (const auto& entry : *faults) {
    const auto* fault = entry.as_table();
    if (fault == nullptr) {
      return bad(name, entry, "fault: must be a table, written [[fault]]");
    }
    VDIST_ASSIGN(auto rule, read_fault(name, *fault));
    script.rules.push_back(std::move(rule));
  }
  return script;
}

result<fault_script> load_fault_script(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    return fail(errc::not_found, fmt::format("{}: the fault script cannot be read", file.string()));
  }
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (text.size() > config_bytes_max) {
    return fail(errc::bad_configuration,
                fmt::format("{}: larger than {} bytes", file.string(), config_bytes_max));
  }
  return parse_fault_script(text, file.string());
}

} // namespace vdist::config
