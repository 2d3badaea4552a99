// Every check on small samples: it must find what it is for, and nothing in clean text.
#include "tests/tidy/checks.hpp"

#include <boost/test/unit_test.hpp>

namespace vdist::tidy {

namespace {

using where = banned_rule::where;

/// Two folders, b above a.
const std::vector<edge_rule> two_folders{{"runtime/a", {}}, {"runtime/b", {"runtime/a"}}};

source_file header(std::string path, const std::string& body) {
  auto text = "// " + path + " — a sample.\n#pragma once\n" + body;
  return {std::move(path), std::move(text)};
}

} // namespace

BOOST_AUTO_TEST_SUITE(tidy_checks)

BOOST_AUTO_TEST_CASE(blanks_comments_and_literals_and_keeps_lines) {
  const std::string text =
      "int a = 1'000; // [&]\nchar c = '\"'; /* [=]\n */ auto s = \"[&] \\\" x\"; f();\n";
  const auto code = code_of(text);
  BOOST_TEST(code.size() == text.size());
  BOOST_TEST(std::count(code.begin(), code.end(), '\n') == 3);
  BOOST_TEST(code.find('[') == std::string::npos);
  BOOST_TEST(code.find("1'000;") != std::string::npos);
  BOOST_TEST(code.find("f();") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(blanks_raw_strings_to_their_own_end) {
  const auto code = code_of("auto s = R\"x([&] )\" still)x\"; g();");
  BOOST_TEST(code.find("still") == std::string::npos);
  BOOST_TEST(code.find("g();") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(survives_text_that_ends_anywhere) {
  const std::string text = "#include \"a\"\nR\"(x)\" /* y */ \"z\\\"\" 'c' // w\n";
  for (std::size_t length = 0; length <= text.size(); ++length) {
    BOOST_TEST(code_of(text.substr(0, length)).size() == length);
  }
}

BOOST_AUTO_TEST_CASE(reads_includes_with_their_lines) {
  const auto found =
      includes_of("#include \"runtime/a/x.hpp\"\n// #include \"no.hpp\"\n#include <vector>\n");
  BOOST_TEST_REQUIRE(found.size() == 2U);
  BOOST_TEST(found[0].target == "runtime/a/x.hpp");
  BOOST_TEST(found[0].is_ours);
  BOOST_TEST(found[1].target == "vector");
  BOOST_TEST(found[1].line == 3U);
}

BOOST_AUTO_TEST_CASE(names_folders_by_two_levels) {
  BOOST_TEST(folder_of("actors/worker/worker.hpp") == "actors/worker");
  BOOST_TEST(folder_of("kernels/backend.hpp") == "kernels");
  BOOST_TEST(folder_of("tests/runtime/kv/block_pool_test.cpp") == "tests/runtime");
  BOOST_TEST(folder_of("Makefile") == "");
  BOOST_TEST(matches("kernels/*", "kernels"));
  BOOST_TEST(matches("kernels/*", "kernels/cpu"));
  BOOST_TEST(!matches("kernels/*", "kernels2/cpu"));
  BOOST_TEST(!matches("kernels", "kernels/cpu"));
}

BOOST_AUTO_TEST_CASE(finds_an_include_against_the_direction) {
  const std::vector<source_file> files{header("runtime/a/x.hpp", "#include \"runtime/b/y.hpp\"\n"),
                                       header("runtime/b/y.hpp", "#include \"runtime/a/x.hpp\"\n")};
  const auto found = check_edges(files, two_folders);
  BOOST_TEST_REQUIRE(found.size() == 1U);
  BOOST_TEST(found[0] == "runtime/a/x.hpp:3: runtime/a may not include runtime/b");
}

BOOST_AUTO_TEST_CASE(finds_includes_that_are_not_from_the_root) {
  const std::vector<source_file> files{header("runtime/a/x.hpp", "#include \"y.hpp\"\n"),
                                       header("runtime/a/y.hpp", "")};
  BOOST_TEST(check_edges(files, two_folders).size() == 1U);
}

BOOST_AUTO_TEST_CASE(finds_folders_without_a_rule) {
  BOOST_TEST(check_edges({header("runtime/new/x.hpp", "")}, two_folders).size() == 1U);
}

BOOST_AUTO_TEST_CASE(finds_libraries_away_from_home) {
  const std::vector<library_rule> rules{{"caf/", {"actors/"}}};
  const auto with = [](const char* path, const char* line) {
    return std::vector<source_file>{header(path, line)};
  };
  BOOST_TEST(check_libraries(with("actors/a.hpp", "#include <caf/actor.hpp>\n"), rules).empty());
  BOOST_TEST(check_libraries(with("runtime/a.hpp", "#include <caf/actor.hpp>\n"), rules).size()
             == 1U);
  BOOST_TEST(check_libraries(with("actors/a.hpp", "#include <other/thing.hpp>\n"), rules).size()
             == 1U);
  BOOST_TEST(
      check_libraries(with("runtime/a.hpp", "#include <sys/mman.h>\n#include <vector>\n"), rules)
          .empty());
}

BOOST_AUTO_TEST_CASE(finds_circles_over_several_folders) {
  const std::vector<source_file> line{header("runtime/a/x.hpp", "#include \"runtime/b/x.hpp\"\n"),
                                      header("runtime/b/x.hpp", "#include \"runtime/c/x.hpp\"\n"),
                                      header("runtime/c/x.hpp", "")};
  BOOST_TEST(check_circles(line).empty());
  auto circle = line;
  circle[2] = header("runtime/c/x.hpp", "#include \"runtime/a/x.hpp\"\n");
  const auto found = check_circles(circle);
  BOOST_TEST_REQUIRE(found.size() == 1U);
  BOOST_TEST(found[0] == "circle: runtime/a -> runtime/b -> runtime/c -> runtime/a");
}

BOOST_AUTO_TEST_CASE(demands_head_comment_and_pragma_once) {
  BOOST_TEST(check_headers({header("runtime/a/x.hpp", "int x();\n")}).empty());
  BOOST_TEST(check_headers({{"runtime/a/x.hpp", "#pragma once\n"}}).size() == 1U);
  BOOST_TEST(check_headers({{"runtime/a/x.hpp", "// runtime/a/x.hpp — x.\nint x();\n"}}).size()
             == 1U);
  BOOST_TEST(
      check_headers({{"runtime/a/x.hpp", "// runtime/b/x.hpp — moved.\n#pragma once\n"}}).size()
      == 1U);
  BOOST_TEST(check_headers({header("runtime/a/x.hpp", "using namespace std;\n")}).size() == 1U);
  BOOST_TEST(
      check_headers({header("runtime/a/x.hpp", "// using namespace is explained here\n")}).empty());
}

BOOST_AUTO_TEST_CASE(finds_banned_words_where_they_are_banned) {
  const std::vector<banned_rule> rules{
      {"[&]", where::code, {"actors/"}, {}, "names"},
      {"FIXME", where::whole_word, {"actors/", "tests/"}, {"tests/tidy/"}, "a fix"},
      {"/place/", where::text, {"config/"}, {}, "a relative path"}};
  const auto count = [&rules](const char* path, const char* text) {
    return check_banned({{path, text}}, rules).size();
  };
  BOOST_TEST(count("actors/a.cpp", "auto f = [&] {};\n") == 1U);
  BOOST_TEST(count("runtime/a.cpp", "auto f = [&] {};\n") == 0U);
  BOOST_TEST(count("actors/a.cpp", "// never [&]\n") == 0U);
  BOOST_TEST(count("actors/a.cpp", "// FIXME\n") == 1U);
  BOOST_TEST(count("actors/a.cpp", "int FIXMEs;\n") == 0U);
  BOOST_TEST(count("tests/tidy/a.cpp", "// FIXME\n") == 0U);
  BOOST_TEST(count("config/a.toml", "path = \"/place/x\"\n") == 1U);
}

BOOST_AUTO_TEST_CASE(demands_a_short_readme_beside_sources) {
  const source_file code = header("runtime/a/x.hpp", "");
  const auto lines = [](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      text += "line\n";
    }
    return text;
  };
  BOOST_TEST(check_documents({code}).size() == 1U);
  BOOST_TEST(check_documents({code, {"runtime/a/README.md", lines(30)}}).empty());
  BOOST_TEST(check_documents({code, {"runtime/a/README.md", lines(31)}}).size() == 1U);
  BOOST_TEST(check_documents({{"README.md", lines(200)}, {"ARCHITECTURE.md", lines(250)}}).empty());
  BOOST_TEST(check_documents({{"ARCHITECTURE.md", lines(251)}}).size() == 1U);
}

BOOST_AUTO_TEST_CASE(measures_files_and_functions) {
  const std::vector<source_file> files{{"a.cpp",
                                        "namespace x {\nstruct s {\n  int y;\n};\nvoid f(int a,\n  "
                                        "     int b) {\n  if (a) {\n  }\n}\n} // namespace x\n"},
                                       {"b.cpp", "int g() {\n  return 1;\n}\n"}};
  const auto functions = largest_functions(files, 5);
  BOOST_TEST_REQUIRE(functions.size() == 2U);
  BOOST_TEST(functions[0].name == "a.cpp:6");
  BOOST_TEST(functions[0].lines == 4U);
  BOOST_TEST(functions[1].lines == 3U);
  const auto largest = largest_files(files, 1);
  BOOST_TEST_REQUIRE(largest.size() == 1U);
  BOOST_TEST(largest[0].name == "a.cpp");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist::tidy
