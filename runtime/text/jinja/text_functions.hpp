// runtime/text/jinja/text_functions.hpp — what filters and methods of strings share. Results lie in the
// workspace or are parts of the argument; work is paid for.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace vdist::text::jinja {

enum class strip_side : std::uint8_t { left, right, both };

/// `set` is None for white space, otherwise a string of characters.
[[nodiscard]] std::string_view
stripped(workspace& space, std::string_view utf8, const value& set, strip_side side);

/// str.replace; a negative count is no bound.
[[nodiscard]] value replaced(workspace& space,
                             std::string_view utf8,
                             std::string_view old,
                             std::string_view by,
                             integer count);

[[nodiscard]] value
centred(workspace& space, std::string_view utf8, integer width, std::string_view fill);

/// str.split() without a separator.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view utf8);

/// dict.items()
[[nodiscard]] value dict_view_of_items(workspace& space, const value& of);

} // namespace vdist::text::jinja
