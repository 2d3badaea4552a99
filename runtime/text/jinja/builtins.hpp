// runtime/text/jinja/builtins.hpp — the functions that templates find ready: filters, tests, methods and
// globals. Each is a row of a table: its name, its parameters, and a plain function.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace vdist::text::jinja {

struct builtin;

/// What a call gave to a builtin's parameters, in their order.
class bound_arguments {
public:
  static constexpr std::size_t parameters_max = 6;

  bound_arguments(const builtin& callee, const value* self, const call_arguments& given);

  /// Null when the argument was left out.
  [[nodiscard]] const value* find(std::size_t parameter) const {
    return is_given_[parameter] ? &values_[parameter] : nullptr;
  }

  /// A required argument.
  [[nodiscard]] const value& operator[](std::size_t parameter) const { return values_[parameter]; }

  [[nodiscard]] value value_or(std::size_t parameter, value fallback) const {
    return is_given_[parameter] ? values_[parameter] : fallback;
  }

  /// The call itself; for builtins that take any arguments. Without `self`.
  [[nodiscard]] const call_arguments& all() const { return all_; }

private:
  std::array<value, parameters_max> values_;
  std::array<bool, parameters_max> is_given_{};
  const call_arguments& all_;
};

/// How a builtin takes its arguments.
enum class argument_style : std::uint8_t {
  by_position_or_name,
  by_position, // as functions of Python that are written in C
  any,         // the first parameter is bound, the rest is in bound_arguments::all()
};

struct builtin {
  std::string_view name;
  value (*run)(workspace& space, const bound_arguments& given);
  std::array<std::string_view, bound_arguments::parameters_max> parameters{};
  std::size_t required = 0; // how many of the parameters
  argument_style style = argument_style::by_position_or_name;
};

/// `self`, when not null, is the first parameter: what a filter or test looks at, or a method's owner.
/// Throws template_error when arguments are missing, unknown, repeated or too many.
[[nodiscard]] value call_builtin(workspace& space,
                                 const builtin& callee,
                                 const value* self,
                                 const call_arguments& given);

// Null when there is none of that name.
[[nodiscard]] const builtin* find_filter(std::string_view name);
[[nodiscard]] const builtin* find_test(std::string_view name);
[[nodiscard]] const builtin* find_string_method(std::string_view name);
[[nodiscard]] const builtin* find_list_method(std::string_view name);
[[nodiscard]] const builtin* find_tuple_method(std::string_view name);
[[nodiscard]] const builtin* find_dict_method(std::string_view name);
[[nodiscard]] const builtin* find_number_method(kind of, std::string_view name);
[[nodiscard]] const builtin* find_global(std::string_view name);

/// A builtin as a value; a method with its owner.
[[nodiscard]] value function_value(workspace& space, const builtin& function, const value* owner);

/// The row of a sorted table.
[[nodiscard]] const builtin*
find_builtin(const builtin* first, std::size_t count, std::string_view name);

template <std::size_t Count>
[[nodiscard]] const builtin* find_builtin(const std::array<builtin, Count>& sorted,
                                          std::string_view name) {
  return find_builtin(sorted.data(), Count, name);
}

template <std::size_t Count>
[[nodiscard]] constexpr bool is_sorted_by_name(const std::array<builtin, Count>& table) {
  for (std::size_t i = 1; i < Count; ++i) {
    if (!(table[i - 1].name < table[i].name)) {
      return false;
    }
  }
  return true;
}

// The tables of filters, by theme; find_filter looks through them.
[[nodiscard]] const builtin* find_text_filter(std::string_view name);
[[nodiscard]] const builtin* find_sequence_filter(std::string_view name);
[[nodiscard]] const builtin* find_selection_filter(std::string_view name);
[[nodiscard]] const builtin* find_number_filter(std::string_view name);

} // namespace vdist::text::jinja
