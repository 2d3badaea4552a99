#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/interpreter.hpp"
#include "runtime/text/jinja/loop_object.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/sequences.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

class macro_object final : public object {
public:
  macro_object(interpreter& run, const macro_definition& macro, scope& around)
      : run_(run), macro_(macro), around_(around) {}

  [[nodiscard]] std::string_view type_name() const override { return "Macro"; }

  [[nodiscard]] std::optional<value> attribute(workspace&, std::string_view name) override {
    return name == "name" ? std::optional(value::string(macro_.name)) : std::nullopt;
  }

  [[nodiscard]] bool is_callable() const override { return true; }

  [[nodiscard]] value call(workspace&, const call_arguments& given) override {
    return run_.call_macro(macro_, around_, given);
  }

  void print(workspace&, std::pmr::string& out) override {
    out += fmt::format("<Macro '{}'>", macro_.name);
  }

private:
  interpreter& run_;
  const macro_definition& macro_;
  scope& around_;
};

} // namespace

std::pmr::string interpreter::run(const body& whole) {
  execute(whole);
  return std::move(*out_);
}

interpreter::flow interpreter::execute(const body& all) {
  for (const auto& one : all) {
    if (const auto after = execute_one(one); after != flow::onward) {
      return after;
    }
  }
  return flow::onward;
}

interpreter::flow interpreter::execute_one(const statement& one) {
  const workspace::level inside(space_);
  space_.spend();
  const auto outer = std::exchange(offset_, one.offset);
  space_.at = one.offset;
  const auto after = std::visit([this](const auto& node) { return execute(node); }, one.node);
  offset_ = outer;
  space_.at = outer;
  return after;
}

void interpreter::check_output() const {
  if (out_->size() > space_.options().limits.output_bytes_max) {
    throw template_error(errc::resource_exhausted,
                         fmt::format("too much output (output_bytes_max={})",
                                     space_.options().limits.output_bytes_max));
  }
}

void interpreter::emit(std::string_view text) {
  space_.spend_bytes(text.size());
  *out_ += text;
  check_output();
}

interpreter::flow interpreter::execute(const text_output& node) {
  emit(node.text);
  return flow::onward;
}

interpreter::flow interpreter::execute(const expression_output& node) {
  append_str(space_, *out_, evaluate(node.shown));
  check_output();
  return flow::onward;
}

interpreter::flow interpreter::execute(const if_statement& node) {
  for (const auto& one : node.branches) {
    if (truth(space_, evaluate(one.test))) {
      return execute(one.then);
    }
  }
  return execute(node.otherwise);
}

scope& interpreter::new_scope() {
  return *space_.make<scope>(space_.memory(), scope_);
}

/// The values of `over` for which the loop's condition holds, asked for one by one: the body may
/// change what the condition sees.
value interpreter::filtered(const for_statement& node, const value& over) {
  auto* around = scope_;
  auto* all = &iterate(space_, over);
  return lazily(space_, [this, &node, all, around](workspace& space) -> std::optional<value> {
    while (const auto one = all->next(space)) {
      auto* inner = space.make<scope>(space.memory(), around);
      const inner_scope entered(*this, *inner);
      assign(node.to, *one);
      if (truth(space, evaluate(node.only_if))) {
        return one;
      }
    }
    return std::nullopt;
  });
}

interpreter::flow
interpreter::iterate_over(const for_statement& node, const value& over, std::size_t depth) {
  const auto values = node.only_if ? filtered(node, over) : over;
  auto* loop = space_.make<loop_object>(space_, values, depth);
  if (node.is_recursive) {
    loop->recurse_into(*this, node, *scope_);
    scope_->keep();
  }
  auto* inner = &new_scope();
  bool has_run = false;
  while (const auto one = loop->next(space_)) {
    if (inner->is_kept()) {
      inner = &new_scope();
    } else {
      inner->clear();
    }
    const inner_scope entered(*this, *inner);
    inner->set("loop", value::of(static_cast<object*>(loop)));
    assign(node.to, *one);
    const auto after = execute(node.each);
    if (after == flow::leave_loop) {
      break;
    }
    // jinja2 counts the iterations that reach their end: `else` also follows those that never do.
    has_run = has_run || after == flow::onward;
  }
  if (has_run) {
    return flow::onward;
  }
  const inner_scope entered(*this, new_scope());
  return execute(node.otherwise);
}

interpreter::flow interpreter::execute(const for_statement& node) {
  return iterate_over(node, evaluate(node.over), 0);
}

value interpreter::loop_again(const for_statement& loop,
                              const value& over,
                              std::size_t depth,
                              scope& around) {
  const workspace::level inside(space_);
  const inner_scope entered(*this, around);
  std::pmr::string text(space_.memory());
  auto* outer = std::exchange(out_, &text);
  iterate_over(loop, over, depth);
  out_ = outer;
  return space_.done(std::move(text));
}

void interpreter::unpack(const target& to, const value& one) {
  if (!is_iterable(space_, one)) {
    refuse(fmt::format("cannot unpack non-iterable {} object", type_name(one)));
  }
  auto& all = iterate(space_, one);
  std::size_t count = 0;
  for (const auto& part : to.elements) {
    const auto next = all.next(space_);
    if (!next) {
      refuse(fmt::format(
          "not enough values to unpack (expected {}, got {})", to.elements.size(), count));
    }
    ++count;
    assign(part, *next);
  }
  if (all.next(space_)) {
    refuse(fmt::format("too many values to unpack (expected {})", to.elements.size()));
  }
}

void interpreter::assign(const target& to, const value& one) {
  if (to.is_tuple) {
    return unpack(to, one);
  }
  if (to.attribute.empty()) {
    return scope_->set(to.name, one);
  }
  auto* names = as_name_space(lookup(to.name));
  if (names == nullptr) {
    refuse("cannot assign attribute on non-namespace object");
  }
  names->set(space_, to.attribute, one);
}

interpreter::flow interpreter::execute(const set_statement& node) {
  assign(node.to, evaluate(node.from));
  return flow::onward;
}

value interpreter::captured(const body& content, flow& after) {
  std::pmr::string text(space_.memory());
  auto* outer = std::exchange(out_, &text);
  const inner_scope entered(*this, new_scope());
  after = execute(content);
  out_ = outer;
  return space_.done(std::move(text));
}

value interpreter::apply(const expression_ptr& filters, const value& text) {
  if (!filters) {
    return text;
  }
  const auto outer = std::exchange(block_text_, text);
  auto made = evaluate(filters);
  block_text_ = outer;
  return made;
}

interpreter::flow interpreter::execute(const set_block& node) {
  auto after = flow::onward;
  const auto text = captured(node.content, after);
  if (after == flow::onward) {
    assign(node.to, apply(node.filtered, text));
  }
  return after;
}

interpreter::flow interpreter::execute(const filter_block& node) {
  auto after = flow::onward;
  const auto text = captured(node.content, after);
  if (after == flow::onward) {
    append_str(space_, *out_, apply(node.filtered, text));
    check_output();
  }
  return after;
}

value interpreter::macro_value(const macro_definition& macro) {
  scope_->keep();
  return value::of(static_cast<object*>(space_.make<macro_object>(*this, macro, *scope_)));
}

interpreter::flow interpreter::execute(const macro_statement& node) {
  scope_->set(node.macro.name, macro_value(node.macro));
  return flow::onward;
}

interpreter::flow interpreter::execute(const call_block& node) {
  const auto caller = macro_value(node.caller);
  const auto& called = std::get<call_expression>(node.call->node);
  space_.at = offset_ = node.call->offset;
  append_str(space_, *out_, call(called, &caller));
  check_output();
  return flow::onward;
}

interpreter::flow interpreter::execute(const with_statement& node) {
  auto& inner = new_scope();
  for (const auto& [to, from] : node.bindings) {
    const auto one = evaluate(from); // in the scope around
    const inner_scope entered(*this, inner);
    assign(to, one);
  }
  const inner_scope entered(*this, inner);
  return execute(node.content);
}

interpreter::flow interpreter::execute(const generation_block& node) {
  const inner_scope entered(*this, new_scope());
  return execute(node.content);
}

interpreter::flow interpreter::execute(const loop_control& node) {
  return node.is_break ? flow::leave_loop : flow::next_iteration;
}

} // namespace vdist::text::jinja
