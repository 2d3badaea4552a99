// The rules on the tree itself.
#include "tests/tidy/checks.hpp"

#include <boost/test/unit_test.hpp>

#include <iostream>

namespace vdist::tidy {

namespace {

const std::vector<source_file>& tree() {
  static const auto files = read_tree(VDIST_SOURCE_DIR);
  return files;
}

void expect_none(const breaches& found) {
  for (const auto& line : found) {
    BOOST_ERROR(line);
  }
  BOOST_TEST(found.empty());
}

void print(const char* title, const std::vector<size_entry>& entries) {
  std::cout << title << '\n';
  for (const auto& entry : entries) {
    std::cout << "  " << entry.lines << "  " << entry.name << '\n';
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(tidy_tree)

BOOST_AUTO_TEST_CASE(the_tree_is_there) {
  constexpr std::size_t files_least = 100;
  BOOST_TEST(tree().size() > files_least);
}

BOOST_AUTO_TEST_CASE(includes_follow_the_folder_map) {
  expect_none(check_edges(tree(), edge_rules()));
}

BOOST_AUTO_TEST_CASE(folders_include_each_other_without_circles) {
  expect_none(check_circles(tree()));
}

BOOST_AUTO_TEST_CASE(libraries_stay_at_home) {
  expect_none(check_libraries(tree(), library_rules()));
}

BOOST_AUTO_TEST_CASE(headers_say_what_they_are_for) {
  expect_none(check_headers(tree()));
}

BOOST_AUTO_TEST_CASE(banned_words_do_not_occur) {
  expect_none(check_banned(tree(), banned_rules()));
}

BOOST_AUTO_TEST_CASE(every_folder_has_a_short_readme) {
  expect_none(check_documents(tree()));
}

BOOST_AUTO_TEST_CASE(sizes_are_shown) {
  constexpr std::size_t shown = 10;
  print("largest files, in lines:", largest_files(tree(), shown));
  print("largest functions, in lines:", largest_functions(tree(), shown));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist::tidy
