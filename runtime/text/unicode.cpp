#include "runtime/text/unicode.hpp"

#include "runtime/base/check.hpp"

#include <cstring>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>

namespace vdist::text {
namespace {

/// Bytes of the character that `first` starts; 0 when no character starts so.
std::uint32_t sequence_length(unsigned char first) noexcept {
  if (first < 0x80) {
    return 1;
  }
  if (first < 0xC2) {
    return 0; // a continuation byte, or an overlong form
  }
  return first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/// Whether `second` may follow `first`: excludes overlong forms, surrogates and values beyond
/// U+10FFFF.
bool is_second_byte(unsigned char first, unsigned char second) noexcept {
  switch (first) {
  case 0xE0:
    return second >= 0xA0 && second <= 0xBF;
  case 0xED:
    return second >= 0x80 && second <= 0x9F;
  case 0xF0:
    return second >= 0x90 && second <= 0xBF;
  case 0xF4:
    return second >= 0x80 && second <= 0x8F;
  default:
    return (second & 0xC0) == 0x80;
  }
}

bool has_category(char32_t c, std::uint32_t mask) noexcept {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & mask) != 0;
}

const icu::Normalizer2& normalizer_for(normal_form form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* instance = nullptr;
  switch (form) {
  case normal_form::nfc:
    instance = icu::Normalizer2::getNFCInstance(status);
    break;
  case normal_form::nfd:
    instance = icu::Normalizer2::getNFDInstance(status);
    break;
  case normal_form::nfkc:
    instance = icu::Normalizer2::getNFKCInstance(status);
    break;
  case normal_form::nfkd:
    instance = icu::Normalizer2::getNFKDInstance(status);
    break;
  }
  VDIST_CHECK(U_SUCCESS(status) && instance != nullptr, "unicode: ICU has no normalization data");
  return *instance;
}

} // namespace

std::size_t find_invalid_utf8(std::string_view bytes) noexcept {
  std::size_t at = 0;
  while (at < bytes.size()) {
    std::uint64_t word = 0;
    if (bytes.size() - at >= sizeof word) {
      std::memcpy(&word, bytes.data() + at, sizeof word);
      if ((word & 0x8080808080808080ULL) == 0) {
        at += sizeof word;
        continue;
      }
    }
    const auto first = static_cast<unsigned char>(bytes[at]);
    const std::uint32_t length = sequence_length(first);
    if (length == 0 || length > bytes.size() - at) {
      return at;
    }
    if (length > 1 && !is_second_byte(first, static_cast<unsigned char>(bytes[at + 1]))) {
      return at;
    }
    for (std::uint32_t i = 2; i < length; ++i) {
      if ((static_cast<unsigned char>(bytes[at + i]) & 0xC0) != 0x80) {
        return at;
      }
    }
    at += length;
  }
  return std::string_view::npos;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) {
    out.push_back(static_cast<char>(byte));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool is_white_space(char32_t c) noexcept {
  if (c < 0x80) {
    return c == ' ' || (c >= '\t' && c <= '\r');
  }
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_number(char32_t c) noexcept {
  return has_category(c, U_GC_N_MASK);
}

bool is_punctuation(char32_t c) noexcept {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`')
           || (c >= '{' && c <= '~');
  }
  return has_category(c, U_GC_P_MASK);
}

bool is_mark(char32_t c) noexcept {
  return c >= 0x300 && has_category(c, U_GC_M_MASK);
}

bool is_word_character(char32_t c) noexcept {
  const bool is_join_control = c == 0x200C || c == 0x200D;
  return is_join_control || has_category(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)
         || u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_ALPHABETIC) != 0;
}

std::string normalise(normal_form form, std::string_view utf8) {
  const icu::Normalizer2& normalizer = normalizer_for(form);
  const icu::StringPiece source(utf8.data(), static_cast<std::int32_t>(utf8.size()));
  UErrorCode status = U_ZERO_ERROR;
  std::string out;
  icu::StringByteSink<std::string> sink(&out, source.length());
  normalizer.normalizeUTF8(0, source, sink, nullptr, status);
  VDIST_CHECK(U_SUCCESS(status), "unicode: normalization of well-formed text failed");
  return out;
}

std::string lower_case(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const code_point c = code_point_at(utf8, at);
    at += c.bytes;
    if (c.value == 0x130) { // the one character whose lower case is always two characters
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c.value))));
    }
  }
  return out;
}

void utf8_assembler::push(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) {
    push_byte(static_cast<unsigned char>(byte), out);
  }
}

bool utf8_assembler::continues(unsigned char byte) const noexcept {
  return held_count_ == 1 ? is_second_byte(held_[0], byte) : (byte & 0xC0) == 0x80;
}

void utf8_assembler::push_byte(unsigned char byte, std::string& out) {
  if (held_count_ > 0 && !continues(byte)) {
    flush(out);
  }
  if (held_count_ == 0) {
    length_ = sequence_length(byte);
    if (length_ == 0) {
      out += replacement_character;
      return;
    }
  }
  held_[held_count_++] = byte;
  if (held_count_ == length_) {
    for (std::uint32_t i = 0; i < held_count_; ++i) {
      out.push_back(static_cast<char>(held_[i]));
    }
    held_count_ = 0;
  }
}

void utf8_assembler::flush(std::string& out) {
  const std::uint32_t marks = policy_ == invalid_bytes::one_per_byte ? held_count_
                              : held_count_ > 0                      ? 1
                                                                     : 0;
  for (std::uint32_t i = 0; i < marks; ++i) {
    out += replacement_character;
  }
  held_count_ = 0;
}

} // namespace vdist::text
