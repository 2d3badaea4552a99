#include "runtime/text/jinja/expression_parser.hpp"

#include "runtime/text/jinja/expression_depth.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {

expression_ptr expression_parser::constant(std::uint32_t offset, value one) const {
  return make(offset, 0, literal{one, nullptr});
}

expression_ptr expression_parser::expression(conditionals allow) {
  const token_stream::level inside(tokens_);
  return allow == conditionals::allowed ? conditional_expression() : logical_or();
}

expression_ptr expression_parser::expression_list(conditionals allow, std::string_view end_name) {
  const auto offset = tokens_.current().offset;
  expressions elements;
  bool is_tuple = false;
  const auto is_end = [this, end_name] {
    const auto& now = tokens_.current();
    return now.what == token::type::variable_end || now.what == token::type::block_end
           || now.is_symbol(")") || (!end_name.empty() && now.is_name(end_name));
  };
  while (!is_end()) {
    elements.push_back(expression(allow));
    if (!tokens_.skip_symbol(",")) {
      break;
    }
    is_tuple = true;
  }
  if (is_tuple) {
    const auto deepest = depth_of(elements);
    return make(offset, deepest, sequence_display{kind::tuple, std::move(elements)});
  }
  if (elements.empty()) {
    tokens_.fail(
        fmt::format("expected an expression, got {}", token_stream::described(tokens_.current())));
  }
  return std::move(elements.front());
}

expression_ptr expression_parser::conditional_expression() {
  const auto unknown = tokens_.unknown.size();
  auto made = logical_or();
  while (tokens_.current().is_name("if")) {
    tokens_.unknown.erase(tokens_.unknown.begin() + static_cast<std::ptrdiff_t>(unknown),
                          tokens_.unknown.end());
    const auto offset = tokens_.take().offset;
    ++tokens_.branches;
    auto test = logical_or();
    expression_ptr otherwise;
    if (tokens_.skip_name("else")) {
      const token_stream::level inside(tokens_);
      otherwise = conditional_expression();
    }
    --tokens_.branches;
    const auto deepest = std::max({depth_of(made), depth_of(test), depth_of(otherwise)});
    made =
        make(offset, deepest, conditional{std::move(test), std::move(made), std::move(otherwise)});
  }
  return made;
}

expression_ptr expression_parser::binary_chain(operators which, level_parser operand) {
  auto made = (this->*operand)();
  for (;;) {
    const auto& now = tokens_.current();
    const auto found = std::find_if(which.begin(), which.end(), [&now](const auto& one) {
      return now.text == one.first
             && (now.what == token::type::symbol || now.what == token::type::name);
    });
    if (found == which.end()) {
      return made;
    }
    const auto offset = tokens_.take().offset;
    auto right = (this->*operand)();
    const auto deepest = std::max(depth_of(made), depth_of(right));
    made =
        make(offset, deepest, binary_operation{found->second, std::move(made), std::move(right)});
  }
}

expression_ptr expression_parser::logical_or() {
  return binary_chain({{"or", binary_operator::logical_or}}, &expression_parser::logical_and);
}

expression_ptr expression_parser::logical_and() {
  return binary_chain({{"and", binary_operator::logical_and}}, &expression_parser::logical_not);
}

expression_ptr expression_parser::logical_not() {
  if (!tokens_.current().is_name("not")) {
    return comparison_chain();
  }
  const token_stream::level inside(tokens_);
  const auto offset = tokens_.take().offset;
  auto operand = logical_not();
  const auto deepest = depth_of(operand);
  return make(offset, deepest, unary_operation{unary_operator::logical_not, std::move(operand)});
}

expression_ptr expression_parser::comparison_chain() {
  constexpr std::pair<std::string_view, comparison_operator> symbols[] = {
      {"==", comparison_operator::equal},
      {"!=", comparison_operator::not_equal},
      {"<", comparison_operator::less},
      {"<=", comparison_operator::less_equal},
      {">", comparison_operator::greater},
      {">=", comparison_operator::greater_equal}};
  auto first = sum();
  comparison made;
  auto deepest = depth_of(first);
  const auto offset = tokens_.current().offset;
  for (;;) {
    const auto& now = tokens_.current();
    std::optional<comparison_operator> what;
    for (const auto& [symbol, meaning] : symbols) {
      what = now.is_symbol(symbol) ? meaning : what;
    }
    if (now.is_name("in")) {
      what = comparison_operator::in;
    } else if (now.is_name("not") && tokens_.ahead().is_name("in")) {
      tokens_.take();
      what = comparison_operator::not_in;
    }
    if (!what) {
      break;
    }
    tokens_.take();
    made.rest.emplace_back(*what, sum());
    deepest = std::max(deepest, depth_of(made.rest.back().second));
  }
  if (made.rest.empty()) {
    return first;
  }
  made.first = std::move(first);
  return make(offset, deepest, std::move(made));
}

expression_ptr expression_parser::sum() {
  return binary_chain({{"+", binary_operator::add}, {"-", binary_operator::subtract}},
                      &expression_parser::concatenation_chain);
}

expression_ptr expression_parser::concatenation_chain() {
  expressions parts;
  parts.push_back(product());
  const auto offset = tokens_.current().offset;
  while (tokens_.skip_symbol("~")) {
    parts.push_back(product());
  }
  if (parts.size() == 1) {
    return std::move(parts.front());
  }
  const auto deepest = depth_of(parts);
  return make(offset, deepest, concatenation{std::move(parts)});
}

expression_ptr expression_parser::product() {
  return binary_chain({{"*", binary_operator::multiply},
                       {"/", binary_operator::divide},
                       {"//", binary_operator::floor_divide},
                       {"%", binary_operator::modulo}},
                      &expression_parser::power);
}

expression_ptr expression_parser::power() {
  return binary_chain({{"**", binary_operator::power}}, &expression_parser::unary);
}

expression_ptr expression_parser::unary() {
  return filters_and_tests(unary_without_filters());
}

expression_ptr expression_parser::unary_without_filters() {
  const auto& now = tokens_.current();
  if (now.is_symbol("-") || now.is_symbol("+")) {
    const token_stream::level inside(tokens_);
    const auto offset = tokens_.take().offset;
    auto operand = unary_without_filters();
    const auto deepest = depth_of(operand);
    const auto what = now.is_symbol("-") ? unary_operator::negative : unary_operator::positive;
    return postfix(make(offset, deepest, unary_operation{what, std::move(operand)}));
  }
  return postfix(primary());
}

void expression_parser::note_name(std::string_view name) {
  for (auto& macro : tokens_.macros) {
    macro.caller = macro.caller || name == "caller";
    macro.kwargs = macro.kwargs || name == "kwargs";
    macro.varargs = macro.varargs || name == "varargs";
  }
}

expression_ptr expression_parser::primary() {
  const auto& now = tokens_.current();
  switch (now.what) {
  case token::type::name:
    return name_or_constant();
  case token::type::string:
    return string_constant();
  case token::type::integer:
    tokens_.take();
    return constant(now.offset, value::number(now.whole));
  case token::type::real:
    tokens_.take();
    return constant(now.offset, value::real(now.real));
  default:
    break;
  }
  if (now.is_symbol("(")) {
    return parenthesised();
  }
  if (now.is_symbol("[")) {
    return list_display();
  }
  if (now.is_symbol("{")) {
    return dict_literal();
  }
  tokens_.fail(fmt::format("unexpected {}", token_stream::described(now)));
}

expression_ptr expression_parser::name_or_constant() {
  const auto& now = tokens_.take();
  if (now.text == "true" || now.text == "True") {
    return constant(now.offset, value::boolean(true));
  }
  if (now.text == "false" || now.text == "False") {
    return constant(now.offset, value::boolean(false));
  }
  if (now.text == "none" || now.text == "None") {
    return constant(now.offset, value::none());
  }
  note_name(now.text);
  return make(now.offset, 0, name_reference{now.text});
}

expression_ptr expression_parser::string_constant() {
  const auto offset = tokens_.current().offset;
  auto text = std::make_unique<std::string>();
  while (tokens_.current().what == token::type::string) {
    *text += tokens_.take().unescaped;
  }
  const auto constant = value::string(*text);
  return make(offset, 0, literal{constant, std::move(text)});
}

expression_ptr expression_parser::parenthesised() {
  const auto offset = tokens_.take().offset;
  if (tokens_.skip_symbol(")")) {
    return make(offset, 0, sequence_display{kind::tuple, {}});
  }
  auto inner = expression_list();
  tokens_.expect_symbol(")");
  return inner;
}

expression_ptr expression_parser::list_display() {
  const auto offset = tokens_.take().offset;
  expressions elements;
  while (!tokens_.current().is_symbol("]")) {
    elements.push_back(expression());
    if (!tokens_.skip_symbol(",")) {
      break;
    }
  }
  tokens_.expect_symbol("]");
  const auto deepest = depth_of(elements);
  return make(offset, deepest, sequence_display{kind::list, std::move(elements)});
}

expression_ptr expression_parser::dict_literal() {
  const auto offset = tokens_.take().offset;
  dict_display made;
  std::uint32_t deepest = 0;
  while (!tokens_.current().is_symbol("}")) {
    auto key = expression();
    tokens_.expect_symbol(":");
    auto element = expression();
    deepest = std::max({deepest, depth_of(key), depth_of(element)});
    made.entries.emplace_back(std::move(key), std::move(element));
    if (!tokens_.skip_symbol(",")) {
      break;
    }
  }
  tokens_.expect_symbol("}");
  return make(offset, deepest, std::move(made));
}

} // namespace vdist::text::jinja
