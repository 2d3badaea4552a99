// Compares with what jinja2 rendered, as recorded by tests/golden/chat_template/record.py.
#include "tests/runtime/text/jinja/template_fixture.hpp"

namespace vdist::testing {

BOOST_AUTO_TEST_CASE(j1_renders_as_the_recorded_jinja2) {
  const auto folder = std::filesystem::path(VDIST_SOURCE_DIR) / "tests/golden/chat_template";
  const auto context = ordered_json::parse(file_text(folder / "context.json"));
  const render_options options{.limits = {}, .now = fixed_time(12, 34, 56)};
  std::istringstream lines(file_text(folder / "cases.jsonl"));
  std::size_t texts = 0;
  std::size_t errors = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto row = ordered_json::parse(line);
    const auto source = row["template"].get<std::string>();
    const auto made = rendered(source, context, options);
    if (row.contains("error")) {
      ++errors;
      BOOST_CHECK_MESSAGE(!made, source << ": rendered, jinja2 raises " << row["error"]);
    } else {
      ++texts;
      BOOST_CHECK_MESSAGE(made && *made == row["text"].get<std::string>(),
                          source << ": got " << (made ? *made : made.error().context)
                                 << ", jinja2 has " << row["text"]);
    }
  }
  BOOST_TEST(texts >= 228u);
  BOOST_TEST(errors >= 151u);
}

} // namespace vdist::testing
