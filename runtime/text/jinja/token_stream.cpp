#include "runtime/text/jinja/token_stream.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

std::string_view name_of(token::type what) {
  switch (what) {
  case token::type::data:
    return "text";
  case token::type::variable_begin:
    return "'{{'";
  case token::type::variable_end:
    return "'}}'";
  case token::type::block_begin:
    return "'{%'";
  case token::type::block_end:
    return "'%}'";
  case token::type::name:
    return "a name";
  case token::type::string:
    return "a string";
  case token::type::integer:
  case token::type::real:
    return "a number";
  case token::type::symbol:
    return "a symbol";
  case token::type::end:
    break;
  }
  return "the end of the template";
}

} // namespace

std::string token_stream::described(const token& one) {
  const bool is_quoted = one.what == token::type::name || one.what == token::type::symbol;
  return is_quoted ? fmt::format("'{}'", one.text) : std::string(name_of(one.what));
}

void token_stream::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) {
    fail(fmt::format("expected '{}', got {}", symbol, described(current())));
  }
}

void token_stream::expect(token::type what) {
  if (current().what != what) {
    fail(fmt::format("expected {}, got {}", name_of(what), described(current())));
  }
  take();
}

std::string_view token_stream::expect_name() {
  const auto& found = current();
  expect(token::type::name);
  return found.text;
}

} // namespace vdist::text::jinja
