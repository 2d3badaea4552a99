#include "actors/run/time_line.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace vdist::actors;

namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

/// Every element that is opened is closed, in order; attributes hold no '<'.
bool is_well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (auto at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const auto end = text.find('>', at);
    if (end == std::string::npos
        || text.substr(at + 1, end - at - 1).find('<') != std::string::npos) {
      return false;
    }
    const auto name = text.substr(at + 1, text.find_first_of(" >", at) - at - 1);
    if (name.front() == '/') {
      if (open.empty() || open.back() != name.substr(1)) {
        return false;
      }
      open.pop_back();
    } else if (text[end - 1] != '/') {
      open.push_back(name);
    }
  }
  return open.empty();
}

time_line example() {
  time_line line{.title = "three kills", .note = "0 lost", .tokens = {}, .marks = {}};
  for (int i = 0; i < 300; ++i) {
    line.tokens.push_back(i % 50 < 3 ? 0 : 20);
  }
  line.marks = {{500, 25.0, "kill9 at worker.step_begin, rank 1"},
                {1000, 30.5, "kill9 at worker.load"},
                {2000, {}, "delay"}};
  return line;
}

} // namespace

BOOST_AUTO_TEST_SUITE(time_lines)

BOOST_AUTO_TEST_CASE(is_one_file_that_needs_nothing_else) {
  const auto svg = draw_time_line(example());
  BOOST_TEST(svg.starts_with("<svg xmlns="));
  BOOST_TEST(is_well_formed(svg));
  for (const char* foreign : {"<script", "href", "url(", "@import", "@font-face"}) {
    BOOST_TEST(svg.find(foreign) == std::string::npos, foreign);
  }
  BOOST_TEST(svg.find("prefers-color-scheme: dark") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(marks_stalls_and_names_every_fault) {
  const auto svg = draw_time_line(example());
  BOOST_TEST(count(svg, "class=\"mark\"") == 3U);
  BOOST_TEST(count(svg, "class=\"flag\"") == 3U);
  BOOST_TEST(count(svg, "class=\"stall\"") == 2U);
  BOOST_TEST(svg.find("2  kill9 at worker.load<") != std::string::npos);
  BOOST_TEST(svg.find("tokens per second") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_long_run_is_no_larger_picture) {
  auto line = example();
  line.tokens.assign(30000, 7);
  for (int i = 0; i < 500; ++i) {
    line.marks.push_back({static_cast<double>(i) * 600, {}, "more"});
  }
  const auto svg = draw_time_line(line);
  BOOST_TEST(svg.size() < 160'000U);
  BOOST_TEST(count(svg, "class=\"flag\"") == time_line_legend_max);
  BOOST_TEST(count(svg, "class=\"mark\"") == 503U);
  BOOST_TEST(is_well_formed(svg));
}

BOOST_AUTO_TEST_CASE(texts_cannot_leave_their_element) {
  auto line = example();
  line.title = "<b>&\"\n";
  line.marks.front().text = "</text><script>";
  const auto svg = draw_time_line(line);
  BOOST_TEST(is_well_formed(svg));
  BOOST_TEST(svg.find("<script") == std::string::npos);
  BOOST_TEST(svg.find("&lt;b&gt;&amp;&quot; ") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(nothing_at_all_can_be_drawn) {
  const auto svg = draw_time_line({});
  BOOST_TEST(is_well_formed(svg));
  BOOST_TEST(svg.find("nan") == std::string::npos);
  BOOST_TEST(svg.find("inf") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
