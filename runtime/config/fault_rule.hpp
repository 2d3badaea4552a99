// runtime/config/fault_rule.hpp — the words of a fault: chains of actions and the keys of a place. Internal to the folder.
// Errors of these functions say what is wrong without saying where; the caller knows file and line.
#pragma once

#include "runtime/config/fault_script.hpp"

#include <array>
#include <string_view>

namespace vdist::config {

inline constexpr std::array<std::string_view, 7> place_keys{
    "point", "replica", "stage", "rank", "step", "request", "nth"};

/// Text and value of a key of a place; `point` is not one of them here. Errors: invalid_argument
/// (unknown key, or a value that it cannot have).
[[nodiscard]] result<void>
set_place(failpoint_rule& rule, std::string_view key, std::int64_t value);

/// "50%2*delay(20)->kill9" into the links of `rule`; those without n* act `count` times. Error:
/// invalid_argument.
[[nodiscard]] result<void>
set_action(failpoint_rule& rule, std::string_view text, std::uint32_t count);

/// One link: "stop(500)".
[[nodiscard]] result<failpoint_link> parse_link(std::string_view text, std::uint32_t count);

/// Whether the point exists, and every action means something there and for these victims. Error:
/// invalid_argument.
[[nodiscard]] result<void> check_rule(const failpoint_rule& rule, fault_victims victims);
[[nodiscard]] result<void> check_victims(failpoint_action action, fault_victims victims);

/// A whole number without sign and with nothing behind it.
[[nodiscard]] std::optional<std::int64_t> parse_whole(std::string_view text);

/// On one line, whatever bytes somebody wrote: control characters become '?'.
[[nodiscard]] std::string in_one_line(std::string text);

/// The words between blanks.
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view text);

} // namespace vdist::config
