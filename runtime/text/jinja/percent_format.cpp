// text % values, as printf has taught it to Python.
#include "runtime/text/jinja/format.hpp"
#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

class percent_formatter {
public:
  percent_formatter(workspace& space, std::string_view text, const value& values)
      : space_(space), text_(text), values_(values), out_(space.text()) {}

  value run() {
    while (at_ < text_.size()) {
      const auto percent = std::min(text_.find('%', at_), text_.size());
      out_ += text_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < text_.size()) {
        ++at_;
        conversion();
      }
    }
    const bool is_all_used = values_.is(kind::tuple)
                                 ? next_ == values_.as_list().size()
                                 : next_ == 1 || values_.is(kind::dict) || values_.is(kind::list);
    if (!is_all_used) {
      refuse("not all arguments converted during string formatting");
    }
    return space_.done(std::move(out_));
  }

private:
  [[nodiscard]] char peek() const {
    if (at_ >= text_.size()) {
      refuse("incomplete format");
    }
    return text_[at_];
  }

  [[nodiscard]] const value& take() {
    if (values_.is(kind::tuple)) {
      if (next_ >= values_.as_list().size()) {
        refuse("not enough arguments for format string");
      }
      return values_.as_list()[next_++];
    }
    if (next_++ > 0) {
      refuse("not enough arguments for format string");
    }
    return values_;
  }

  [[nodiscard]] const value& named() {
    const auto end = text_.find(')', at_);
    if (end == std::string_view::npos) {
      refuse("incomplete format key");
    }
    if (!values_.is(kind::dict)) {
      refuse("format requires a mapping");
    }
    const auto key = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    const auto* found = values_.as_dict().find(space_, key);
    if (found == nullptr) {
      refuse(fmt::format("no value for format key '{}'", key));
    }
    return *found;
  }

  /// A width or a precision: digits, or `*` for the next value.
  [[nodiscard]] integer number(std::size_t max) {
    integer made = 0;
    if (peek() == '*') {
      ++at_;
      made = require_integer(take(), "format width");
    } else {
      while (peek() >= '0' && peek() <= '9' && made <= static_cast<integer>(max)) {
        made = made * 10 + (text_[at_++] - '0');
      }
    }
    if (made > static_cast<integer>(max) || made < -static_cast<integer>(max)) {
      refuse(fmt::format("format: number too large (max={})", max));
    }
    return made;
  }

  void conversion() {
    format_specification as;
    as.align = '>';
    const value* given = peek() == '(' ? &named() : nullptr;
    bool is_left = false;
    bool is_zero = false;
    for (; std::string_view("#0- +").find(peek()) != std::string_view::npos; ++at_) {
      is_left = is_left || peek() == '-';
      is_zero = is_zero || peek() == '0';
      as.is_alternate = as.is_alternate || peek() == '#';
      as.sign = peek() == '+' ? '+' : peek() == ' ' && as.sign == '-' ? ' ' : as.sign;
    }
    const auto width = number(format_specification::width_max);
    is_left = is_left || width < 0;
    as.width = static_cast<std::size_t>(width < 0 ? -width : width);
    if (peek() == '.') {
      ++at_;
      const auto precision = number(format_specification::precision_max);
      as.precision = static_cast<std::size_t>(std::max(precision, integer{0}));
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') {
      ++at_;
    }
    as.type = peek();
    ++at_;
    if (as.type == '%') {
      out_ += '%';
      return;
    }
    if (is_left) {
      as.align = '<';
    } else if (is_zero) {
      as.align = '=';
      as.fill = "0";
    }
    space_.spend_bytes(as.width);
    show(given != nullptr ? *given : take(), as);
  }

  void show(const value& one, format_specification as) {
    switch (as.type) {
    case 's':
    case 'r':
    case 'a': {
      auto text = space_.text();
      as.type == 's' ? append_str(space_, text, one) : append_repr(space_, text, one);
      as.align = as.align == '=' ? '>' : as.align;
      as.fill = " ";
      return append_padded(out_, text, as);
    }
    case 'c':
      if (one.is_string()) {
        as.fill = " ";
        return append_padded(out_, one.as_string(), as);
      }
      return append_formatted(out_, require_integer(one, "%c"), as);
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      return whole(one, as);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      require_defined(one);
      if (!one.is_number()) {
        refuse(fmt::format("must be real number, not {}", type_name(one)));
      }
      return append_formatted(out_, one.as_real(), as);
    default:
      refuse(fmt::format("unsupported format character '{}'", as.type));
    }
  }

  void whole(const value& one, format_specification as) {
    require_defined(one);
    const bool is_decimal = as.type == 'd' || as.type == 'i' || as.type == 'u';
    if (!one.is_integer() && !(is_decimal && one.is(kind::real))) {
      refuse(fmt::format("%{} format: a real number is required, not {}", as.type, type_name(one)));
    }
    const auto i = one.is_integer() ? one.as_integer() : truncated(one.as_real());
    as.type = is_decimal ? 'd' : as.type;
    if (as.precision) {
      refuse("precision of integers is unsupported");
    }
    append_formatted(out_, i, as);
  }

  workspace& space_;
  std::string_view text_;
  const value& values_;
  std::pmr::string out_;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
};

} // namespace

value percent_format(workspace& space, std::string_view text, const value& values) {
  space.spend_bytes(text.size());
  return percent_formatter(space, text, values).run();
}

} // namespace vdist::text::jinja
