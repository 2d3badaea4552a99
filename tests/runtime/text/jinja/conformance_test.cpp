// Real chat templates, and the cases of another implementation, against what jinja2 made of them.
#include "tests/runtime/text/jinja/template_fixture.hpp"
#include "tests/support/test_data.hpp"

#include <algorithm>
#include <chrono>
#include <map>

namespace vdist::testing {
namespace {

std::filesystem::path templates() {
  return *test_data_dir() / "chat_templates";
}

/// What transformers passes for every conversation, then what the case says.
ordered_json context_of(const ordered_json& one) {
  ordered_json made{
      {"tools", nullptr}, {"documents", nullptr}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
  made.update(one);
  return made;
}

void compare(const std::string& name,
             const result<std::string>& made,
             const ordered_json& row,
             const char* text,
             const char* error) {
  if (row.contains(error)) {
    BOOST_CHECK_MESSAGE(!made, name << ": rendered, jinja2 raises " << row[error]);
  } else {
    BOOST_CHECK_MESSAGE(made && *made == row[text].get<std::string>(),
                        name << ": got " << (made ? *made : made.error().context)
                             << "\n jinja2 has " << row[text]);
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(j1_real_templates_render_as_in_jinja2, *needs_test_data()) {
  const auto contexts =
      ordered_json::parse(file_text(templates() / "conformance/golden_contexts.json"));
  const render_options options{.limits = {}, .now = fixed_time()};
  std::map<std::string, chat_template> compiled;
  std::istringstream lines(file_text(templates() / "conformance/golden_python_jinja2.jsonl"));
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    const auto row = ordered_json::parse(line);
    const auto file = row["template"].get<std::string>();
    auto found = compiled.find(file);
    if (found == compiled.end()) {
      auto made = chat_template::compile(file_text(templates() / file));
      BOOST_REQUIRE_MESSAGE(made, file << " is refused");
      found = compiled.emplace(file, *std::move(made)).first;
    }
    const auto name = row["case"].get<std::string>();
    compare(file + " " + name,
            found->second.render(context_of(contexts[name]), options),
            row,
            "expected",
            "error");
  }
  BOOST_TEST(rows == 1125u);
  BOOST_TEST_MESSAGE(rows << " rows of " << compiled.size() << " templates");
}

BOOST_AUTO_TEST_CASE(j1_cases_of_another_implementation_render_as_in_jinja2, *needs_test_data()) {
  const auto rows =
      ordered_json::parse(file_text(templates() / "conformance/huggingface.js_jinja_cases.json"));
  for (const auto& row : rows) {
    compare(row["name"].get<std::string>(),
            rendered(row["template"].get<std::string>(), row["context"]),
            row,
            "expected_python",
            "error_python");
  }
  BOOST_TEST(rows.size() == 161u);
}

BOOST_AUTO_TEST_CASE(twenty_messages_take_less_than_a_millisecond, *needs_test_data()) {
  const auto made = chat_template::compile(
      file_text(templates() / "ik_llama.cpp/meta-llama-Llama-3.1-8B-Instruct.jinja"));
  BOOST_REQUIRE(made);
  ordered_json context = context_of(ordered_json::object());
  context["add_generation_prompt"] = true;
  for (int i = 0; i < 20; ++i) {
    context["messages"].push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"},
         {"content", "What is the weather like in " + std::to_string(i)}});
  }
  using clock_type = std::chrono::steady_clock;
  auto best = clock_type::duration::max(); // what it takes when nothing else runs
  for (int i = 0; i < 200; ++i) {
    const auto begin = clock_type::now();
    const auto text = made->render(context);
    best = std::min(best, clock_type::now() - begin);
    BOOST_REQUIRE(text);
    BOOST_REQUIRE(text->find("like in 19") != std::string::npos);
  }
  const auto micros = std::chrono::duration<double, std::micro>(best).count();
  BOOST_TEST_MESSAGE("20 messages through Llama 3.1's template: " << micros << " us");
  BOOST_TEST(micros < 1000);
}

} // namespace vdist::testing
