// Mutates a legal file with a fixed seed: whatever the bytes, the loader returns a value or one
// error of the right kind.
#include "tests/fuzz/text_material.hpp"

#include "runtime/config/describe.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

using namespace vdist;
using namespace vdist::config;
using namespace vdist::testing::fuzz;

namespace {

constexpr int mutations = 400;

std::string demo() {
  std::ifstream in(std::filesystem::path(VDIST_SOURCE_DIR) / "config" / "demo.toml");
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::vector<std::string_view> pieces{"=",        "[",
                                           "]",        "[[",
                                           "]]",       "{",
                                           "}",        "\"",
                                           "'",        "\n",
                                           ".",        "#",
                                           "-1",       "1e400",
                                           "nan",      "99999999999999999999",
                                           "\"\"\"",   "\\u0000",
                                           "\xff",     "true",
                                           "node",     "[[node]]\n",
                                           "\n[=",     "\n[]",
                                           "parallel", "tensor = 3\n",
                                           "\r",       ","};

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz)

BOOST_AUTO_TEST_CASE(mutated_files_give_a_value_or_one_clear_error) {
  const std::string original = demo();
  auto from = text_material(std::array{original}, pieces);
  from.bytes_max = 2 * original.size();
  BOOST_REQUIRE(parse(original, "f.toml").has_value());
  int accepted = 0;
  for (int i = 0; i < mutations; ++i) {
    const std::string text = text_input(from, i);
    const auto config = parse(text, "f.toml");
    BOOST_TEST_INFO("mutation " << i);
    if (config) {
      ++accepted;
      BOOST_TEST(parse(to_toml(*config), "again.toml").has_value());
    } else {
      BOOST_TEST((config.error().code == errc::bad_configuration));
      BOOST_TEST(config.error().context.starts_with("f.toml"));
      BOOST_TEST(config.error().context.find('\n') == std::string::npos);
    }
  }
  BOOST_TEST_MESSAGE(accepted << " of " << mutations << " mutated files were accepted");
  BOOST_TEST(accepted > 0); // mutations inside comments are harmless
  BOOST_TEST(accepted < mutations);
}

BOOST_AUTO_TEST_CASE(mutated_overrides_give_a_value_or_one_clear_error) {
  const std::string original = demo();
  const std::vector<std::string> seeds{"parallel.tensor=2",
                                       "device={kind=\"sim\", sim={step_us=7}}",
                                       "node=[{name=\"a\", devices=[0, 1]}]",
                                       "model.path=/a/b"};
  const auto from = text_material(seeds, pieces);
  for (int i = 0; i < mutations; ++i) {
    const std::vector<std::string> overrides{text_input(from, i)};
    const auto config = parse(original, "f.toml", overrides);
    if (!config) {
      BOOST_TEST((config.error().code == errc::bad_configuration));
      BOOST_TEST(config.error().context.find('\n') == std::string::npos);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
