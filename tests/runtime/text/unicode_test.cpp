#include "runtime/text/unicode.hpp"

#include "runtime/text/byte_level.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

namespace vdist::text {
namespace {

/// Decodes with lossy replacement, the whole text at once, from the definition of well-formed
/// sequences.
std::string naive_repair(std::string_view bytes, invalid_bytes policy) {
  std::string out;
  while (!bytes.empty()) {
    if (const std::size_t bad = find_invalid_utf8(bytes); bad != 0) {
      const std::size_t good = std::min(bad, bytes.size());
      out += bytes.substr(0, good);
      bytes.remove_prefix(good);
      continue;
    }
    // The longest start of a character: the most bytes that some continuation could complete.
    std::size_t length = 1;
    for (std::size_t n = std::min<std::size_t>(3, bytes.size()); n > 1; --n) {
      bool completes = false;
      for (const std::string_view tail :
           {"\x80", "\x90", "\xA0", "\x80\x80", "\x90\x80", "\xA0\x80", "\x80\x80\x80"}) {
        const std::string whole = std::string(bytes.substr(0, n)) + std::string(tail);
        completes = completes
                    || (find_invalid_utf8(whole) == std::string_view::npos
                        && code_point_at(whole, 0).bytes == whole.size());
      }
      if (completes) {
        length = n;
        break;
      }
    }
    for (std::size_t i = 0; i < (policy == invalid_bytes::one_per_byte ? length : 1); ++i) {
      out += replacement_character;
    }
    bytes.remove_prefix(length);
  }
  return out;
}

std::string random_bytes(std::mt19937& random) {
  // Bytes at which the rules for well-formed sequences change, and ordinary ones.
  constexpr std::string_view interesting =
      "aZ \x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xC3\xDF\xE0\xE1\xED\xEE\xEF\xF0\xF1\xF3\xF4\xF5\xFF";
  std::string out(random() % 12, '\0');
  for (char& byte : out) {
    byte = interesting[random() % interesting.size()];
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(finds_the_first_byte_that_is_not_utf8) {
  BOOST_TEST(find_invalid_utf8("") == std::string_view::npos);
  BOOST_TEST(find_invalid_utf8("plain ascii text, more than eight bytes")
             == std::string_view::npos);
  BOOST_TEST(find_invalid_utf8("\xF4\x8F\xBF\xBF\xED\x9F\xBF") == std::string_view::npos);
  BOOST_TEST(find_invalid_utf8("12345678\x80") == 8u);
  BOOST_TEST(find_invalid_utf8("a\xC0\x80") == 1u);        // overlong
  BOOST_TEST(find_invalid_utf8("ab\xED\xA0\x80") == 2u);   // surrogate
  BOOST_TEST(find_invalid_utf8("\xF4\x90\x80\x80") == 0u); // above U+10FFFF
  BOOST_TEST(find_invalid_utf8("abc\xE2\x96") == 3u);      // cut off
}

BOOST_AUTO_TEST_CASE(writes_every_character_as_it_reads_it) {
  for (char32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) {
      continue;
    }
    std::string text;
    append_utf8(text, c);
    BOOST_REQUIRE(find_invalid_utf8(text) == std::string_view::npos);
    const code_point read = code_point_at(text, 0);
    BOOST_REQUIRE(read.value == c);
    BOOST_REQUIRE(read.bytes == text.size());
    BOOST_REQUIRE(code_point_before("x" + text, text.size() + 1) == 1u);
  }
}

BOOST_AUTO_TEST_CASE(repairs_bytes_the_same_however_they_are_cut) {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    const std::string bytes = random_bytes(random);
    for (const auto policy : {invalid_bytes::one_per_sequence, invalid_bytes::one_per_byte}) {
      utf8_assembler assembler(policy);
      std::string out;
      for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t count = 1 + random() % 3;
        assembler.push(std::string_view(bytes).substr(at, count), out);
        BOOST_REQUIRE(find_invalid_utf8(out) == std::string_view::npos);
        at += count;
      }
      assembler.flush(out);
      BOOST_REQUIRE_EQUAL(out, naive_repair(bytes, policy));
    }
  }
}

BOOST_AUTO_TEST_CASE(normalises_and_lowers) {
  BOOST_TEST(normalise(normal_form::nfc, "e\xCC\x81") == "\xC3\xA9");
  BOOST_TEST(normalise(normal_form::nfd, "\xC3\xA9") == "e\xCC\x81");
  BOOST_TEST(normalise(normal_form::nfkc, "\xEF\xAC\x81") == "fi");
  BOOST_TEST(normalise(normal_form::nfkd, "\xE2\x84\xAB") == "A\xCC\x8A");
  BOOST_TEST(lower_case("\xC3\x89\xCE\xA3 A\xC4\xB0") == "\xC3\xA9\xCF\x83 ai\xCC\x87");
}

BOOST_AUTO_TEST_CASE(knows_white_space_as_unicode_defines_it) {
  std::size_t count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    count += is_white_space(c) ? 1 : 0;
  }
  BOOST_TEST(count == 25u);
  BOOST_TEST(is_white_space(0x85));
  BOOST_TEST(!is_white_space(0x180E));
  BOOST_TEST(!is_white_space(0x200B));
}

BOOST_AUTO_TEST_CASE(writes_any_byte_as_one_character_and_back) {
  std::string all(256, '\0');
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<char>(i);
  }
  const std::string written = to_byte_level(all);
  BOOST_TEST(find_invalid_utf8(written) == std::string_view::npos);
  BOOST_TEST(from_byte_level(written).value() == all);
  BOOST_TEST(to_byte_level(" ") == "\xC4\xA0");
  BOOST_TEST(!from_byte_level("\xE2\x96\x81").has_value());
  BOOST_TEST(!from_byte_level(" ").has_value());
}

} // namespace vdist::text
