// Mutates a legal file with a fixed seed: whatever the bytes, the loader returns a value or one
// error of the right kind.
#include "runtime/config/describe.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::config;

namespace {

constexpr int mutations = 400;

std::string demo() {
  std::ifstream in(std::filesystem::path(VDIST_SOURCE_DIR) / "config" / "demo.toml");
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::vector<std::string> pieces{"=",        "[",
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

std::string mutated(std::string text, std::mt19937_64& random) {
  const auto below = [&random](std::size_t n) {
    return static_cast<std::size_t>(random() % n);
  };
  for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
    const std::size_t at = below(text.size());
    switch (below(5)) {
    case 0:
      text[at] = static_cast<char>(random() % 256);
      break;
    case 1:
      text.erase(at, 1 + below(30));
      break;
    case 2:
      text.insert(at, pieces[below(pieces.size())]);
      break;
    case 3:
      text.insert(at, text.substr(below(text.size()), below(60)));
      break;
    default:
      text.resize(at);
      break;
    }
  }
  return text;
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz)

BOOST_AUTO_TEST_CASE(mutated_files_give_a_value_or_one_clear_error) {
  std::mt19937_64 random(20240607);
  const std::string original = demo();
  BOOST_REQUIRE(parse(original, "f.toml").has_value());
  int accepted = 0;
  for (int i = 0; i < mutations; ++i) {
    const std::string text = mutated(original, random);
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
  std::mt19937_64 random(77);
  const std::string original = demo();
  const std::vector<std::string> seeds{"parallel.tensor=2",
                                       "device={kind=\"sim\", sim={step_us=7}}",
                                       "node=[{name=\"a\", devices=[0, 1]}]",
                                       "model.path=/a/b"};
  for (int i = 0; i < mutations; ++i) {
    const std::vector<std::string> overrides{
        mutated(seeds[static_cast<std::size_t>(i) % seeds.size()], random)};
    const auto config = parse(original, "f.toml", overrides);
    if (!config) {
      BOOST_TEST((config.error().code == errc::bad_configuration));
      BOOST_TEST(config.error().context.find('\n') == std::string::npos);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
