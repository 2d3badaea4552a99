#include "runtime/text/decoder.hpp"

#include "runtime/text/byte_level.hpp"

#include <algorithm>
#include <optional>

namespace vdist::text {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// The byte that "<0xNN>" stands for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') {
    return std::nullopt;
  }
  const int high = hex_value(token[3]);
  const int low = hex_value(token[4]);
  if (high < 0 || low < 0) {
    return std::nullopt;
  }
  return static_cast<char>(high * 16 + low);
}

/// Length of the longest end of `text` that is a beginning of `pattern`, the whole pattern
/// excluded.
std::size_t partial_match_at_end(std::string_view text, std::string_view pattern) {
  std::size_t length = std::min(text.size(), pattern.size() - 1);
  while (length > 0 && !text.ends_with(pattern.substr(0, length))) {
    --length;
  }
  return length;
}

/// Appends `text` with each `pattern` replaced; what may be the start of one is kept in `rest`.
void replace_whole_matches(std::string_view text,
                           const replace_decoding& step,
                           std::string& out,
                           std::string_view& rest) {
  std::size_t at = 0;
  for (std::size_t found = text.find(step.pattern); found != std::string_view::npos;
       found = text.find(step.pattern, at)) {
    out.append(text.substr(at, found - at)).append(step.content);
    at = found + step.pattern.size();
  }
  rest = text.substr(at);
}

/// Bytes that up to `count_max` characters `content` take at the end of `text`.
std::size_t
trailing_bytes(std::string_view text, std::string_view content, std::uint32_t count_max) {
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < count_max && text.substr(0, text.size() - bytes).ends_with(content);
       ++i) {
    bytes += content.size();
  }
  return bytes;
}

} // namespace

result<decoder> decoder::build(std::vector<decoder_step> steps) {
  decoder made;
  bool sees_one_token = false;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const decoder_step& step = steps[i];
    const bool is_fallback = std::holds_alternative<byte_fallback_decoding>(step);
    const bool is_byte_level = std::holds_alternative<byte_level_decoding>(step);
    if (sees_one_token && (is_fallback || is_byte_level)) {
      return fail(errc::unsupported,
                  "decoder: ByteFallback and ByteLevel behind Fuse or ByteLevel cannot be streamed "
                  "(key=decoder)");
    }
    if (is_fallback && i + 1 < steps.size()
        && !std::holds_alternative<fuse_decoding>(steps[i + 1])) {
      return fail(errc::unsupported,
                  "decoder: ByteFallback must be last or followed by Fuse (key=decoder)");
    }
    made.stages_.push_back({step, sees_one_token});
    sees_one_token = sees_one_token || is_byte_level || std::holds_alternative<fuse_decoding>(step);
  }
  return made;
}

decode_stream::decode_stream(const decoder& steps, text_start start)
    : decoder_(&steps), start_(start) {
  reset();
}

void decode_stream::reset() {
  states_.clear();
  for (const decoder::stage& stage : decoder_->stages_) {
    state s;
    s.is_first_token = start_ == text_start::begins;
    if (std::holds_alternative<byte_fallback_decoding>(stage.step)) {
      s.bytes = utf8_assembler(invalid_bytes::one_per_byte);
    }
    if (const auto* strip = std::get_if<strip_decoding>(&stage.step)) {
      s.leading = start_ == text_start::begins ? strip->start : 0;
    }
    states_.push_back(std::move(s));
  }
}

void decode_stream::push(std::string_view token_text, std::string& out) {
  in_.assign(token_text);
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const decoder::stage& stage = decoder_->stages_[i];
    out_.clear();
    std::visit(
        [&stage, &s = states_[i], this](const auto& step) { apply(step, stage, s, in_, out_); },
        stage.step);
    in_.swap(out_);
  }
  out += in_;
}

void decode_stream::flush(std::string& out) {
  in_.clear();
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const decoder::stage& stage = decoder_->stages_[i];
    out_.clear();
    if (!in_.empty()) {
      std::visit(
          [&stage, &s = states_[i], this](const auto& step) { apply(step, stage, s, in_, out_); },
          stage.step);
    }
    finish(stage, states_[i], out_);
    in_.swap(out_);
  }
  out += in_;
  reset();
}

void decode_stream::apply(const byte_level_decoding&,
                          const decoder::stage&,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  const auto bytes = from_byte_level(in);
  s.bytes.push(bytes ? std::string_view(*bytes) : in, out);
}

void decode_stream::apply(const byte_fallback_decoding&,
                          const decoder::stage&,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  if (const auto byte = fallback_byte(in)) {
    s.bytes.push({&*byte, 1}, out);
  } else {
    s.bytes.flush(out);
    out += in;
  }
}

void decode_stream::apply(
    const fuse_decoding&, const decoder::stage&, state&, std::string_view in, std::string& out) {
  out += in;
}

void decode_stream::apply(const replace_decoding& step,
                          const decoder::stage& stage,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  std::string_view rest;
  if (!stage.sees_one_token) {
    replace_whole_matches(in, step, out, rest);
    out += rest;
    return;
  }
  s.held += in;
  replace_whole_matches(s.held, step, out, rest);
  const std::size_t partial = partial_match_at_end(rest, step.pattern);
  out += rest.substr(0, rest.size() - partial);
  s.held = std::string(rest.substr(rest.size() - partial));
}

void decode_stream::apply(const strip_decoding& step,
                          const decoder::stage& stage,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  std::uint32_t whole_token_leading = step.start;
  std::uint32_t& leading = stage.sees_one_token ? s.leading : whole_token_leading;
  while (leading > 0 && !in.empty()) {
    if (!in.starts_with(step.content)) {
      leading = 0;
      break;
    }
    in.remove_prefix(step.content.size());
    --leading;
  }
  if (!stage.sees_one_token) {
    out += in.substr(0, in.size() - trailing_bytes(in, step.content, step.stop));
    return;
  }
  s.held += in;
  const std::size_t kept = trailing_bytes(s.held, step.content, step.stop);
  out += std::string_view(s.held).substr(0, s.held.size() - kept);
  s.held.erase(0, s.held.size() - kept);
}

void decode_stream::apply(const metaspace_decoding& step,
                          const decoder::stage& stage,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  const bool drops = step.drops_first && s.is_first_token;
  std::size_t at = 0;
  for (std::size_t found = in.find(step.replacement); found != std::string_view::npos;
       found = in.find(step.replacement, at)) {
    out += in.substr(at, found - at);
    if (!drops) {
      out.push_back(' ');
    }
    at = found + step.replacement.size();
  }
  out += in.substr(at);
  if (!stage.sees_one_token) {
    s.is_first_token = false;
  }
}

void decode_stream::apply(const space_joined_decoding&,
                          const decoder::stage&,
                          state& s,
                          std::string_view in,
                          std::string& out) {
  if (!s.is_first_token) {
    out.push_back(' ');
  }
  s.is_first_token = false;
  out += in;
}

void decode_stream::finish(const decoder::stage& stage, state& s, std::string& out) {
  s.bytes.flush(out);
  if (std::holds_alternative<replace_decoding>(stage.step)) {
    out += s.held; // the start of a pattern that did not come; what Strip holds is dropped
  }
}

} // namespace vdist::text
