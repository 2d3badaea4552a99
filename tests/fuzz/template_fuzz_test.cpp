// Chat templates with contexts: whatever they are, a rendering ends soon, with the same text or error
// every time.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"

#include "runtime/text/jinja/chat_template.hpp"
#include "runtime/text/unicode.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

using namespace vdist;
using namespace vdist::testing::fuzz;
using nlohmann::ordered_json;
using text::jinja::chat_template;

namespace {

/// Stands between a template and its context.
constexpr char separator = '\x01';

const std::vector<std::string_view> template_pieces{"{{",
                                                    "}}",
                                                    "{%",
                                                    "%}",
                                                    "{#",
                                                    "#}",
                                                    "-%}",
                                                    "{%-",
                                                    "+%}",
                                                    "{% raw %}",
                                                    "{% endraw %}",
                                                    "{% for x in xs %}",
                                                    "{% endfor %}",
                                                    "{% if ",
                                                    "{% else %}",
                                                    "{% elif ",
                                                    "{% endif %}",
                                                    "{% set x = ",
                                                    "{% set ns.x = ",
                                                    "{% endset %}",
                                                    "{% macro m(a, b=1) %}",
                                                    "{% endmacro %}",
                                                    "{% call m() %}",
                                                    "{% endcall %}",
                                                    "{% filter ",
                                                    "{% endfilter %}",
                                                    "{% break %}",
                                                    "{% continue %}",
                                                    " recursive",
                                                    "loop(xs)",
                                                    "loop.",
                                                    "namespace(",
                                                    "range(99999)",
                                                    "range(",
                                                    "dict(",
                                                    "caller()",
                                                    "varargs",
                                                    "kwargs",
                                                    "**d",
                                                    "*xs",
                                                    "10**38",
                                                    "'a' * 99999",
                                                    "'é'",
                                                    "''",
                                                    "[]",
                                                    "{}",
                                                    "()",
                                                    "(1,)",
                                                    "none",
                                                    "true",
                                                    "nosuch",
                                                    "1.5",
                                                    "1e308",
                                                    "-1",
                                                    "0",
                                                    "0x7f",
                                                    " if ",
                                                    " else ",
                                                    " and ",
                                                    " or ",
                                                    " not ",
                                                    " in ",
                                                    " is ",
                                                    " ~ ",
                                                    " // ",
                                                    " % ",
                                                    "**",
                                                    " == ",
                                                    " < ",
                                                    "[::-1]",
                                                    "[1:",
                                                    "[-9:9:2]",
                                                    "|",
                                                    " | list",
                                                    " | map(",
                                                    " | select(",
                                                    " | selectattr('a', 'eq', 1)",
                                                    " | groupby('a')",
                                                    " | sort",
                                                    " | unique",
                                                    " | join(",
                                                    " | tojson(indent=",
                                                    " | indent(",
                                                    " | replace(",
                                                    " | batch(",
                                                    " | slice(",
                                                    " | round(",
                                                    " | int",
                                                    " | float",
                                                    " | format(",
                                                    " | truncate(",
                                                    " | center(",
                                                    " | dictsort",
                                                    " | sum(start=",
                                                    " | default(",
                                                    " | attr(",
                                                    " | items",
                                                    ".split(",
                                                    ".format(",
                                                    ".strip(",
                                                    ".replace(",
                                                    ".items()",
                                                    ".get(",
                                                    ".join(",
                                                    ".rsplit(none, ",
                                                    ".zfill(",
                                                    ".expandtabs(",
                                                    "{0[a].b!r:>{w}}",
                                                    "%(a)s",
                                                    "%*d",
                                                    "\\",
                                                    "\\u00e9",
                                                    "\\x",
                                                    "\n",
                                                    "\r",
                                                    "\xc3\xa9",
                                                    "\xff",
                                                    "\"",
                                                    "'",
                                                    "(",
                                                    ")",
                                                    ",",
                                                    "=",
                                                    ".",
                                                    "{\"xs\":",
                                                    "[[[[[[[[",
                                                    "1e999",
                                                    "18446744073709551616"};

std::vector<std::string> recorded_templates() {
  const auto folder = std::filesystem::path(VDIST_SOURCE_DIR) / "tests/golden/chat_template";
  std::ifstream rows(folder / "cases.jsonl");
  std::ifstream context(folder / "context.json");
  const auto variables = ordered_json::parse(context).dump();
  std::vector<std::string> made;
  for (std::string line; std::getline(rows, line);) {
    const auto row = ordered_json::parse(line);
    if (row.contains("text")) {
      made.push_back(row["template"].get<std::string>() + separator + variables);
    }
  }
  return made;
}

text::jinja::render_options small_limits() {
  text::jinja::render_options made;
  made.limits.steps_max = 100'000;
  made.limits.memory_bytes_max = std::size_t{8} << 20U;
  made.limits.output_bytes_max = std::size_t{1} << 20U;
  made.limits.time_max = std::chrono::minutes(1); // steps end it, the same way every time
  made.now = std::tm{};
  return made;
}

judgement judge_error_with_place(const error& cause) {
  const auto found = judge_error(cause, cause.code);
  if (!found.complaint.empty()) {
    return found;
  }
  if (cause.code == errc::internal || cause.code == errc::timed_out) {
    return wrong("an error of another kind: " + cause.context);
  }
  return cause.context.starts_with("chat template: ") ? refused()
                                                      : wrong("another error: " + cause.context);
}

judgement judge_template(std::span<const std::byte> input) {
  const auto whole = text_of(input);
  const auto cut = std::min(whole.find(separator), whole.size());
  auto context = ordered_json::parse(whole.substr(std::min(cut + 1, whole.size())), nullptr, false);
  if (!context.is_object()) {
    context = ordered_json{{"xs", {3, 1, 2}}, {"d", {{"a", "b"}}}};
  }
  const auto made = chat_template::compile(std::string(whole.substr(0, cut)));
  if (!made) {
    return judge_error_with_place(made.error());
  }
  const auto options = small_limits();
  const auto once = made->render(context, options);
  const auto again = made->render(context, options);
  if (once.has_value() != again.has_value()
      || (once ? *once != *again : once.error().context != again.error().context)) {
    return wrong("two renderings differ");
  }
  if (!once) {
    return judge_error_with_place(once.error());
  }
  return text::find_invalid_utf8(*once) == std::string::npos ? accepted() : wrong("not UTF-8");
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_template)

BOOST_AUTO_TEST_CASE(chat_templates) { // J-1 to J-3 of runtime/text/jinja/chat_template.hpp
  material from{.pieces = text_pieces(template_pieces)};
  for (const auto& one : recorded_templates()) {
    from.specimens.push_back(text_specimen(one));
  }
  run({.name = "chat template", .from = std::move(from), .judge = judge_template});
}

BOOST_AUTO_TEST_SUITE_END()
