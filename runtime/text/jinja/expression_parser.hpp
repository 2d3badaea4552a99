// runtime/text/jinja/expression_parser.hpp — the expressions of Jinja's grammar. Private to the parser.
// Precedence, from weak to strong: if else, or, and, not, comparisons, + -, ~, * / // %, **, unary
// + and -, then calls, subscriptions, filters and tests.
#pragma once

#include "runtime/text/jinja/syntax.hpp"
#include "runtime/text/jinja/token_stream.hpp"

#include <initializer_list>

namespace vdist::text::jinja {

class expression_parser {
public:
  explicit expression_parser(token_stream& tokens) : tokens_(tokens) {}

  enum class conditionals : std::uint8_t { allowed, not_allowed };

  [[nodiscard]] expression_ptr expression(conditionals allow = conditionals::allowed);
  /// One expression, or several with commas: a tuple. `end_name` ends it, too.
  [[nodiscard]] expression_ptr expression_list(conditionals allow = conditionals::allowed,
                                               std::string_view end_name = {});
  /// a, b.c, (d, e)
  [[nodiscard]] target assign_target(bool may_be_attribute, std::string_view end_name = {});
  /// Filters over `input`, which may be null: `| a | b(c)`.
  [[nodiscard]] expression_ptr filters(expression_ptr input);
  /// As filters(); the first one has no `|` before it.
  [[nodiscard]] expression_ptr filter_chain();

private:
  using operators = std::initializer_list<std::pair<std::string_view, binary_operator>>;
  using level_parser = expression_ptr (expression_parser::*)();

  /// A node whose deepest child nests so deep.
  template <class Node>
  [[nodiscard]] expression_ptr make(std::uint32_t offset, std::uint32_t deepest, Node node) const {
    tokens_.check_depth(deepest + 1);
    return std::make_unique<const jinja::expression>(
        jinja::expression{offset, deepest + 1, std::move(node)});
  }

  [[nodiscard]] expression_ptr constant(std::uint32_t offset, value one) const;
  [[nodiscard]] expression_ptr binary_chain(operators which, level_parser operand);

  // expression_parser.cpp
  [[nodiscard]] expression_ptr conditional_expression();
  [[nodiscard]] expression_ptr logical_or();
  [[nodiscard]] expression_ptr logical_and();
  [[nodiscard]] expression_ptr logical_not();
  [[nodiscard]] expression_ptr comparison_chain();
  [[nodiscard]] expression_ptr sum();
  [[nodiscard]] expression_ptr concatenation_chain();
  [[nodiscard]] expression_ptr product();
  [[nodiscard]] expression_ptr power();
  [[nodiscard]] expression_ptr unary();
  [[nodiscard]] expression_ptr unary_without_filters();
  [[nodiscard]] expression_ptr primary();
  [[nodiscard]] expression_ptr name_or_constant();
  [[nodiscard]] expression_ptr string_constant();
  [[nodiscard]] expression_ptr parenthesised();
  [[nodiscard]] expression_ptr list_display();
  [[nodiscard]] expression_ptr dict_literal();

  // postfix_parser.cpp
  [[nodiscard]] expression_ptr postfix(expression_ptr owner);
  [[nodiscard]] expression_ptr filters_and_tests(expression_ptr input);
  [[nodiscard]] expression_ptr access(expression_ptr owner);
  [[nodiscard]] expression_ptr subscript(expression_ptr owner, std::uint32_t offset);
  [[nodiscard]] expression_ptr call(expression_ptr callee);
  [[nodiscard]] expression_ptr filter(expression_ptr input);
  [[nodiscard]] expression_ptr test(expression_ptr input);
  [[nodiscard]] argument_list arguments();
  void one_argument(argument_list& made);
  [[nodiscard]] std::string_view dotted_name();
  [[nodiscard]] target one_target(bool may_be_attribute);
  void note_name(std::string_view name);

  token_stream& tokens_;
};

} // namespace vdist::text::jinja
