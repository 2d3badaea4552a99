// Damaged and foreign tokenizer files: errors that name file and key, never a crash.
#include "tests/runtime/text/tokenizer_fixture.hpp"

#include <random>

namespace vdist::text {
namespace {

using nlohmann::json;
using testing::golden_base;
using testing::load_spec;

void expect_error(const result<std::shared_ptr<const tokenizer>>& loaded,
                  errc code,
                  std::string_view named) {
  BOOST_REQUIRE_MESSAGE(!loaded.has_value(), "expected an error that names " << named);
  BOOST_CHECK_MESSAGE(loaded.error().code == code, loaded.error().context);
  BOOST_CHECK_MESSAGE(loaded.error().context.find(named) != std::string::npos,
                      loaded.error().context << " does not name " << named);
}

void expect_error_of(const json& spec, errc code, std::string_view named) {
  const auto loaded = load_spec(spec);
  expect_error(loaded, code, named);
  BOOST_CHECK_MESSAGE(loaded.error().context.find("tokenizer.json") != std::string::npos,
                      loaded.error().context);
}

json with(const json& patch) {
  return testing::patched(golden_base("bytes"), patch);
}

/// A small tokenizer.json with every kind of part, for mutations.
json small_spec() {
  json spec = golden_base("characters");
  json& vocabulary = spec["model"]["vocab"];
  json few;
  for (const auto& [text, id] : vocabulary.items()) {
    if (id.get<int>() < 40 || id.get<int>() > 420) {
      few[text] = id;
    }
  }
  spec["model"]["vocab"] = few;
  json merges = json::array();
  for (const json& merge : spec["model"]["merges"]) {
    const bool known = few.contains(merge[0].get<std::string>())
                       && few.contains(merge[1].get<std::string>())
                       && few.contains(merge[0].get<std::string>() + merge[1].get<std::string>());
    if (known) {
      merges.push_back(merge);
    }
  }
  spec["model"]["merges"] = merges;
  spec["normalizer"] = json::parse(
      R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Replace","pattern":{"Regex":"\\s"},"content":"_"}]})");
  spec["pre_tokenizer"] = json::parse(R"({"type":"Sequence","pretokenizers":[
      {"type":"Split","pattern":{"Regex":"[a-c]|\\p{N}+"},"behavior":"MergedWithNext","invert":false},
      {"type":"Digits","individual_digits":true},{"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]})");
  spec["post_processor"] = json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],
          "special_tokens":{"<s>":{"id":"<s>","ids":[1]}}})");
  spec["decoder"] =
      json::parse(R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},
      "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]})");
  return spec;
}

/// Changes one value somewhere in the tree.
void mutate(json& node, std::mt19937& random) {
  if ((node.is_object() || node.is_array()) && !node.empty() && random() % 8 != 0) {
    const auto it = std::next(node.begin(), static_cast<std::ptrdiff_t>(random() % node.size()));
    if (random() % 10 == 0) {
      node.erase(it);
    } else {
      mutate(*it, random);
    }
    return;
  }
  const json replacements[] = {nullptr,
                               true,
                               -1,
                               0,
                               1,
                               1.5,
                               4'000'000,
                               1'000'000'000'000,
                               "",
                               "a",
                               "\xE2\x96\x81",
                               "<0x41>",
                               "Sequence",
                               "(",
                               json::array(),
                               json::object(),
                               json::array({"a", "b"}),
                               "<s>",
                               "ByteLevel"};
  node = replacements[random() % std::size(replacements)];
}

/// Whatever is accepted must work.
void use(const tokenizer& t) {
  const auto ids = t.encode("a <s> bc 12_\xC3\xA9 \xF0\x9F\x8E\x89", special_tokens::add);
  if (ids) {
    const std::string text = t.decode(*ids, special_tokens_output::keep);
    BOOST_REQUIRE(find_invalid_utf8(text) == std::string_view::npos);
    for (const token_id id : *ids) {
      BOOST_REQUIRE(!t.token_text(id).empty());
    }
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(a_folder_without_files_names_what_it_needs) {
  const testing::model_folder folder;
  expect_error(tokenizer::load(folder.path()), errc::not_found, "tokenizer.json");
  expect_error(tokenizer::load(folder.path() / "missing"), errc::not_found, "missing");
  folder.write("vocab.json", "{}");
  expect_error(tokenizer::load(folder.path()), errc::not_found, "merges.txt");
}

BOOST_AUTO_TEST_CASE(broken_json_is_corrupt) {
  const testing::model_folder folder;
  for (const std::string_view text :
       {"", "{", "[]", "{\"model\": 1}", "{\"model\": {\"vocab\": {}, \"merges\": [", "\xFF\xFE"}) {
    folder.write("tokenizer.json", text);
    expect_error(tokenizer::load(folder.path()),
                 text == "{\"model\": 1}" ? errc::unsupported : errc::corrupt,
                 "tokenizer.json");
  }
  folder.write("tokenizer.json", std::string(100'000, '['));
  expect_error(tokenizer::load(folder.path()), errc::corrupt, "nested");
  folder.write("tokenizer.json", golden_base("bytes").dump());
  folder.write("tokenizer_config.json", "{\"bos_token\": 3}");
  expect_error(tokenizer::load(folder.path()), errc::corrupt, "bos_token");
}

BOOST_AUTO_TEST_CASE(unknown_types_are_named_with_the_supported_ones) {
  expect_error_of(with({{"model", {{"type", "Unigram"}}}}), errc::unsupported, "type=Unigram");
  expect_error_of(
      with({{"normalizer", {{"type", "Precompiled"}}}}), errc::unsupported, "type=Precompiled");
  expect_error_of(with({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}),
                  errc::unsupported,
                  "type=UnicodeScripts");
  expect_error_of(with({{"post_processor", {{"type", "Other"}}}}), errc::unsupported, "type=Other");
  expect_error_of(with({{"decoder", {{"type", "WordPiece"}}}}),
                  errc::unsupported,
                  "supported=Sequence, ByteLevel");
  expect_error_of(with({{"model", {{"dropout", 0.1}}}}), errc::unsupported, "dropout");
  expect_error_of(
      with({{"model", {{"end_of_word_suffix", "</w>"}}}}), errc::unsupported, "end_of_word_suffix");
  expect_error_of(
      with({{"pre_tokenizer",
             {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}}}),
      errc::unsupported,
      "pre_tokenizer.pattern.Regex");
}

BOOST_AUTO_TEST_CASE(contradictions_are_corrupt) {
  const json base = golden_base("bytes");
  json spec = base;
  spec["model"]["vocab"]["doubled"] = 5;
  expect_error_of(spec, errc::corrupt, "id 5");
  spec = base;
  spec["model"]["vocab"]["far"] = 4'000'000;
  expect_error_of(spec, errc::corrupt, "token=far");
  for (const json& id : {json(-1), json("1"), json(1.5), json(1'000'000'000'000)}) {
    spec = base;
    spec["model"]["vocab"]["bad"] = id;
    expect_error_of(spec, errc::corrupt, "token=bad");
  }
  spec = base;
  spec["model"]["merges"].push_back("nowhere else");
  expect_error_of(spec, errc::corrupt, "model.merges[");
  spec["model"]["merges"].back() = "one two three";
  expect_error_of(spec, errc::corrupt, "model.merges");
  spec = base;
  spec["added_tokens"].push_back({{"id", 3}, {"content", "<other>"}, {"special", true}});
  expect_error_of(spec, errc::corrupt, "id 3");
  spec = base;
  spec["model"].erase("vocab");
  expect_error_of(spec, errc::corrupt, "'vocab' is missing");
  spec = base;
  spec["post_processor"] = {
      {"type", "RobertaProcessing"}, {"cls", {"<s>", 100'000}}, {"sep", {"</s>", 1}}};
  expect_error_of(spec, errc::corrupt, "id=100000");
}

BOOST_AUTO_TEST_CASE(a_line_of_merges_txt_is_named) {
  const testing::model_folder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  folder.write("merges.txt", "#version: 0.2\na b\r\n\nbroken\n");
  expect_error(tokenizer::load(folder.path()), errc::corrupt, "line=4");
  folder.write("merges.txt", "a b");
  BOOST_TEST(tokenizer::load(folder.path()).has_value());
}

BOOST_AUTO_TEST_CASE(t3_mutated_files_are_refused_or_work) {
  const json base = small_spec();
  testing::require_tokenizer(base);
  const testing::model_folder folder;
  std::mt19937 random(31);
  int accepted = 0;
  for (int round = 0; round < 600; ++round) {
    json spec = base;
    // The vocabulary outweighs the rest: every other mutation starts at the parts around the model.
    const auto parts = {
        "normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model"};
    for (std::size_t i = 1 + random() % 2; i > 0; --i) {
      const bool starts_at_root = random() % 4 == 0 || !spec.is_object();
      mutate(starts_at_root ? spec : spec[*(parts.begin() + random() % parts.size())], random);
    }
    std::string text = spec.dump();
    if (round % 4 == 0) { // damage the bytes, too
      text[random() % text.size()] = static_cast<char>(random());
      text.resize(round % 8 == 0 ? random() % text.size() : text.size());
    }
    folder.write("tokenizer.json", text);
    const auto loaded = tokenizer::load(folder.path());
    if (loaded) {
      ++accepted;
      use(**loaded);
    } else {
      BOOST_REQUIRE(!loaded.error().context.empty());
    }
  }
  BOOST_TEST(accepted > 20);
}

} // namespace vdist::text
