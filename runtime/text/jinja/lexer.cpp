#include "runtime/text/jinja/lexer.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/string_escapes.hpp"
#include "runtime/text/jinja/template_error.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

constexpr std::array<std::string_view, 6> long_symbols{"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view short_symbols = "+-/*%~[](){}><=.:|,;";

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class lexer {
public:
  explicit lexer(std::string_view source) : source_(source) {}

  std::vector<token> run() {
    while (at_ < source_.size()) {
      text_and_tag();
    }
    add(token::type::end, source_.size(), {});
    return std::move(tokens_);
  }

private:
  enum class tag : std::uint8_t { none, comment, variable, block, raw };

  [[noreturn]] static void fail_at(std::size_t offset, std::string cause) {
    throw template_error(errc::corrupt, std::move(cause), offset);
  }

  [[nodiscard]] bool has(std::size_t at, std::string_view text) const {
    return source_.substr(std::min(at, source_.size())).starts_with(text);
  }

  [[nodiscard]] std::size_t after_space(std::size_t at) const {
    while (at < source_.size()) {
      const auto next = code_point_at(source_, at);
      if (!is_python_space(next.value)) {
        break;
      }
      at += next.bytes;
    }
    return at;
  }

  token& add(token::type what, std::size_t offset, std::string_view text) {
    tokens_.push_back({.what = what,
                       .offset = static_cast<std::uint32_t>(offset),
                       .text = text,
                       .unescaped = {}});
    return tokens_.back();
  }

  /// `-%}` and the space behind it, `+%}`, or `%}` and one line break: the end; 0 when it is none.
  [[nodiscard]] std::size_t end_of(std::size_t at, std::string_view close) const {
    if (has(at, "-") && has(at + 1, close)) {
      return after_space(at + 1 + close.size());
    }
    if (has(at, "+") && has(at + 1, close)) {
      return at + 1 + close.size();
    }
    if (has(at, close)) {
      at += close.size();
      return at + (has(at, "\n") ? 1 : 0);
    }
    return 0;
  }

  /// The end of `{% raw %}` behind the sign of its tag; 0 when it is another tag.
  [[nodiscard]] std::size_t end_of_raw_begin(std::size_t at) const {
    at = after_space(at);
    if (!has(at, "raw")) {
      return 0;
    }
    at = after_space(at + 3);
    if (has(at, "-%}")) {
      return after_space(at + 3);
    }
    return has(at, "%}") ? at + 2 : 0;
  }

  /// The text before a tag whose sign is `sign`.
  [[nodiscard]] std::string_view stripped(std::string_view text, char sign, tag what) const {
    if (sign == '-') {
      return strip_right(text);
    }
    if (sign == '+' || what == tag::variable) {
      return text;
    }
    const auto line_break = text.rfind('\n');
    const auto line = line_break == std::string_view::npos ? 0 : line_break + 1;
    const bool starts_line = line > 0 || is_line_start_;
    return starts_line && strip_left(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  void text_and_tag() {
    auto open = at_;
    tag what = tag::none;
    for (; open < source_.size(); ++open) {
      open = source_.find('{', open);
      if (open == std::string_view::npos) {
        break;
      }
      const char second = open + 1 < source_.size() ? source_[open + 1] : '\0';
      what = second == '#'   ? tag::comment
             : second == '{' ? tag::variable
             : second == '%' ? tag::block
                             : tag::none;
      if (what != tag::none) {
        break;
      }
    }
    if (what == tag::none) {
      add(token::type::data, at_, source_.substr(at_));
      at_ = source_.size();
      return;
    }
    auto inside = open + 2;
    const char sign = has(inside, "-") ? '-' : has(inside, "+") ? '+' : '\0';
    inside += sign != '\0' ? 1 : 0;
    const auto text = stripped(source_.substr(at_, open - at_), sign, what);
    if (!text.empty()) {
      add(token::type::data, at_, text);
    }
    if (const auto raw = what == tag::block ? end_of_raw_begin(inside) : 0; raw != 0) {
      what = tag::raw;
      inside = raw;
    }
    is_line_start_ = what == tag::raw && source_[inside - 1] == '\n';
    at_ = inside;
    switch (what) {
    case tag::comment:
      return comment(open);
    case tag::raw:
      return raw(open);
    case tag::variable:
      add(token::type::variable_begin, open, source_.substr(open, 2));
      return inner("}}", token::type::variable_end, open);
    default:
      add(token::type::block_begin, open, source_.substr(open, 2));
      return inner("%}", token::type::block_end, open);
    }
  }

  void leave(std::size_t end) {
    is_line_start_ = source_[end - 1] == '\n';
    at_ = end;
  }

  void comment(std::size_t open) {
    const auto close = source_.find("#}", at_);
    if (close == std::string_view::npos) {
      fail_at(open, "comment without an end");
    }
    const bool is_signed = close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
    leave(end_of(is_signed ? close - 1 : close, "#}"));
  }

  void raw(std::size_t open) {
    const auto begin = at_;
    for (auto tag_at = source_.find("{%", at_); tag_at != std::string_view::npos;
         tag_at = source_.find("{%", tag_at + 1)) {
      auto at = tag_at + 2;
      const char sign = has(at, "-") ? '-' : has(at, "+") ? '+' : '\0';
      at = after_space(at + (sign != '\0' ? 1 : 0));
      if (!has(at, "endraw")) {
        continue;
      }
      const auto end = end_of(after_space(at + 6), "%}");
      if (end == 0) {
        continue;
      }
      const auto text = stripped(source_.substr(begin, tag_at - begin), sign, tag::raw);
      if (!text.empty()) {
        add(token::type::data, begin, text);
      }
      return leave(end);
    }
    fail_at(open, "raw block without an end");
  }

  /// The tokens of a tag, and its end.
  void inner(std::string_view close, token::type closing, std::size_t open) {
    std::vector<char> brackets;
    for (;;) {
      if (brackets.empty()) {
        // A variable's end has no `+` and takes no line break with it.
        const bool is_plus = closing == token::type::variable_end && has(at_, "+");
        auto end = is_plus ? 0 : end_of(at_, close);
        if (end != 0) {
          if (closing == token::type::variable_end && has(at_, close)) {
            end = at_ + close.size();
          }
          add(closing, at_, source_.substr(at_, close.size()));
          return leave(end);
        }
      }
      if (at_ >= source_.size()) {
        fail_at(open, "tag without an end");
      }
      const auto space = after_space(at_);
      if (space != at_) {
        at_ = space;
        continue;
      }
      word(brackets);
    }
  }

  void word(std::vector<char>& brackets) {
    const char first = source_[at_];
    if (is_digit(first)) {
      number();
    } else if (first == '"' || first == '\'') {
      string(first);
    } else if (is_name_start(code_point_at(source_, at_).value)) {
      auto end = at_;
      while (end < source_.size()) {
        const auto next = code_point_at(source_, end);
        if (!is_name_part(next.value)) {
          break;
        }
        end += next.bytes;
      }
      add(token::type::name, at_, source_.substr(at_, end - at_));
      at_ = end;
    } else {
      symbol(brackets);
    }
  }

  void symbol(std::vector<char>& brackets) {
    std::size_t length = 0;
    for (const auto candidate : long_symbols) {
      length = has(at_, candidate) ? candidate.size() : length;
    }
    const char first = source_[at_];
    if (length == 0 && short_symbols.find(first) == std::string_view::npos) {
      const auto bytes = code_point_at(source_, at_).bytes;
      fail_at(at_, fmt::format("unexpected character '{}'", source_.substr(at_, bytes)));
    }
    if (first == '(' || first == '[' || first == '{') {
      brackets.push_back(first == '(' ? ')' : first == '[' ? ']' : '}');
    } else if (first == ')' || first == ']' || first == '}') {
      if (brackets.empty()) {
        fail_at(at_, fmt::format("unexpected '{}'", first));
      }
      if (brackets.back() != first) {
        fail_at(at_, fmt::format("unexpected '{}', expected '{}'", first, brackets.back()));
      }
      brackets.pop_back();
    }
    length = std::max<std::size_t>(length, 1);
    add(token::type::symbol, at_, source_.substr(at_, length));
    at_ += length;
  }

  /// Digits that single underscores may part; the end of them.
  [[nodiscard]] std::size_t after_digits(std::size_t at) const {
    while (at < source_.size()
           && (is_digit(source_[at])
               || (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1])))) {
      ++at;
    }
    return at;
  }

  [[nodiscard]] bool digit_at(std::size_t at) const {
    return at < source_.size() && is_digit(source_[at]);
  }

  /// The end of a number with a fraction or an exponent; 0 when it has neither.
  [[nodiscard]] std::size_t end_of_real() const {
    if (at_ > 0 && source_[at_ - 1] == '.') {
      return 0;
    }
    auto end = after_digits(at_);
    bool is_real = false;
    if (has(end, ".") && digit_at(end + 1)) {
      end = after_digits(end + 1);
      is_real = true;
    }
    if (has(end, "e") || has(end, "E")) {
      const auto sign = end + 1;
      const auto digits = has(sign, "+") || has(sign, "-") ? sign + 1 : sign;
      if (digit_at(digits)) {
        return after_digits(digits);
      }
    }
    return is_real ? end : 0;
  }

  [[nodiscard]] std::size_t end_of_integer() const {
    const auto run = [this](std::size_t at, auto&& is_one) {
      auto end = at;
      while (end < source_.size()) {
        const auto next = source_[end] == '_' ? end + 1 : end;
        if (next >= source_.size() || !is_one(source_[next])) {
          break;
        }
        end = next + 1;
      }
      return end;
    };
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char base = static_cast<char>(source_[at_ + 1] | 0x20);
      const auto is_one = [base](char c) {
        const char low = static_cast<char>(c | 0x20);
        return base == 'x'   ? is_digit(c) || (low >= 'a' && low <= 'f')
               : base == 'o' ? c >= '0' && c <= '7'
                             : c == '0' || c == '1';
      };
      if (base == 'x' || base == 'o' || base == 'b') {
        if (const auto end = run(at_ + 2, is_one); end > at_ + 2) {
          return end;
        }
      }
    }
    if (source_[at_] == '0') {
      return run(at_ + 1, [](char c) { return c == '0'; });
    }
    return run(at_ + 1, is_digit);
  }

  void number() {
    const auto real_end = end_of_real();
    const auto end = real_end != 0 ? real_end : end_of_integer();
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    auto& made = add(real_end != 0 ? token::type::real : token::type::integer,
                     at_,
                     source_.substr(at_, end - at_));
    if (real_end != 0) {
      made.real = parse_real(digits).value_or(0);
    } else if (const auto whole = parse_integer(digits, 0)) {
      made.whole = *whole;
    } else {
      fail_at(at_, "integer out of range");
    }
    at_ = end;
  }

  void string(char quote) {
    auto end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      end += source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size()) {
      fail_at(at_, "string without an end");
    }
    auto& made = add(token::type::string, at_, source_.substr(at_ + 1, end - at_ - 1));
    made.unescaped = unescaped(made.text, at_ + 1);
    at_ = end + 1;
  }

  std::string_view source_;
  std::size_t at_ = 0;
  bool is_line_start_ = true; // what came last ended with a line break
  std::vector<token> tokens_;
};

} // namespace

std::string normalised_source(std::string_view source) {
  std::string made;
  made.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      made += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    } else {
      made += source[i];
    }
  }
  if (made.ends_with('\n')) {
    made.pop_back();
  }
  return made;
}

std::vector<token> tokenise(std::string_view source) {
  return lexer(source).run();
}

} // namespace vdist::text::jinja
