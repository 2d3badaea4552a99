#include "runtime/text/jinja/interpreter.hpp"

#include "runtime/text/jinja/access.hpp"
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

bool is_named(const call_arguments& given, std::string_view name) {
  return std::any_of(given.named.begin(), given.named.end(), [name](const auto& one) {
    return one.first == name;
  });
}

void add_named(call_arguments& made, std::string_view name, const value& one) {
  if (is_named(made, name)) {
    refuse(fmt::format("got multiple values for keyword argument '{}'", name));
  }
  made.named.emplace_back(name, one);
}

} // namespace

interpreter::interpreter(workspace& space, const dict& context)
    : space_(space),
      context_(context),
      scope_(space.make<scope>(space.memory(), nullptr)),
      out_(space.make<std::pmr::string>(space.memory())) {}

value interpreter::evaluate(const expression_ptr& one) {
  const workspace::level inside(space_);
  space_.spend();
  space_.at = one->offset;
  const auto outer = std::exchange(offset_, one->offset);
  auto made = std::visit([this](const auto& node) { return evaluate(node); }, one->node);
  offset_ = outer;
  space_.at = outer; // what the caller does with it is an error of the caller
  return made;
}

value interpreter::evaluate_or_none(const expression_ptr& one) {
  return one ? evaluate(one) : value::none();
}

value interpreter::evaluate(const literal& node) {
  return node.constant;
}

value interpreter::lookup(std::string_view name) {
  if (const value* found = scope_->find(name); found != nullptr) {
    return *found;
  }
  if (const value* found = context_.find(space_, name); found != nullptr) {
    return *found;
  }
  if (const auto* found = find_global(name); found != nullptr) {
    return function_value(space_, *found, nullptr);
  }
  return space_.undefined({.what = undefined_cause::reason::name, .text = name, .owner_type = {}});
}

value interpreter::evaluate(const name_reference& node) {
  return lookup(node.name);
}

value interpreter::evaluate(const sequence_display& node) {
  auto* made = space_.make_list();
  made->reserve(node.elements.size());
  for (const auto& element : node.elements) {
    made->push_back(evaluate(element));
  }
  return node.what == kind::list ? value::of(made) : value::tuple(made);
}

value interpreter::evaluate(const dict_display& node) {
  auto* made = space_.make_dict();
  for (const auto& [key, element] : node.entries) {
    const auto shown = evaluate(key);
    made->set(space_, shown, evaluate(element));
  }
  return value::of(made);
}

value interpreter::evaluate(const unary_operation& node) {
  const auto operand = evaluate(node.operand);
  return node.what == unary_operator::logical_not ? value::boolean(!truth(space_, operand))
                                                  : unary(space_, node.what, operand);
}

value interpreter::evaluate(const binary_operation& node) {
  const auto left = evaluate(node.left);
  if (node.what == binary_operator::logical_and) {
    return truth(space_, left) ? evaluate(node.right) : left;
  }
  if (node.what == binary_operator::logical_or) {
    return truth(space_, left) ? left : evaluate(node.right);
  }
  return arithmetic(space_, node.what, left, evaluate(node.right));
}

value interpreter::evaluate(const concatenation& node) {
  auto made = space_.text();
  for (const auto& part : node.parts) {
    append_str(space_, made, evaluate(part));
  }
  return space_.done(std::move(made));
}

value interpreter::evaluate(const comparison& node) {
  auto left = evaluate(node.first);
  for (const auto& [what, operand] : node.rest) {
    const auto right = evaluate(operand);
    if (!holds(space_, what, left, right)) {
      return value::boolean(false);
    }
    left = right;
  }
  return value::boolean(true);
}

value interpreter::evaluate(const conditional& node) {
  if (truth(space_, evaluate(node.test))) {
    return evaluate(node.then);
  }
  return node.otherwise ? evaluate(node.otherwise)
                        : space_.undefined("the inline if-expression evaluated to false and no "
                                           "else section was defined");
}

value interpreter::evaluate(const attribute_access& node) {
  return attribute_of(space_, evaluate(node.owner), node.name);
}

value interpreter::evaluate(const subscription& node) {
  const auto owner = evaluate(node.owner);
  return item_of(space_, owner, evaluate(node.key));
}

value interpreter::evaluate(const slice_access& node) {
  const auto owner = evaluate(node.owner);
  const auto start = evaluate_or_none(node.start);
  const auto stop = evaluate_or_none(node.stop);
  return slice_of(space_, owner, start, stop, evaluate_or_none(node.step));
}

void interpreter::add_arguments(call_arguments& made, const argument_list& given) {
  made.positional.reserve(given.positional.size());
  for (const auto& one : given.positional) {
    made.positional.push_back(evaluate(one));
  }
  for (const auto& [name, one] : given.named) {
    add_named(made, name, evaluate(one));
  }
  if (given.rest) {
    for (const auto& one : elements_of(space_, evaluate(given.rest))) {
      made.positional.push_back(one);
    }
  }
  if (given.named_rest) {
    const auto names = evaluate(given.named_rest);
    if (!names.is(kind::dict)) {
      require_defined(names);
      refuse(fmt::format("argument after ** must be a mapping, not {}", type_name(names)));
    }
    for (const auto& [name, one] : names.as_dict().entries()) {
      space_.spend(1 + made.named.size());
      add_named(made, require_string(name, "keyword argument"), one);
    }
  }
}

value interpreter::call(const call_expression& node, const value* caller) {
  const auto callee = evaluate(node.callee);
  call_arguments given(space_.memory());
  add_arguments(given, node.arguments);
  if (caller != nullptr) {
    add_named(given, "caller", *caller);
  }
  require_defined(callee);
  if (!callee.is(kind::object) || !callee.as_object().is_callable()) {
    refuse(fmt::format("'{}' object is not callable", type_name(callee)));
  }
  const auto at = space_.at;
  auto made = callee.as_object().call(space_, given);
  space_.at = at;
  return made;
}

value interpreter::evaluate(const call_expression& node) {
  return call(node, nullptr);
}

value interpreter::evaluate(const filter_expression& node) {
  const auto input = node.input ? evaluate(node.input) : block_text_;
  if (node.filter == nullptr) {
    refuse(fmt::format("No filter named '{}'", node.name));
  }
  call_arguments given(space_.memory());
  add_arguments(given, node.arguments);
  return call_builtin(space_, *node.filter, &input, given);
}

value interpreter::evaluate(const test_expression& node) {
  const auto input = evaluate(node.input);
  if (node.test == nullptr) {
    refuse(fmt::format("No test named '{}'", node.name));
  }
  call_arguments given(space_.memory());
  add_arguments(given, node.arguments);
  const auto found = call_builtin(space_, *node.test, &input, given);
  return value::boolean(truth(space_, found) != node.is_negated);
}

void interpreter::bind_parameters(const macro_definition& macro,
                                  scope& inner,
                                  const call_arguments& given) {
  const auto& parameters = macro.parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto name = parameters[i].name;
    if (i < given.positional.size()) {
      inner.set(name, given.positional[i]);
      continue;
    }
    const auto found = std::find_if(given.named.begin(),
                                    given.named.end(),
                                    [name](const auto& one) { return one.first == name; });
    if (found != given.named.end()) {
      inner.set(name, found->second);
    }
  }
  // Defaults are evaluated in the macro, behind all that was given.
  for (std::size_t i = given.positional.size(); i < parameters.size(); ++i) {
    const auto name = parameters[i].name;
    if (!is_named(given, name)) {
      inner.set(name,
                parameters[i].fallback
                    ? evaluate(parameters[i].fallback)
                    : space_.undefined(
                        {.what = undefined_cause::reason::text,
                         .text = space_.copy(fmt::format("parameter '{}' was not provided", name))
                                     .as_string(),
                         .owner_type = {}}));
    }
  }
}

void interpreter::bind_special(const macro_definition& macro,
                               scope& inner,
                               const call_arguments& given) {
  const auto count = macro.parameters.size();
  auto* unknown = space_.make_dict();
  const value* caller = nullptr;
  for (const auto& [name, one] : given.named) {
    const auto found = std::find_if(macro.parameters.begin(),
                                    macro.parameters.end(),
                                    [&name = name](const auto& p) { return p.name == name; });
    const auto place = static_cast<std::size_t>(found - macro.parameters.begin());
    if (place < count && place >= given.positional.size()) {
      continue; // bound by its name
    }
    if (macro.uses_caller && name == "caller") {
      caller = &one;
    } else {
      unknown->set(space_, value::string(name), one);
    }
  }
  if (macro.uses_caller) {
    inner.set("caller", caller != nullptr ? *caller : space_.undefined("No caller defined"));
  }
  if (macro.uses_kwargs) {
    inner.set("kwargs", value::of(unknown));
  } else if (unknown->size() > 0) {
    refuse(fmt::format("macro '{}' takes no keyword argument '{}'",
                       macro.name,
                       unknown->entries().front().first.as_string()));
  }
  if (macro.uses_varargs) {
    auto* rest = space_.make_list();
    for (auto i = count; i < given.positional.size(); ++i) {
      rest->push_back(given.positional[i]);
    }
    inner.set("varargs", value::tuple(rest));
  } else if (given.positional.size() > count) {
    refuse(fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, count));
  }
}

value interpreter::call_macro(const macro_definition& macro,
                              scope& around,
                              const call_arguments& given) {
  const workspace::level inside(space_);
  auto* inner = space_.make<scope>(space_.memory(), &around);
  const inner_scope entered(*this, *inner);
  bind_special(macro, *inner, given);
  bind_parameters(macro, *inner, given);
  auto after = flow::onward;
  return captured(macro.content, after);
}

} // namespace vdist::text::jinja
