#include "tests/runtime/text/tokenizer_fixture.hpp"

#include <atomic>
#include <thread>

namespace vdist::text {
namespace {

using nlohmann::json;
using testing::golden_base;
using testing::gpt2_like;

std::vector<token_id>
encoded(const tokenizer& t, std::string_view text, special_tokens add = special_tokens::omit) {
  auto ids = t.encode(text, add);
  BOOST_REQUIRE_MESSAGE(ids.has_value(), (ids ? "" : ids.error().context));
  return *std::move(ids);
}

/// A folder with the recorded base and a tokenizer_config.json.
std::shared_ptr<const tokenizer> with_config(const json& config) {
  const testing::model_folder folder;
  folder.write("tokenizer.json", golden_base("bytes").dump());
  folder.write("tokenizer_config.json", config.dump());
  auto loaded = tokenizer::load(folder.path());
  BOOST_REQUIRE_MESSAGE(loaded.has_value(), (loaded ? "" : loaded.error().context));
  return *loaded;
}

/// The recorded base as vocab.json and merges.txt.
void write_gpt2_files(const testing::model_folder& folder) {
  const json base = golden_base("bytes");
  folder.write("vocab.json", base["model"]["vocab"].dump());
  std::string merges = "#version: 0.2\n";
  for (const json& merge : base["model"]["merges"]) {
    merges += merge.is_array() ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                               : merge.get<std::string>();
    merges += "\n";
  }
  folder.write("merges.txt", merges);
}

} // namespace

BOOST_AUTO_TEST_CASE(names_the_first_invalid_byte) {
  const auto ids = gpt2_like()->encode("abc\xE2\x96 d", special_tokens::omit);
  BOOST_REQUIRE(!ids.has_value());
  BOOST_TEST((ids.error().code == errc::invalid_argument));
  BOOST_TEST(ids.error().context.find("byte_offset=3") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(recognises_special_tokens_written_in_the_text) {
  const auto t = gpt2_like();
  const token_id start = t->find_token("<s>").value();
  const std::vector<token_id> ids = encoded(*t, "<s>the");
  BOOST_TEST(ids.front() == start);
  BOOST_TEST(t->is_special(start));
  BOOST_TEST(!t->is_special(ids.back()));
  BOOST_TEST(!t->is_special(-1));
  BOOST_TEST(t->decode(ids, special_tokens_output::keep) == "<s>the");
  BOOST_TEST(t->decode(ids, special_tokens_output::skip) == "the");
}

BOOST_AUTO_TEST_CASE(token_text_is_the_piece_as_the_vocabulary_writes_it) {
  const auto t = gpt2_like();
  BOOST_TEST(t->token_text(encoded(*t, " ").front()) == "\xC4\xA0");
  BOOST_TEST(t->token_text(-1) == "");
  BOOST_TEST(t->token_text(static_cast<token_id>(t->vocab_size())) == "");
  BOOST_TEST(!t->find_token("no such token").has_value());
  BOOST_TEST(!t->find_token("").has_value());
}

BOOST_AUTO_TEST_CASE(configuration_names_start_and_end_and_frames_the_text) {
  const auto plain = with_config(
      {{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"chat_template", "x"}});
  const token_id bos = plain->bos_id().value();
  const token_id eos = plain->eos_id().value();
  BOOST_TEST(plain->token_text(bos) == "<s>");
  BOOST_TEST(plain->token_text(eos) == "</s>");
  BOOST_TEST(encoded(*plain, "", special_tokens::add).empty());
  const auto framed = with_config({{"bos_token", "<s>"},
                                   {"eos_token", "</s>"},
                                   {"add_bos_token", true},
                                   {"add_eos_token", true}});
  BOOST_TEST(encoded(*framed, "", special_tokens::add) == (std::vector<token_id>{bos, eos}));
  BOOST_TEST(encoded(*framed, "", special_tokens::omit).empty());
  const auto unknown =
      with_config({{"bos_token", nullptr}, {"eos_token", "<nowhere>"}, {"add_bos_token", true}});
  BOOST_TEST(!unknown->bos_id().has_value());
  BOOST_TEST(!unknown->eos_id().has_value());
  BOOST_TEST(encoded(*unknown, "", special_tokens::add).empty());
}

BOOST_AUTO_TEST_CASE(adds_tokens_that_only_the_configuration_lists) {
  const auto base = gpt2_like();
  const auto id = static_cast<token_id>(base->vocab_size());
  const auto t =
      with_config({{"added_tokens_decoder",
                    {{std::to_string(id), {{"content", "<tool>"}, {"special", true}}}}}});
  BOOST_TEST(encoded(*t, "<tool>") == std::vector<token_id>{id});
  BOOST_TEST(t->is_special(id));
}

BOOST_AUTO_TEST_CASE(reads_vocab_json_and_merges_txt) {
  const testing::model_folder folder;
  write_gpt2_files(folder);
  const auto from_files = tokenizer::load(folder.path());
  BOOST_REQUIRE_MESSAGE(from_files.has_value(), (from_files ? "" : from_files.error().context));
  const std::string text = "The other's 1234 \n\n caf\xC3\xA9";
  BOOST_TEST(encoded(**from_files, text) == encoded(*gpt2_like(), text));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
  const auto qwen = tokenizer::load(folder.path());
  BOOST_REQUIRE(qwen.has_value());
  BOOST_TEST(encoded(**qwen, "e\xCC\x81") == encoded(*gpt2_like(), "\xC3\xA9")); // NFC
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "XlmTokenizer"})");
  const auto refused = tokenizer::load(folder.path());
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::unsupported));
  BOOST_TEST(refused.error().context.find("XlmTokenizer") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_model_without_type_is_bpe_when_it_has_merges) {
  json spec = golden_base("bytes");
  spec["model"].erase("type");
  BOOST_TEST(testing::load_spec(spec).has_value());
}

BOOST_AUTO_TEST_CASE(merges_may_be_strings_or_pairs) {
  json spec = golden_base("bytes");
  for (json& merge : spec["model"]["merges"]) {
    merge = merge.is_array()
                ? json(merge[0].get<std::string>() + " " + merge[1].get<std::string>())
                : json::array(
                    {merge.get<std::string>().substr(0, merge.get<std::string>().find(' ')),
                     merge.get<std::string>().substr(merge.get<std::string>().find(' ') + 1)});
  }
  const auto t = testing::require_tokenizer(spec);
  BOOST_TEST(encoded(*t, "the weather") == encoded(*gpt2_like(), "the weather"));
}

BOOST_AUTO_TEST_CASE(long_runs_of_anything_stay_cheap) {
  // Quadratic work on 1 MB would take minutes; the suite's time limit is the judge.
  for (const auto& t : {gpt2_like(), testing::llama2_like()}) {
    for (const std::string unit :
         {"a", " ", "the", "\xF0\x9F\x8E\x89", "\n", "<", "\xE2\x96\x81"}) {
      std::string text;
      while (text.size() < 256 * 1024) {
        text += unit;
      }
      BOOST_TEST(t->encode(text, special_tokens::add).has_value());
    }
  }
}

BOOST_AUTO_TEST_CASE(threads_share_one_tokenizer) {
  const auto t = gpt2_like();
  const std::string text = "The brother's 42 feathers, <s>the dog <pad> caf\xC3\xA9.";
  const std::vector<token_id> expected = encoded(*t, text);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&t, &text, &expected, &wrong] {
      for (int round = 0; round < 200; ++round) {
        const auto ids = t->encode(text, special_tokens::omit);
        wrong +=
            ids && *ids == expected && t->decode(*ids, special_tokens_output::keep) != "" ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  BOOST_TEST(wrong == 0);
}

} // namespace vdist::text
