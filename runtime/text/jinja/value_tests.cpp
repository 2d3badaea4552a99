// The tests of `x is …`.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/workspace.hpp"

namespace vdist::text::jinja {
namespace {

template <bool (*Is)(const value&)>
value asked(workspace&, const bound_arguments& given) {
  return value::boolean(Is(given[0]));
}

template <kind Kind>
bool is_kind(const value& one) {
  return one.is(Kind);
}

template <bool Expected>
bool is_boolean_of(const value& one) {
  return one.is(kind::boolean) && one.as_boolean() == Expected;
}

bool is_defined(const value& one) {
  return !one.is_undefined();
}

bool is_number(const value& one) {
  return one.is_number();
}

bool is_markup(const value& one) {
  return one.is_string() && one.is_markup();
}

bool is_callable(const value& one) {
  return one.is(kind::object) && one.as_object().is_callable();
}

bool is_known_filter(const value& one) {
  return one.is_string() && find_filter(one.as_string()) != nullptr;
}

bool is_known_test(const value& one) {
  return one.is_string() && find_test(one.as_string()) != nullptr;
}

template <comparison_operator What>
value compared(workspace& space, const bound_arguments& given) {
  return value::boolean(holds(space, What, given[0], given[1]));
}

value modulo(workspace& space, const value& one, const value& by) {
  return arithmetic(space, binary_operator::modulo, one, by);
}

template <int Rest>
value is_parity(workspace& space, const bound_arguments& given) {
  const auto rest = modulo(space, given[0], value::number(integer{2}));
  return value::boolean(equals(space, rest, value::number(integer{Rest})));
}

value is_divisible(workspace& space, const bound_arguments& given) {
  const auto rest = modulo(space, given[0], given[1]);
  return value::boolean(equals(space, rest, value::number(integer{0})));
}

template <character_class Class>
value is_of_case(workspace& space, const bound_arguments& given) {
  const auto text = str_of(space, given[0]).as_string();
  space.spend_bytes(text.size());
  return value::boolean(is_all(Class, text));
}

value is_sequence(workspace& space, const bound_arguments& given) {
  const auto& one = given[0];
  const bool is_builtin = one.is_string() || one.is_list_or_tuple() || one.is(kind::dict);
  // Undefined has a length and subscription, too; the latter raises when it is used.
  const bool is_object = one.is(kind::object) && one.as_object().is_sequence()
                         && one.as_object().length(space).has_value();
  return value::boolean(is_builtin || is_object || one.is_undefined());
}

value is_iterable_value(workspace& space, const bound_arguments& given) {
  return value::boolean(is_iterable(space, given[0]));
}

value is_same_as(workspace&, const bound_arguments& given) {
  return value::boolean(given[0].is_same(given[1]));
}

constexpr std::array tests{
    builtin{"!=", compared<comparison_operator::not_equal>, {"a", "b"}, 2},
    builtin{"<", compared<comparison_operator::less>, {"a", "b"}, 2},
    builtin{"<=", compared<comparison_operator::less_equal>, {"a", "b"}, 2},
    builtin{"==", compared<comparison_operator::equal>, {"a", "b"}, 2},
    builtin{">", compared<comparison_operator::greater>, {"a", "b"}, 2},
    builtin{">=", compared<comparison_operator::greater_equal>, {"a", "b"}, 2},
    builtin{"boolean", asked<is_kind<kind::boolean>>, {"value"}, 1},
    builtin{"callable", asked<is_callable>, {"obj"}, 1},
    builtin{"defined", asked<is_defined>, {"value"}, 1},
    builtin{"divisibleby", is_divisible, {"value", "num"}, 2},
    builtin{"eq", compared<comparison_operator::equal>, {"a", "b"}, 2},
    builtin{"equalto", compared<comparison_operator::equal>, {"a", "b"}, 2},
    builtin{"escaped", asked<is_markup>, {"value"}, 1},
    builtin{"even", is_parity<0>, {"value"}, 1},
    builtin{"false", asked<is_boolean_of<false>>, {"value"}, 1},
    builtin{"filter", asked<is_known_filter>, {"value"}, 1},
    builtin{"float", asked<is_kind<kind::real>>, {"value"}, 1},
    builtin{"ge", compared<comparison_operator::greater_equal>, {"a", "b"}, 2},
    builtin{"greaterthan", compared<comparison_operator::greater>, {"a", "b"}, 2},
    builtin{"gt", compared<comparison_operator::greater>, {"a", "b"}, 2},
    builtin{"in", compared<comparison_operator::in>, {"value", "seq"}, 2},
    builtin{"integer", asked<is_kind<kind::integer>>, {"value"}, 1},
    builtin{"iterable", is_iterable_value, {"value"}, 1},
    builtin{"le", compared<comparison_operator::less_equal>, {"a", "b"}, 2},
    builtin{"lessthan", compared<comparison_operator::less>, {"a", "b"}, 2},
    builtin{"lower", is_of_case<character_class::lower>, {"value"}, 1},
    builtin{"lt", compared<comparison_operator::less>, {"a", "b"}, 2},
    builtin{"mapping", asked<is_kind<kind::dict>>, {"value"}, 1},
    builtin{"ne", compared<comparison_operator::not_equal>, {"a", "b"}, 2},
    builtin{"none", asked<is_kind<kind::none>>, {"value"}, 1},
    builtin{"number", asked<is_number>, {"value"}, 1},
    builtin{"odd", is_parity<1>, {"value"}, 1},
    builtin{"sameas", is_same_as, {"value", "other"}, 2},
    builtin{"sequence", is_sequence, {"value"}, 1},
    builtin{"string", asked<is_kind<kind::string>>, {"value"}, 1},
    builtin{"test", asked<is_known_test>, {"value"}, 1},
    builtin{"true", asked<is_boolean_of<true>>, {"value"}, 1},
    builtin{"undefined", asked<is_kind<kind::undefined>>, {"value"}, 1},
    builtin{"upper", is_of_case<character_class::upper>, {"value"}, 1},
};
static_assert(is_sorted_by_name(tests));

} // namespace

const builtin* find_test(std::string_view name) {
  return find_builtin(tests, name);
}

} // namespace vdist::text::jinja
