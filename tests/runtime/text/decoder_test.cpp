#include "tests/runtime/text/tokenizer_fixture.hpp"

#include "runtime/text/detokenizer.hpp"

#include <random>

namespace vdist::text {
namespace {

using testing::gpt2_like;
using testing::llama2_like;

std::string streamed(const std::vector<std::string>& tokens,
                     std::vector<decoder_step> steps,
                     text_start start) {
  const auto built = decoder::build(std::move(steps));
  BOOST_REQUIRE(built.has_value());
  decode_stream stream(*built, start);
  std::string out;
  for (const std::string& token : tokens) {
    stream.push(token, out);
  }
  stream.flush(out);
  return out;
}

std::vector<token_id> random_tokens(const tokenizer& t, std::mt19937& random) {
  std::vector<token_id> tokens(random() % 24);
  for (token_id& token : tokens) {
    // Half of them bytes, so that characters are cut in every way; some ids without a token.
    const std::size_t end = random() % 2 == 0 ? 260 : t.vocab_size() + 4;
    token = static_cast<token_id>(random() % end) - 1;
  }
  return tokens;
}

void check_streaming(const std::shared_ptr<const tokenizer>& t, unsigned seed) {
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; ++round) {
    const std::vector<token_id> tokens = random_tokens(*t, random);
    const auto output =
        random() % 2 == 0 ? special_tokens_output::keep : special_tokens_output::skip;
    detokenizer one_by_one(t, output, text_start::begins);
    std::string text;
    for (const token_id token : tokens) {
      const std::string portion = one_by_one.push(token);
      BOOST_REQUIRE(find_invalid_utf8(portion) == std::string_view::npos);
      text += portion;
    }
    text += one_by_one.flush();
    BOOST_REQUIRE_EQUAL(text, t->decode(tokens, output));
    // A prompt and its completion, decoded apart, give the text of both, whatever the cut between
    // whole characters.
    const std::size_t cut = tokens.empty() ? 0 : random() % tokens.size();
    const std::span<const token_id> all(tokens);
    const std::string head = t->decode(all.first(cut), output);
    detokenizer rest(t, output, text_start::continues);
    std::string tail;
    for (const token_id token : all.subspan(cut)) {
      tail += rest.push(token);
    }
    tail += rest.flush();
    const bool is_clean = (head + tail + text).find(replacement_character) == std::string::npos;
    if (is_clean && !head.empty()) {
      BOOST_REQUIRE_EQUAL(head + tail, text);
    }
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(t2_streamed_byte_level_text_equals_decoded_text) {
  check_streaming(gpt2_like(), 21);
}

BOOST_AUTO_TEST_CASE(t2_streamed_byte_fallback_text_equals_decoded_text) {
  check_streaming(llama2_like(), 22);
}

BOOST_AUTO_TEST_CASE(a_character_appears_when_its_last_byte_is_there) {
  const auto t = llama2_like();
  detokenizer d(t, special_tokens_output::keep, text_start::begins);
  for (const char* piece : {"<0xE2>", "<0x82>"}) {
    BOOST_TEST(d.push(t->find_token(piece).value()) == "");
  }
  BOOST_TEST(d.push(t->find_token("<0xAC>").value()) == "\xE2\x82\xAC");
  BOOST_TEST(d.push(t->find_token("<0xE2>").value()) == "");
  BOOST_TEST(d.push(t->find_token("<0x82>").value()) == "");
  BOOST_TEST(d.flush() == "\xEF\xBF\xBD\xEF\xBF\xBD"); // one per byte
}

BOOST_AUTO_TEST_CASE(the_leading_space_goes_only_at_the_start_of_a_text) {
  const auto t = llama2_like();
  const token_id word = t->find_token("\xE2\x96\x81the").value();
  detokenizer first(t, special_tokens_output::keep, text_start::begins);
  BOOST_TEST(first.push(word) == "the");
  BOOST_TEST(first.push(word) == " the");
  detokenizer behind_prompt(t, special_tokens_output::keep, text_start::continues);
  BOOST_TEST(behind_prompt.push(word) == " the");
  BOOST_TEST(behind_prompt.flush() == "");
  BOOST_TEST(behind_prompt.push(word) == " the"); // flush() starts it anew, in the same place
}

BOOST_AUTO_TEST_CASE(d1_patterns_are_replaced_across_tokens_behind_fuse) {
  std::mt19937 random(23);
  for (int round = 0; round < 3000; ++round) {
    std::string whole;
    std::vector<std::string> tokens(random() % 8);
    for (std::string& token : tokens) {
      for (std::size_t i = random() % 4; i > 0; --i) {
        token += static_cast<char>('a' + random() % 2);
      }
      whole += token;
    }
    std::string pattern(1 + random() % 3, 'a');
    pattern.back() = static_cast<char>('a' + random() % 2);
    const auto expected = text_pattern::literal(pattern).replace_all(whole, "<>").value();
    BOOST_REQUIRE_EQUAL(
        streamed(tokens, {fuse_decoding{}, replace_decoding{pattern, "<>"}}, text_start::begins),
        expected);
  }
}

BOOST_AUTO_TEST_CASE(strips_both_ends_of_fused_text_and_of_each_token) {
  const std::vector<std::string> tokens = {" ", " a", "b ", " ", " "};
  BOOST_TEST(streamed(tokens, {fuse_decoding{}, strip_decoding{" ", 1, 2}}, text_start::begins)
             == " ab ");
  BOOST_TEST(streamed(tokens, {strip_decoding{" ", 1, 1}}, text_start::begins) == "ab");
}

BOOST_AUTO_TEST_CASE(tokens_of_files_without_a_decoder_are_joined_by_spaces) {
  BOOST_TEST(streamed({"a", "b"}, {space_joined_decoding{}}, text_start::begins) == "a b");
  BOOST_TEST(streamed({"a", "b"}, {space_joined_decoding{}}, text_start::continues) == " a b");
}

BOOST_AUTO_TEST_CASE(refuses_steps_that_cannot_be_streamed) {
  BOOST_TEST(!decoder::build({fuse_decoding{}, byte_level_decoding{}}).has_value());
  BOOST_TEST(!decoder::build({byte_fallback_decoding{}, strip_decoding{" ", 1, 0}}).has_value());
}

} // namespace vdist::text
