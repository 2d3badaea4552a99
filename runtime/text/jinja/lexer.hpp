// runtime/text/jinja/lexer.hpp — a template's source as tokens, with Jinja's whitespace control as
// transformers sets it: trim_blocks, lstrip_blocks, one newline at the very end is dropped. Line
// breaks of any kind are "\n" from here on.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text::jinja {

struct token {
  enum class type : std::uint8_t {
    data,           // text between tags, already stripped; never empty
    variable_begin, // {{
    variable_end,
    block_begin, // {%
    block_end,
    name,
    string,
    integer,
    real,
    symbol, // an operator or a bracket
    end,
  };

  type what = type::end;
  std::uint32_t offset = 0; // of its first byte
  std::string_view text;    // of the source; of a string without its quotes
  std::string unescaped;    // of a string
  integer whole = 0;        // of an integer
  double real = 0;          // of a real

  [[nodiscard]] bool is_name(std::string_view name) const {
    return what == type::name && text == name;
  }

  [[nodiscard]] bool is_symbol(std::string_view symbol) const {
    return what == type::symbol && text == symbol;
  }
};

/// Line breaks as "\n", and without the last one.
[[nodiscard]] std::string normalised_source(std::string_view source);

/// Ends with a token of type end. The tokens borrow `source`, which normalised_source() made and
/// which is well-formed UTF-8. Throws template_error with an offset.
[[nodiscard]] std::vector<token> tokenise(std::string_view source);

} // namespace vdist::text::jinja
