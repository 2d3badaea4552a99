#include "runtime/text/bpe.hpp"

#include "runtime/text/byte_level.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <random>

namespace vdist::text {
namespace {

/// The definition: merge the pair of lowest rank, leftmost first, until none merges.
std::vector<std::string> naive_bpe(std::vector<std::string> parts, const bpe_spec& spec) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (std::size_t i = 0; i < spec.merges.size(); ++i) {
    ranks[spec.merges[i]] = i;
  }
  while (true) {
    std::size_t best = spec.merges.size();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find({parts[i], parts[i + 1]});
      if (found != ranks.end() && found->second < best) {
        best = found->second;
        where = i;
      }
    }
    if (best == spec.merges.size()) {
      return parts;
    }
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

/// A random vocabulary over `letters` with `merge_count` merges of tokens that exist by then.
bpe_spec random_spec(const std::vector<std::string>& letters,
                     std::size_t merge_count,
                     std::mt19937& random) {
  bpe_spec spec;
  std::vector<std::string> tokens = letters;
  for (std::size_t i = 0; i < merge_count; ++i) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    spec.merges.emplace_back(left, right);
    if (std::find(tokens.begin(), tokens.end(), left + right) == tokens.end()) {
      tokens.push_back(left + right);
    }
  }
  std::shuffle(spec.merges.begin(), spec.merges.end(), random);
  for (const std::string& token : tokens) {
    spec.vocabulary.emplace_back(token, static_cast<token_id>(spec.vocabulary.size()));
  }
  return spec;
}

std::vector<std::string> texts_of(const std::vector<token_id>& ids, const bpe_spec& spec) {
  std::vector<std::string> texts;
  for (const token_id id : ids) {
    texts.push_back(spec.vocabulary[static_cast<std::size_t>(id)].first);
  }
  return texts;
}

std::vector<std::string> encode(const bpe& model, const bpe_spec& spec, std::string_view word) {
  bpe::scratch scratch;
  std::vector<token_id> ids;
  BOOST_REQUIRE(model.encode(word, scratch, ids).has_value());
  return texts_of(ids, spec);
}

void check_against_definition(const std::vector<std::string>& letters,
                              std::size_t word_letters_max,
                              unsigned seed) {
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    const bpe_spec spec = random_spec(letters, 1 + random() % 25, random);
    const auto model = bpe::build(spec, word_units::characters);
    BOOST_REQUIRE(model.has_value());
    for (int i = 0; i < 20; ++i) {
      std::vector<std::string> parts(random() % word_letters_max);
      std::string word;
      for (std::string& part : parts) {
        part = letters[random() % letters.size()];
        word += part;
      }
      BOOST_REQUIRE(encode(*model, spec, word) == naive_bpe(parts, spec));
    }
  }
}

const std::string mark = "\xE2\x96\x81";

} // namespace

BOOST_AUTO_TEST_CASE(b1_short_words_follow_the_definition) {
  check_against_definition({"a", "b", "c"}, 40, 1);
}

BOOST_AUTO_TEST_CASE(b1_long_words_follow_the_definition) {
  check_against_definition({"a", "b", "\xC3\xA9"}, 150, 2);
}

BOOST_AUTO_TEST_CASE(b1_cutting_at_marks_changes_nothing) {
  check_against_definition(
      {"a", "b", mark}, 60, 3); // most of these vocabularies merge across marks, some do not
  bpe_spec spec = {.vocabulary = {{"a", 0}, {mark, 1}, {mark + "a", 2}, {mark + mark, 3}},
                   .merges = {{mark, "a"}, {mark, mark}}};
  const auto model = bpe::build(spec, word_units::characters);
  BOOST_REQUIRE(model.has_value());
  BOOST_TEST((encode(*model, spec, "a" + mark + "a" + mark + mark)
              == std::vector<std::string>{"a", mark + "a", mark + mark}));
}

BOOST_AUTO_TEST_CASE(a_vocabulary_entry_that_no_merge_reaches_is_not_a_whole_word) {
  bpe_spec spec = {.vocabulary = {{"a", 0}, {"b", 1}, {"ab", 2}}};
  BOOST_TEST((encode(*bpe::build(spec, word_units::characters), spec, "ab")
              == std::vector<std::string>{"a", "b"}));
  spec.ignore_merges = true;
  BOOST_TEST((encode(*bpe::build(spec, word_units::characters), spec, "ab")
              == std::vector<std::string>{"ab"}));
}

BOOST_AUTO_TEST_CASE(unknown_characters_become_bytes_or_unknown_tokens_or_nothing) {
  bpe_spec spec = {.vocabulary = {{"a", 0}, {"<unk>", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}},
                   .unknown = "<unk>"};
  const std::string word = "a\xC3\xA9\xC3\xA8z";
  const auto encoded = [&] {
    return encode(*bpe::build(spec, word_units::characters), spec, word);
  };
  BOOST_TEST((encoded() == std::vector<std::string>{"a", "<unk>", "<unk>", "<unk>"}));
  spec.fuse_unknown = true;
  BOOST_TEST((encoded() == std::vector<std::string>{"a", "<unk>"}));
  spec.byte_fallback = true; // <0xA8> is missing, so the second character stays unknown
  BOOST_TEST((encoded() == std::vector<std::string>{"a", "<0xC3>", "<0xA9>", "<unk>"}));
  spec.unknown.reset();
  BOOST_TEST((encoded() == std::vector<std::string>{"a", "<0xC3>", "<0xA9>"}));
  spec.unknown = "<missing>";
  bpe::scratch scratch;
  std::vector<token_id> ids;
  const auto failed = bpe::build(spec, word_units::characters)->encode(word, scratch, ids);
  BOOST_TEST((!failed && failed.error().code == errc::corrupt));
}

BOOST_AUTO_TEST_CASE(byte_units_follow_the_definition) {
  bpe_spec spec;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    spec.vocabulary.emplace_back(to_byte_level({&c, 1}), byte);
  }
  BOOST_TEST(bpe::has_all_bytes(spec));
  const std::string first = to_byte_level("\xC3");
  const std::string second = to_byte_level("\xA9");
  spec.vocabulary.emplace_back(first + second, 256);
  spec.merges.emplace_back(first, second);
  const auto model = bpe::build(spec, word_units::bytes);
  BOOST_REQUIRE(model.has_value());
  BOOST_TEST((encode(*model, spec, "a\xC3\xA9\xC3")
              == std::vector<std::string>{"a", first + second, first}));
  spec.vocabulary.erase(spec.vocabulary.begin());
  BOOST_TEST(!bpe::has_all_bytes(spec));
}

BOOST_AUTO_TEST_CASE(a_merge_of_a_missing_token_is_corrupt) {
  const bpe_spec spec = {.vocabulary = {{"a", 0}, {"b", 1}}, .merges = {{"a", "b"}}};
  const auto model = bpe::build(spec, word_units::characters);
  BOOST_REQUIRE(!model.has_value());
  BOOST_TEST((model.error().code == errc::corrupt));
  BOOST_TEST(model.error().context.find("model.merges[0]") != std::string::npos);
}

} // namespace vdist::text
