#include "runtime/text/jinja/parser.hpp"

#include "runtime/text/jinja/expression_parser.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <initializer_list>

namespace vdist::text::jinja {
namespace {

using names = std::initializer_list<std::string_view>;

constexpr std::string_view unsupported_tags[] = {
    "block", "extends", "include", "import", "from", "autoescape", "trans", "debug"};

class statement_parser {
public:
  statement_parser(std::vector<token> tokens, std::size_t nesting_max)
      : tokens_(std::move(tokens), nesting_max), expressions_(tokens_) {}

  body run() {
    auto made = content({});
    if (!tokens_.unknown.empty()) {
      throw tokens_.unknown.front();
    }
    return made;
  }

private:
  /// Statements up to a tag with one of the names, which is current then (behind its `{%`); up to
  /// the end of the template if there are no names.
  body content(names ends) {
    body made;
    for (;;) {
      const auto& now = tokens_.current();
      if (now.what == token::type::end) {
        if (ends.size() > 0) {
          tokens_.fail(
              fmt::format("expected the tag {}, got the end of the template", listed(ends)));
        }
        return made;
      }
      tokens_.take();
      switch (now.what) {
      case token::type::data:
        made.push_back({now.offset, text_output{now.text}});
        break;
      case token::type::variable_begin:
        made.push_back({now.offset, expression_output{expressions_.expression_list()}});
        tokens_.expect(token::type::variable_end);
        break;
      default: {
        const auto& tag = tokens_.current();
        if (tag.what == token::type::name
            && std::find(ends.begin(), ends.end(), tag.text) != ends.end()) {
          return made;
        }
        tagged(made, ends);
        tokens_.expect(token::type::block_end);
      }
      }
    }
  }

  static std::string listed(names ends) {
    std::string text;
    for (const auto end : ends) {
      text += fmt::format("{}'{}'", text.empty() ? "" : " or ", end);
    }
    return text;
  }

  /// The rest of the opening tag, then content(), then the name of the closing tag.
  body enclosed(names ends) {
    tokens_.skip_symbol(":");
    tokens_.expect(token::type::block_end);
    return content(ends);
  }

  body enclosed_by(std::string_view end) {
    auto made = enclosed({end});
    tokens_.take();
    return made;
  }

  void tagged(body& into, names ends) {
    const token_stream::level inside(tokens_);
    const auto& tag = tokens_.current();
    if (tag.what != token::type::name) {
      tokens_.fail(fmt::format("expected the name of a tag, got {}", token_stream::described(tag)));
    }
    const auto name = tag.text;
    const auto push = [&into, &tag](auto node) {
      into.push_back({tag.offset, std::move(node)});
    };
    tokens_.take();
    if (name == "if") {
      push(if_tag());
    } else if (name == "for") {
      push(for_tag());
    } else if (name == "set") {
      set_tag(into, tag.offset);
    } else if (name == "macro") {
      push(macro_tag());
    } else if (name == "call") {
      push(call_tag());
    } else if (name == "filter") {
      filter_block made{expressions_.filter_chain(), {}};
      made.content = enclosed_by("endfilter");
      push(std::move(made));
    } else if (name == "with") {
      push(with_tag());
    } else if (name == "generation") {
      push(generation_block{separate_body("endgeneration")});
    } else if (name == "print") {
      print_tag(into);
    } else if (name == "break" || name == "continue") {
      if (tokens_.loops == 0) {
        token_stream::fail_at(tag, fmt::format("'{}' outside of a loop", name));
      }
      push(loop_control{name == "break"});
    } else {
      unknown(tag, ends);
    }
  }

  [[noreturn]] static void unknown(const token& tag, names ends) {
    if (std::find(std::begin(unsupported_tags), std::end(unsupported_tags), tag.text)
        != std::end(unsupported_tags)) {
      throw template_error(
          errc::unsupported, fmt::format("unsupported tag '{}'", tag.text), tag.offset);
    }
    token_stream::fail_at(
        tag,
        ends.size() == 0 ? fmt::format("unknown tag '{}'", tag.text)
                         : fmt::format("unknown tag '{}', expected {}", tag.text, listed(ends)));
  }

  if_statement if_tag() {
    if_statement made;
    ++tokens_.branches;
    for (;;) {
      if_statement::branch one;
      one.test = expressions_.expression_list(expression_parser::conditionals::not_allowed);
      one.then = enclosed({"elif", "else", "endif"});
      made.branches.push_back(std::move(one));
      const auto& tag = tokens_.take();
      if (tag.text == "else") {
        made.otherwise = enclosed_by("endif");
      }
      if (tag.text != "elif") {
        break;
      }
    }
    --tokens_.branches;
    return made;
  }

  for_statement for_tag() {
    for_statement made;
    made.to = expressions_.assign_target(false, "in");
    if (!tokens_.skip_name("in")) {
      tokens_.fail(
          fmt::format("expected 'in', got {}", token_stream::described(tokens_.current())));
    }
    made.over =
        expressions_.expression_list(expression_parser::conditionals::not_allowed, "recursive");
    if (tokens_.skip_name("if")) {
      made.only_if = expressions_.expression();
    }
    made.is_recursive = tokens_.skip_name("recursive");
    ++tokens_.loops;
    made.each = enclosed({"endfor", "else"});
    --tokens_.loops;
    if (tokens_.take().text == "else") {
      made.otherwise = enclosed_by("endfor");
    }
    return made;
  }

  void set_tag(body& into, std::uint32_t offset) {
    auto to = expressions_.assign_target(true);
    if (tokens_.skip_symbol("=")) {
      into.push_back({offset, set_statement{std::move(to), expressions_.expression_list()}});
      return;
    }
    set_block made{std::move(to), expressions_.filters(nullptr), {}};
    made.content = enclosed_by("endset");
    into.push_back({offset, std::move(made)});
  }

  void print_tag(body& into) {
    while (tokens_.current().what != token::type::block_end) {
      const auto offset = tokens_.current().offset;
      into.push_back({offset, expression_output{expressions_.expression()}});
      if (!tokens_.skip_symbol(",")) {
        break;
      }
    }
  }

  /// Content that is a function of its own: loops around it are out of reach.
  body separate_body(std::string_view end) {
    const auto loops = std::exchange(tokens_.loops, 0);
    auto made = enclosed_by(end);
    tokens_.loops = loops;
    return made;
  }

  void signature(macro_definition& made) {
    tokens_.expect_symbol("(");
    while (!tokens_.current().is_symbol(")")) {
      const auto& now = tokens_.current();
      macro_definition::parameter one{tokens_.expect_name(), nullptr};
      const bool is_known =
          std::any_of(made.parameters.begin(), made.parameters.end(), [&one](const auto& other) {
            return other.name == one.name;
          });
      if (is_known) {
        token_stream::fail_at(now, "parameter is repeated");
      }
      if (tokens_.skip_symbol("=")) {
        one.fallback = expressions_.expression();
      } else if (!made.parameters.empty() && made.parameters.back().fallback) {
        token_stream::fail_at(now, "parameter without a default behind one with");
      }
      made.parameters.push_back(std::move(one));
      if (!tokens_.skip_symbol(",")) {
        break;
      }
    }
    tokens_.expect_symbol(")");
  }

  void macro_body(macro_definition& made, std::string_view end) {
    tokens_.macros.emplace_back();
    made.content = separate_body(end);
    made.uses_caller = tokens_.macros.back().caller;
    made.uses_kwargs = tokens_.macros.back().kwargs;
    made.uses_varargs = tokens_.macros.back().varargs;
    tokens_.macros.pop_back();
    for (const auto& one : made.parameters) { // a parameter of that name is nothing special
      made.uses_caller = made.uses_caller && one.name != "caller";
      made.uses_kwargs = made.uses_kwargs && one.name != "kwargs";
      made.uses_varargs = made.uses_varargs && one.name != "varargs";
    }
  }

  macro_statement macro_tag() {
    macro_statement made;
    made.macro.name = tokens_.expect_name();
    signature(made.macro);
    macro_body(made.macro, "endmacro");
    return made;
  }

  call_block call_tag() {
    call_block made;
    made.caller.name = "caller";
    if (tokens_.current().is_symbol("(")) {
      signature(made.caller);
    }
    const auto& now = tokens_.current();
    made.call = expressions_.expression();
    if (!std::holds_alternative<call_expression>(made.call->node)) {
      token_stream::fail_at(now, "expected a call");
    }
    macro_body(made.caller, "endcall");
    return made;
  }

  with_statement with_tag() {
    with_statement made;
    while (tokens_.current().what != token::type::block_end && !tokens_.current().is_symbol(":")) {
      auto to = expressions_.assign_target(false);
      tokens_.expect_symbol("=");
      made.bindings.emplace_back(std::move(to), expressions_.expression());
      if (!tokens_.skip_symbol(",")) {
        break;
      }
    }
    made.content = enclosed_by("endwith");
    return made;
  }

  token_stream tokens_;
  expression_parser expressions_;
};

} // namespace

body parse(std::string_view source, const source_limits& limits) {
  return statement_parser(tokenise(source), limits.nesting_max).run();
}

} // namespace vdist::text::jinja
