#include "runtime/text/text_pattern.hpp"

#include "runtime/text/unicode.hpp"

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <array>
#include <pcre2.h>

namespace vdist::text {
namespace {

constexpr std::uint32_t match_steps_max = 50'000'000; // backtracking steps of one match
constexpr std::uint32_t match_heap_kib_max = 64 * 1024;
constexpr std::size_t pattern_bytes_max = 64 * 1024;

// Members of a character class, in PCRE2's syntax, that mean what Oniguruma's escapes mean.
constexpr std::string_view white_space =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view word_character = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view hex_digit = "0-9a-fA-F";

/// Rewrites a pattern of Oniguruma's Ruby syntax for PCRE2.
class pattern_translator {
public:
  explicit pattern_translator(std::string_view pattern) : in_(pattern) {}

  result<std::string> translate() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        VDIST_TRY(translate_escape());
      } else if (in_class_) {
        VDIST_TRY(translate_class_member(c));
      } else {
        in_class_ = c == '[';
        copy(1);
        if (in_class_) {
          if (at_ < in_.size() && in_[at_] == '^') {
            copy(1);
          }
          class_begin_ = at_;
        }
      }
    }
    return std::move(out_);
  }

private:
  void copy(std::size_t count) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }

  result<void> translate_class_member(char c) {
    if (c == ']' && at_ != class_begin_) {
      in_class_ = false;
    } else if (c == '[' && in_.substr(at_, 2) != "[:") {
      return fail(errc::unsupported, "regular expression: nested character class");
    } else if (in_.substr(at_, 2) == "&&") {
      return fail(errc::unsupported, "regular expression: intersection of character classes (&&)");
    } else if (c == '[') { // [:name:]
      const std::size_t end = in_.find(":]", at_);
      if (end == std::string_view::npos) {
        return fail(errc::unsupported, "regular expression: nested character class");
      }
      copy(end + 2 - at_);
      return {};
    }
    copy(1);
    return {};
  }

  result<void> translate_escape() {
    const char kind = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    switch (kind) {
    case 's':
    case 'S':
      return put_class(white_space, kind == 'S');
    case 'w':
    case 'W':
      return put_class(word_character, kind == 'W');
    case 'h':
    case 'H':
      return put_class(hex_digit, kind == 'H');
    case 'u':
      if (in_.size() - at_ < 6) {
        return fail(errc::unsupported, "regular expression: \\u without four hex digits");
      }
      out_ += fmt::format("\\x{{{}}}", in_.substr(at_ + 2, 4));
      at_ += 6;
      return {};
    default:
      copy(2 <= in_.size() - at_ ? 2 : 1);
      return {};
    }
  }

  result<void> put_class(std::string_view members, bool is_negated) {
    if (!in_class_) {
      out_ += fmt::format("[{}{}]", is_negated ? "^" : "", members);
      at_ += 2;
    } else if (!is_negated) {
      out_ += members;
      at_ += 2;
    } else if (in_[at_ + 1] == 'H') {
      return fail(errc::unsupported, "regular expression: \\H inside a character class");
    } else {
      copy(2); // PCRE2's own \S and \W, which differ in a handful of characters only
    }
    return {};
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
  std::size_t class_begin_ = 0;
  bool in_class_ = false;
};

std::string pcre2_message(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

struct code_deleter {
  void operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
};

struct match_data_deleter {
  void operator()(pcre2_match_data* data) const noexcept { pcre2_match_data_free(data); }
};

struct match_context_deleter {
  void operator()(pcre2_match_context* context) const noexcept {
    pcre2_match_context_free(context);
  }
};

} // namespace

struct text_pattern::compiled {
  std::unique_ptr<pcre2_code, code_deleter> code;
  std::unique_ptr<pcre2_match_context, match_context_deleter>
      limits; // read only after construction
  bool has_jit = false;

  /// One match at or behind `from`; the spans land in `data`. PCRE2's return code.
  int match(std::string_view utf8, std::size_t from, pcre2_match_data* data) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(utf8.data());
    int code_or_count = PCRE2_ERROR_JIT_STACKLIMIT;
    if (has_jit) {
      code_or_count = pcre2_jit_match(
          code.get(), subject, utf8.size(), from, PCRE2_NO_UTF_CHECK, data, limits.get());
    }
    if (code_or_count == PCRE2_ERROR_JIT_STACKLIMIT) {
      // The JIT works on 32 KiB of stack; the interpreter has the heap up to its limit.
      code_or_count = pcre2_match(code.get(),
                                  subject,
                                  utf8.size(),
                                  from,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                  data,
                                  limits.get());
    }
    return code_or_count;
  }
};

text_pattern text_pattern::literal(std::string text) {
  text_pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

result<text_pattern> text_pattern::regex(std::string_view pattern) {
  if (pattern.size() > pattern_bytes_max) {
    return fail(errc::unsupported,
                fmt::format("regular expression: {} bytes, at most {} are allowed",
                            pattern.size(),
                            pattern_bytes_max));
  }
  VDIST_ASSIGN(const std::string source, pattern_translator(pattern).translate());
  auto shared = std::make_shared<compiled>();
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ always work line by line, hence MULTILINE.
  shared->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()),
                    source.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                    &code,
                    &offset,
                    nullptr));
  if (!shared->code) {
    return fail(
        errc::unsupported,
        fmt::format(
            "regular expression: {} (pattern={}, offset={})", pcre2_message(code), source, offset));
  }
  shared->has_jit = pcre2_jit_compile(shared->code.get(), PCRE2_JIT_COMPLETE) == 0;
  shared->limits.reset(pcre2_match_context_create(nullptr));
  VDIST_CHECK(shared->limits != nullptr, "text_pattern: out of memory");
  pcre2_set_match_limit(shared->limits.get(), match_steps_max);
  pcre2_set_heap_limit(shared->limits.get(), match_heap_kib_max);
  text_pattern made;
  made.code_ = std::move(shared);
  return made;
}

result<void> text_pattern::find_all(std::string_view utf8, std::vector<text_span>& matches) const {
  if (is_literal()) {
    if (literal_.empty()) {
      return {};
    }
    for (std::size_t at = utf8.find(literal_); at != std::string_view::npos;
         at = utf8.find(literal_, at + literal_.size())) {
      matches.push_back(
          {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at + literal_.size())});
    }
    return {};
  }
  const std::unique_ptr<pcre2_match_data, match_data_deleter> data(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  VDIST_CHECK(data != nullptr, "text_pattern: out of memory");
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
  std::size_t from = 0;
  std::size_t last_end = std::string_view::npos;
  while (from <= utf8.size()) {
    const int count = code_->match(utf8, from, data.get());
    if (count == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (count < 0) {
      return fail(errc::resource_exhausted,
                  fmt::format("regular expression: {} (text_bytes={}, offset={})",
                              pcre2_message(count),
                              utf8.size(),
                              from));
    }
    const std::size_t begin = span[0];
    const std::size_t end = span[1];
    if (begin >= end && end == last_end) {
      from = end + (end < utf8.size() ? code_point_at(utf8, end).bytes : 1);
      continue;
    }
    if (begin > end) { // \K inside a lookahead can do this; such a match has no text
      return fail(errc::unsupported, "regular expression: a match ends before it begins");
    }
    matches.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    from = end;
    last_end = end;
  }
  return {};
}

result<std::string> text_pattern::replace_all(std::string_view utf8,
                                              std::string_view content) const {
  std::vector<text_span> matches;
  VDIST_TRY(find_all(utf8, matches));
  std::string out;
  out.reserve(utf8.size());
  std::size_t copied = 0;
  for (const text_span& match : matches) {
    out.append(utf8.substr(copied, match.begin - copied));
    out.append(content);
    copied = match.end;
  }
  out.append(utf8.substr(copied));
  return out;
}

} // namespace vdist::text
