// runtime/text/jinja/interpreter.hpp — walks a template's tree once: evaluates expressions, writes text.
// Not thread-safe; one per rendering.
#pragma once

#include "runtime/text/jinja/scope.hpp"
#include "runtime/text/jinja/syntax.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <string>

namespace vdist::text::jinja {

class interpreter {
public:
  /// Borrows all; `context` are the variables that the caller gives.
  interpreter(workspace& space, const dict& context);

  /// The text of the whole template. Throws template_error; workspace::at says where.
  [[nodiscard]] std::pmr::string run(const body& whole);

  /// A macro, called.
  [[nodiscard]] value
  call_macro(const macro_definition& macro, scope& around, const call_arguments& given);
  /// The body of a recursive loop over other values.
  [[nodiscard]] value
  loop_again(const for_statement& loop, const value& over, std::size_t depth, scope& around);

private:
  enum class flow : std::uint8_t { onward, next_iteration, leave_loop };

  /// Runs in another scope until it ends.
  class inner_scope {
  public:
    inner_scope(interpreter& of, scope& inner) : of_(of), outer_(of.scope_) { of.scope_ = &inner; }

    inner_scope(const inner_scope&) = delete;
    inner_scope& operator=(const inner_scope&) = delete;

    ~inner_scope() { of_.scope_ = outer_; }

  private:
    interpreter& of_;
    scope* outer_;
  };

  // statements.cpp
  flow execute(const body& all);
  flow execute_one(const statement& one);
  flow execute(const text_output& node);
  flow execute(const expression_output& node);
  flow execute(const if_statement& node);
  flow execute(const for_statement& node);
  flow execute(const set_statement& node);
  flow execute(const set_block& node);
  flow execute(const filter_block& node);
  flow execute(const macro_statement& node);
  flow execute(const call_block& node);
  flow execute(const with_statement& node);
  flow execute(const generation_block& node);
  flow execute(const loop_control& node);

  flow iterate_over(const for_statement& node, const value& over, std::size_t depth);
  [[nodiscard]] value filtered(const for_statement& node, const value& over);
  void assign(const target& to, const value& one);
  void unpack(const target& to, const value& one);
  void emit(std::string_view text);
  void check_output() const;
  /// What `content` writes, as a value; in a scope of its own.
  [[nodiscard]] value captured(const body& content, flow& after);
  /// The filters of a filter or set block over a text.
  [[nodiscard]] value apply(const expression_ptr& filters, const value& text);
  [[nodiscard]] scope& new_scope();
  [[nodiscard]] value macro_value(const macro_definition& macro);

  // interpreter.cpp
  [[nodiscard]] value evaluate(const expression_ptr& one);
  [[nodiscard]] value evaluate_or_none(const expression_ptr& one);
  [[nodiscard]] value evaluate(const literal& node);
  [[nodiscard]] value evaluate(const name_reference& node);
  [[nodiscard]] value evaluate(const sequence_display& node);
  [[nodiscard]] value evaluate(const dict_display& node);
  [[nodiscard]] value evaluate(const unary_operation& node);
  [[nodiscard]] value evaluate(const binary_operation& node);
  [[nodiscard]] value evaluate(const concatenation& node);
  [[nodiscard]] value evaluate(const comparison& node);
  [[nodiscard]] value evaluate(const conditional& node);
  [[nodiscard]] value evaluate(const attribute_access& node);
  [[nodiscard]] value evaluate(const subscription& node);
  [[nodiscard]] value evaluate(const slice_access& node);
  [[nodiscard]] value evaluate(const call_expression& node);
  [[nodiscard]] value evaluate(const filter_expression& node);
  [[nodiscard]] value evaluate(const test_expression& node);

  [[nodiscard]] value call(const call_expression& node, const value* caller);
  void add_arguments(call_arguments& made, const argument_list& given);
  [[nodiscard]] value lookup(std::string_view name);
  void bind_parameters(const macro_definition& macro, scope& inner, const call_arguments& given);
  void bind_special(const macro_definition& macro, scope& inner, const call_arguments& given);

  workspace& space_;
  const dict& context_;
  scope* scope_;
  std::pmr::string* out_;
  std::size_t offset_ = 0; // of the expression that is evaluated
  value block_text_;       // what the first filter of a block takes
};

} // namespace vdist::text::jinja
