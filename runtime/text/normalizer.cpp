#include "runtime/text/normalizer.hpp"

namespace vdist::text {
namespace {

result<std::string> apply_step(const normal_form_step& step, std::string_view utf8) {
  return normalise(step.form, utf8);
}

result<std::string> apply_step(const lower_case_step&, std::string_view utf8) {
  return lower_case(utf8);
}

result<std::string> apply_step(const replace_step& step, std::string_view utf8) {
  return step.pattern.replace_all(utf8, step.content);
}

result<std::string> apply_step(const prepend_step& step, std::string_view utf8) {
  std::string out;
  if (!utf8.empty()) {
    out.reserve(step.text.size() + utf8.size());
    out.append(step.text).append(utf8);
  }
  return out;
}

result<std::string> apply_step(const strip_step& step, std::string_view utf8) {
  while (step.left && !utf8.empty()) {
    const code_point first = code_point_at(utf8, 0);
    if (!is_white_space(first.value)) {
      break;
    }
    utf8.remove_prefix(first.bytes);
  }
  while (step.right && !utf8.empty()) {
    const std::size_t last = code_point_before(utf8, utf8.size());
    if (!is_white_space(code_point_at(utf8, last).value)) {
      break;
    }
    utf8 = utf8.substr(0, last);
  }
  return std::string(utf8);
}

result<std::string> apply_step(const strip_accents_step&, std::string_view utf8) {
  std::string out;
  for (std::size_t at = 0; at < utf8.size();) {
    const code_point c = code_point_at(utf8, at);
    if (!is_mark(c.value)) {
      out.append(utf8.substr(at, c.bytes));
    }
    at += c.bytes;
  }
  return out;
}

} // namespace

result<std::string> normalizer::apply(std::string_view utf8) const {
  std::string text(utf8);
  for (const normalizer_step& step : steps_) {
    VDIST_ASSIGN(text, std::visit([&text](const auto& s) { return apply_step(s, text); }, step));
  }
  return text;
}

} // namespace vdist::text
