// tests/runtime/text/jinja/template_fixture.hpp — renders a template in one go, with a fixed time.
#pragma once

#include "runtime/text/jinja/chat_template.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace vdist::testing {

using nlohmann::ordered_json;
using text::jinja::chat_template;
using text::jinja::render_options;

/// Friday, 2024-07-26, at an hour and minute of choice.
inline std::tm fixed_time(int hour = 0, int minute = 0, int second = 0) {
  std::tm made{};
  made.tm_year = 124;
  made.tm_mon = 6;
  made.tm_mday = 26;
  made.tm_wday = 5;
  made.tm_yday = 207;
  made.tm_hour = hour;
  made.tm_min = minute;
  made.tm_sec = second;
  return made;
}

inline result<std::string> rendered(const std::string& source,
                                    const ordered_json& context = ordered_json::object(),
                                    const render_options& options = {}) {
  VDIST_ASSIGN(const chat_template made, chat_template::compile(source));
  return made.render(context, options);
}

/// The text, or the error in brackets: for comparisons that print well.
inline std::string shown(const std::string& source,
                         const ordered_json& context = ordered_json::object(),
                         const render_options& options = {}) {
  const auto made = rendered(source, context, options);
  return made ? *made : "<" + made.error().context + ">";
}

inline std::string file_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(stream.good(), "cannot read " << file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

} // namespace vdist::testing
