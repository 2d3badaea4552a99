// What follows an expression: attributes, subscriptions, calls, filters, tests; and what is assigned to.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/expression_depth.hpp"
#include "runtime/text/jinja/expression_parser.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {

expression_ptr expression_parser::postfix(expression_ptr owner) {
  for (;;) {
    const auto& now = tokens_.current();
    if (now.is_symbol(".") || now.is_symbol("[")) {
      owner = access(std::move(owner));
    } else if (now.is_symbol("(")) {
      owner = call(std::move(owner));
    } else {
      return owner;
    }
  }
}

expression_ptr expression_parser::filters_and_tests(expression_ptr input) {
  for (;;) {
    const auto& now = tokens_.current();
    if (now.is_symbol("|")) {
      tokens_.take();
      input = filter(std::move(input));
    } else if (now.is_name("is")) {
      input = test(std::move(input));
    } else if (now.is_symbol("(")) {
      input = call(std::move(input));
    } else {
      return input;
    }
  }
}

expression_ptr expression_parser::access(expression_ptr owner) {
  const auto& open = tokens_.take();
  if (open.text == "[") {
    return subscript(std::move(owner), open.offset);
  }
  const auto& name = tokens_.take();
  const auto deepest = depth_of(owner);
  if (name.what == token::type::name) {
    return make(open.offset, deepest, attribute_access{std::move(owner), name.text});
  }
  if (name.what != token::type::integer) {
    token_stream::fail_at(name, "expected a name or a number");
  }
  auto key = constant(name.offset, value::number(name.whole));
  return make(open.offset,
              std::max(deepest, depth_of(key)),
              subscription{std::move(owner), std::move(key)});
}

expression_ptr expression_parser::subscript(expression_ptr owner, std::uint32_t offset) {
  const auto is_end = [this] {
    return tokens_.current().is_symbol("]") || tokens_.current().is_symbol(",");
  };
  expressions keys;
  std::uint32_t deepest = depth_of(owner);
  do {
    if (tokens_.current().is_symbol("]") && !keys.empty()) {
      break;
    }
    expression_ptr start;
    if (!tokens_.current().is_symbol(":")) {
      start = expression();
      if (!tokens_.current().is_symbol(":")) {
        keys.push_back(std::move(start));
        continue;
      }
    }
    const auto& colon = tokens_.take();
    if (!keys.empty()) {
      token_stream::fail_at(colon, "unexpected ':'");
    }
    slice_access slice{nullptr, std::move(start), nullptr, nullptr};
    if (!is_end() && !tokens_.current().is_symbol(":")) {
      slice.stop = expression();
    }
    if (tokens_.skip_symbol(":") && !is_end()) {
      slice.step = expression();
    }
    tokens_.expect_symbol("]");
    deepest =
        std::max({deepest, depth_of(slice.start), depth_of(slice.stop), depth_of(slice.step)});
    slice.owner = std::move(owner);
    return make(offset, deepest, std::move(slice));
  } while (tokens_.skip_symbol(","));
  tokens_.expect_symbol("]");
  deepest = std::max(deepest, depth_of(keys));
  auto key = std::move(keys.front());
  if (keys.size() > 1) {
    keys.front() = std::move(key);
    const auto at = keys.front()->offset;
    key = make(at, deepest, sequence_display{kind::tuple, std::move(keys)});
    deepest = std::max(deepest, key->depth);
  }
  return make(offset, deepest, subscription{std::move(owner), std::move(key)});
}

expression_ptr expression_parser::call(expression_ptr callee) {
  const auto offset = tokens_.current().offset;
  auto given = arguments();
  const auto deepest = std::max(depth_of(callee), depth_of(given));
  return make(offset, deepest, call_expression{std::move(callee), std::move(given)});
}

void expression_parser::one_argument(argument_list& made) {
  const auto& now = tokens_.current();
  const bool is_closed = made.named_rest != nullptr;
  if (now.is_symbol("*")) {
    if (made.rest || is_closed) {
      tokens_.fail("invalid syntax of arguments");
    }
    tokens_.take();
    made.rest = expression();
  } else if (now.is_symbol("**")) {
    if (is_closed) {
      tokens_.fail("invalid syntax of arguments");
    }
    tokens_.take();
    made.named_rest = expression();
  } else if (now.what == token::type::name && tokens_.ahead().is_symbol("=")) {
    const bool is_known = std::any_of(made.named.begin(),
                                      made.named.end(),
                                      [&now](const auto& one) { return one.first == now.text; });
    if (is_closed || is_known) {
      tokens_.fail(is_known ? "argument is repeated" : "invalid syntax of arguments");
    }
    tokens_.take();
    tokens_.take();
    made.named.emplace_back(now.text, expression());
  } else {
    if (made.rest || is_closed || !made.named.empty()) {
      tokens_.fail("positional argument behind others");
    }
    made.positional.push_back(expression());
  }
}

argument_list expression_parser::arguments() {
  argument_list made;
  tokens_.expect_symbol("(");
  while (!tokens_.current().is_symbol(")")) {
    one_argument(made);
    if (!tokens_.skip_symbol(",")) {
      break;
    }
  }
  tokens_.expect_symbol(")");
  return made;
}

std::string_view expression_parser::dotted_name() {
  const auto first = tokens_.expect_name();
  if (tokens_.current().is_symbol(".")) {
    tokens_.fail("names of filters and tests have no dots");
  }
  return first;
}

expression_ptr expression_parser::filter(expression_ptr input) {
  const auto& now = tokens_.current();
  const auto name = dotted_name();
  const auto* found = find_filter(name);
  if (found == nullptr && tokens_.branches == 0) {
    tokens_.unknown.emplace_back(
        errc::corrupt, fmt::format("no filter named '{}'", name), now.offset);
  }
  argument_list given;
  if (tokens_.current().is_symbol("(")) {
    given = arguments();
  }
  const auto deepest = std::max(depth_of(input), depth_of(given));
  return make(
      now.offset, deepest, filter_expression{std::move(input), found, name, std::move(given)});
}

expression_ptr expression_parser::filters(expression_ptr input) {
  while (tokens_.skip_symbol("|")) {
    input = filter(std::move(input));
  }
  return input;
}

expression_ptr expression_parser::filter_chain() {
  return filters(filter(nullptr));
}

expression_ptr expression_parser::test(expression_ptr input) {
  tokens_.take();
  const bool is_negated = tokens_.skip_name("not");
  const auto& now = tokens_.current();
  const auto name = dotted_name();
  const auto* found = find_test(name);
  if (found == nullptr && tokens_.branches == 0) {
    tokens_.unknown.emplace_back(
        errc::corrupt, fmt::format("no test named '{}'", name), now.offset);
  }
  argument_list given;
  const auto& next = tokens_.current();
  const bool starts_value = (next.what == token::type::name && !next.is_name("else")
                             && !next.is_name("or") && !next.is_name("and"))
                            || next.what == token::type::string || next.what == token::type::integer
                            || next.what == token::type::real || next.is_symbol("[")
                            || next.is_symbol("{");
  if (next.is_symbol("(")) {
    given = arguments();
  } else if (starts_value) {
    if (next.is_name("is")) {
      tokens_.fail("tests cannot be chained");
    }
    const token_stream::level inside(tokens_);
    given.positional.push_back(postfix(primary()));
  }
  const auto deepest = std::max(depth_of(input), depth_of(given));
  return make(now.offset,
              deepest,
              test_expression{std::move(input), found, name, std::move(given), is_negated});
}

target expression_parser::one_target(bool may_be_attribute) {
  const auto& now = tokens_.current();
  const token_stream::level inside(tokens_);
  if (tokens_.skip_symbol("(")) {
    auto inner = assign_target(may_be_attribute);
    tokens_.expect_symbol(")");
    return inner;
  }
  target made{.offset = now.offset, .name = {}, .attribute = {}, .elements = {}};
  made.name = tokens_.expect_name();
  constexpr std::string_view constants[] = {"true", "false", "none", "True", "False", "None"};
  if (std::find(std::begin(constants), std::end(constants), made.name) != std::end(constants)) {
    token_stream::fail_at(now, fmt::format("cannot assign to '{}'", made.name));
  }
  if (may_be_attribute && tokens_.skip_symbol(".")) {
    made.attribute = tokens_.expect_name();
  }
  return made;
}

target expression_parser::assign_target(bool may_be_attribute, std::string_view end_name) {
  target made{.offset = tokens_.current().offset, .name = {}, .attribute = {}, .elements = {}};
  for (;;) {
    const auto& now = tokens_.current();
    if (now.what == token::type::block_end || now.is_symbol(")") || now.is_symbol("=")
        || (!end_name.empty() && now.is_name(end_name))) {
      break;
    }
    made.elements.push_back(one_target(may_be_attribute));
    if (!tokens_.skip_symbol(",")) {
      break;
    }
    made.is_tuple = true;
  }
  if (made.elements.empty()) {
    tokens_.fail("expected a name to assign to");
  }
  if (!made.is_tuple) {
    auto only = std::move(made.elements.front());
    return only;
  }
  return made;
}

} // namespace vdist::text::jinja
