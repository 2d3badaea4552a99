// runtime/text/jinja/token_stream.hpp — what both halves of the parser share: the tokens, how deep the
// parser is, and what the macros around it refer to. Private to the parser.
#pragma once

#include "runtime/text/jinja/lexer.hpp"
#include "runtime/text/jinja/template_error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text::jinja {

class token_stream {
public:
  token_stream(std::vector<token> tokens, std::size_t nesting_max)
      : tokens_(std::move(tokens)), nesting_max_(nesting_max) {}

  [[nodiscard]] const token& current() const { return tokens_[at_]; }

  [[nodiscard]] const token& ahead() const {
    return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_];
  }

  /// The current token; the next one is current then. The last one stays.
  const token& take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }

  bool skip_symbol(std::string_view symbol) {
    return current().is_symbol(symbol) && (take(), true);
  }

  bool skip_name(std::string_view name) { return current().is_name(name) && (take(), true); }

  void expect_symbol(std::string_view symbol);
  void expect(token::type what);
  std::string_view expect_name();

  [[noreturn]] void fail(std::string cause) const { fail_at(current(), std::move(cause)); }

  [[noreturn]] static void fail_at(const token& where, std::string cause) {
    throw template_error(errc::corrupt, std::move(cause), where.offset);
  }

  /// How a token is called in errors.
  [[nodiscard]] static std::string described(const token& one);

  /// A construct inside another: of the parser's recursion.
  class level {
  public:
    explicit level(token_stream& stream) : depth_(stream.depth_) { stream.check_depth(++depth_); }

    level(const level&) = delete;
    level& operator=(const level&) = delete;

    ~level() { --depth_; }

  private:
    std::size_t& depth_;
  };

  void check_depth(std::size_t depth) const {
    if (depth > nesting_max_) {
      throw template_error(
          errc::resource_exhausted, "the source is nested too deeply", current().offset);
    }
  }

  /// Names that the bodies of macros around this place refer to: what of caller, kwargs and varargs
  /// a macro accepts depends on it.
  struct special_names {
    bool caller = false;
    bool kwargs = false;
    bool varargs = false;
  };

  std::vector<special_names> macros;
  /// Branches around this place: there an unknown filter is an error only once it is reached.
  std::size_t branches = 0;
  /// Unknown filters and tests outside of branches, as far as one can tell: an expression that has
  /// been read may still become the first part of `a if b`.
  std::vector<template_error> unknown;
  /// Loops around this place, in this macro: where break and continue may stand.
  std::size_t loops = 0;

private:
  std::vector<token> tokens_;
  std::size_t nesting_max_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
};

} // namespace vdist::text::jinja
