// runtime/text/jinja/operations.hpp — what Python's operators and basic functions do with values.
// All throw template_error with Python's words where Python raises, and pay for their work (W-2).
#pragma once

#include "runtime/text/jinja/syntax.hpp"
#include "runtime/text/jinja/value.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

class workspace;

/// type(x).__name__, or what jinja2 says for undefined ones.
[[nodiscard]] std::string_view type_name(const value& one);
[[nodiscard]] std::string message_of(const undefined_cause& cause);
/// Refuses an undefined value with its cause.
void require_defined(const value& one);

[[nodiscard]] bool truth(workspace& space, const value& one);
[[nodiscard]] bool equals(workspace& space, const value& a, const value& b);
/// a < b; `symbol` is how the comparison is written, for errors.
[[nodiscard]] bool
is_less(workspace& space, const value& a, const value& b, std::string_view symbol = "<");
[[nodiscard]] bool
holds(workspace& space, comparison_operator what, const value& a, const value& b);
[[nodiscard]] bool contains(workspace& space, const value& container, const value& one);

/// Nothing for values that cannot be hashed.
[[nodiscard]] std::optional<std::size_t> hash_of(workspace& space, const value& one);

[[nodiscard]] std::size_t length_of(workspace& space, const value& one);
/// Nothing where Python has no len().
[[nodiscard]] std::optional<std::size_t> length_if_any(workspace& space, const value& one);
[[nodiscard]] iterator& iterate(workspace& space, const value& one);
[[nodiscard]] bool is_iterable(workspace& space, const value& one);
/// list(x)
[[nodiscard]] const list& elements_of(workspace& space, const value& one);

/// Not for the logical operators, whose right side may not be evaluated.
[[nodiscard]] value
arithmetic(workspace& space, binary_operator what, const value& a, const value& b);
[[nodiscard]] value unary(workspace& space, unary_operator what, const value& one);

/// x as an index or a count; `what` names it in errors.
[[nodiscard]] integer require_integer(const value& one, std::string_view what);
[[nodiscard]] std::string_view require_string(const value& one, std::string_view what);

} // namespace vdist::text::jinja
