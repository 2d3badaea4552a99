// runtime/text/jinja/syntax.hpp — a template as a tree. Immutable once parsed. Offsets are bytes of the
// normalised source, for errors. Names are views of that source. A node's depth is bounded by
// source_limits::nesting_max, so that walks over the tree may recurse.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::text::jinja {

struct builtin;
struct expression;
struct statement;

using expression_ptr = std::unique_ptr<const expression>;
using expressions = std::vector<expression_ptr>;
using body = std::vector<statement>;

/// Arguments of a call, a filter or a test: a, *b, c=d, **e.
struct argument_list {
  expressions positional;
  std::vector<std::pair<std::string_view, expression_ptr>> named;
  expression_ptr rest;       // null without
  expression_ptr named_rest; // null without
};

struct literal {
  value constant;                          // a string's characters are `characters`
  std::unique_ptr<std::string> characters; // null unless it is a string
};

struct name_reference {
  std::string_view name;
};

struct sequence_display {
  kind what; // list or tuple
  expressions elements;
};

struct dict_display {
  std::vector<std::pair<expression_ptr, expression_ptr>> entries;
};

enum class unary_operator : std::uint8_t { negative, positive, logical_not };

struct unary_operation {
  unary_operator what;
  expression_ptr operand;
};

enum class binary_operator : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  logical_and,
  logical_or,
};

struct binary_operation {
  binary_operator what;
  expression_ptr left;
  expression_ptr right;
};

/// a ~ b ~ c
struct concatenation {
  expressions parts;
};

enum class comparison_operator : std::uint8_t {
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in,
};

/// a < b <= c: every operand is evaluated once, none behind the first that fails.
struct comparison {
  expression_ptr first;
  std::vector<std::pair<comparison_operator, expression_ptr>> rest;
};

struct conditional {
  expression_ptr test;
  expression_ptr then;
  expression_ptr otherwise; // null: undefined
};

struct attribute_access {
  expression_ptr owner;
  std::string_view name;
};

struct subscription {
  expression_ptr owner;
  expression_ptr key;
};

/// a[start:stop:step]; each may be null.
struct slice_access {
  expression_ptr owner;
  expression_ptr start;
  expression_ptr stop;
  expression_ptr step;
};

struct call_expression {
  expression_ptr callee;
  argument_list arguments;
};

struct filter_expression {
  expression_ptr input;  // null in a filter block: its text
  const builtin* filter; // null when there is none of this name: an error once it is reached
  std::string_view name;
  argument_list arguments;
};

struct test_expression {
  expression_ptr input;
  const builtin* test; // as above
  std::string_view name;
  argument_list arguments;
  bool is_negated;
};

struct expression {
  std::uint32_t offset;
  std::uint32_t depth; // 1 + the deepest of its children
  std::variant<literal,
               name_reference,
               sequence_display,
               dict_display,
               unary_operation,
               binary_operation,
               concatenation,
               comparison,
               conditional,
               attribute_access,
               subscription,
               slice_access,
               call_expression,
               filter_expression,
               test_expression>
      node;
};

/// What a value can be assigned to: a name, name.attribute of a namespace, or several of them.
struct target {
  std::uint32_t offset = 0;
  std::string_view name;
  std::string_view attribute; // empty without
  bool is_tuple = false;      // then the rest is in `elements`
  std::vector<target> elements;
};

struct text_output {
  std::string_view text;
};

struct expression_output {
  expression_ptr shown;
};

struct if_statement {
  struct branch {
    expression_ptr test;
    body then;
  };

  std::vector<branch> branches;
  body otherwise;
};

struct for_statement {
  target to;
  expression_ptr over;
  expression_ptr only_if; // null without
  bool is_recursive = false;
  body each;
  body otherwise;
};

struct set_statement {
  target to;
  expression_ptr from;
};

/// {% set x | filter %}…{% endset %}
struct set_block {
  target to;
  expression_ptr filtered; // filters over the text; null without
  body content;
};

struct filter_block {
  expression_ptr filtered;
  body content;
};

/// The signature and the body of a macro or of a call block.
struct macro_definition {
  struct parameter {
    std::string_view name;
    expression_ptr fallback; // null without
  };

  std::string_view name; // "caller" of a call block
  std::vector<parameter> parameters;
  body content;
  bool uses_caller = false;
  bool uses_kwargs = false;
  bool uses_varargs = false;
};

struct macro_statement {
  macro_definition macro;
};

struct call_block {
  expression_ptr call; // a call_expression
  macro_definition caller;
};

struct with_statement {
  std::vector<std::pair<target, expression_ptr>> bindings;
  body content;
};

/// {% generation %}: marks what the model wrote, for training; here just its content.
struct generation_block {
  body content;
};

struct loop_control {
  bool is_break;
};

struct statement {
  std::uint32_t offset;
  std::variant<text_output,
               expression_output,
               if_statement,
               for_statement,
               set_statement,
               set_block,
               filter_block,
               macro_statement,
               call_block,
               with_statement,
               generation_block,
               loop_control>
      node;
};

} // namespace vdist::text::jinja
