#include "runtime/text/pipeline_file.hpp"

#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace vdist::text {
namespace {

constexpr std::uint32_t strip_count_max = 1024;

/// Reads `view` with `read_one(view, type, out)`, or each element of its `list` when it is a
/// Sequence. The nesting of sequences is bounded by json_depth_max.
template <class Out, class ReadOne>
result<void>
read_steps(const json_view& view, std::string_view list, Out& out, const ReadOne& read_one) {
  VDIST_ASSIGN(const std::string type, view.type());
  if (type != "Sequence") {
    if (out.size() >= pipeline_steps_max) {
      return view.corrupt(fmt::format("more than {} steps", pipeline_steps_max));
    }
    return read_one(view, type, out);
  }
  VDIST_ASSIGN(const json_view members, view.member(list));
  VDIST_ASSIGN(const auto elements, members.as_array(pipeline_steps_max));
  for (const json_view& element : elements) {
    VDIST_TRY(read_steps(element, list, out, read_one));
  }
  return {};
}

result<text_pattern> read_pattern(const json_view& owner) {
  VDIST_ASSIGN(const json_view view, owner.member("pattern"));
  if (const auto literal = view.find("String")) {
    VDIST_ASSIGN(std::string text, literal->as_string());
    return text_pattern::literal(std::move(text));
  }
  VDIST_ASSIGN(const json_view regex, view.member("Regex"));
  VDIST_ASSIGN(const std::string source, regex.as_string());
  auto pattern = text_pattern::regex(source);
  if (!pattern) {
    return fail(pattern.error().code, regex.corrupt(pattern.error().context).context);
  }
  return pattern;
}

result<std::string>
read_character(const json_view& owner, std::string_view name, std::string_view fallback) {
  VDIST_ASSIGN(std::string text, owner.string_or(name, fallback));
  if (text.empty() || code_point_at(text, 0).bytes != text.size()) {
    return owner.corrupt(fmt::format("'{}' must be one character", name));
  }
  return text;
}

result<separator_use> read_behavior(const json_view& owner, std::string_view fallback) {
  constexpr std::array<std::pair<std::string_view, separator_use>, 5> names = {{
      {"Removed", separator_use::removed},
      {"Isolated", separator_use::isolated},
      {"MergedWithPrevious", separator_use::merged_with_previous},
      {"MergedWithNext", separator_use::merged_with_next},
      {"Contiguous", separator_use::contiguous},
  }};
  VDIST_ASSIGN(const std::string name, owner.string_or("behavior", fallback));
  const auto* found =
      std::find_if(names.begin(), names.end(), [&name](const auto& n) { return n.first == name; });
  if (found == names.end()) {
    return owner.unsupported("split behavior",
                             name,
                             "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
  }
  return found->second;
}

result<metaspace_step::prepend_scheme> read_prepend_scheme(const json_view& owner) {
  using scheme = metaspace_step::prepend_scheme;
  // Files from before prepend_scheme say add_prefix_space.
  VDIST_ASSIGN(const bool adds_prefix, owner.bool_or("add_prefix_space", true));
  VDIST_ASSIGN(const std::string name,
               owner.string_or("prepend_scheme", adds_prefix ? "always" : "never"));
  if (name != "always" && name != "first" && name != "never") {
    return owner.unsupported("prepend_scheme", name, "always, first, never");
  }
  if (!adds_prefix && name != "never") {
    return owner.corrupt("add_prefix_space contradicts prepend_scheme");
  }
  return name == "always" ? scheme::always : name == "first" ? scheme::first : scheme::never;
}

result<void> read_normalizer_step(const json_view& view,
                                  const std::string& type,
                                  std::vector<normalizer_step>& out) {
  constexpr std::array<std::pair<std::string_view, normal_form>, 4> forms = {{
      {"NFC", normal_form::nfc},
      {"NFD", normal_form::nfd},
      {"NFKC", normal_form::nfkc},
      {"NFKD", normal_form::nfkd},
  }};
  if (const auto* form = std::find_if(
          forms.begin(), forms.end(), [&type](const auto& f) { return f.first == type; });
      form != forms.end()) {
    out.push_back(normal_form_step{form->second});
  } else if (type == "Lowercase") {
    out.push_back(lower_case_step{});
  } else if (type == "StripAccents") {
    out.push_back(strip_accents_step{});
  } else if (type == "Replace") {
    VDIST_ASSIGN(text_pattern pattern, read_pattern(view));
    VDIST_ASSIGN(const json_view content, view.member("content"));
    VDIST_ASSIGN(std::string text, content.as_string());
    out.push_back(replace_step{std::move(pattern), std::move(text)});
  } else if (type == "Prepend") {
    VDIST_ASSIGN(const json_view content, view.member("prepend"));
    VDIST_ASSIGN(std::string text, content.as_string());
    out.push_back(prepend_step{std::move(text)});
  } else if (type == "Strip") {
    VDIST_ASSIGN(const bool left, view.bool_or("strip_left", true));
    VDIST_ASSIGN(const bool right, view.bool_or("strip_right", true));
    out.push_back(strip_step{left, right});
  } else {
    return view.unsupported(
        "normalizer",
        type,
        "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Replace, Prepend, Strip");
  }
  return {};
}

result<void> read_split(const json_view& view, std::vector<pre_tokenizer_step>& out) {
  VDIST_ASSIGN(text_pattern pattern, read_pattern(view));
  VDIST_ASSIGN(const separator_use use, read_behavior(view, "Isolated"));
  VDIST_ASSIGN(const bool is_inverted, view.bool_or("invert", false));
  out.push_back(split_step{std::move(pattern), use, is_inverted});
  return {};
}

result<void> read_character_split(const json_view& view,
                                  const std::string& type,
                                  std::vector<pre_tokenizer_step>& out) {
  if (type == "Digits") {
    VDIST_ASSIGN(const bool is_individual, view.bool_or("individual_digits", false));
    out.push_back(character_split_step{
        is_number, is_individual ? separator_use::isolated : separator_use::contiguous});
    return {};
  }
  if (type == "Punctuation") {
    VDIST_ASSIGN(const separator_use use, read_behavior(view, "Isolated"));
    out.push_back(character_split_step{is_punctuation, use});
    return {};
  }
  out.push_back(character_split_step{is_white_space, separator_use::removed});
  if (type == "BertPreTokenizer") {
    out.push_back(character_split_step{is_punctuation, separator_use::isolated});
  }
  return {};
}

result<void> read_pre_tokenizer_step(const json_view& view,
                                     const std::string& type,
                                     std::vector<pre_tokenizer_step>& out) {
  if (type == "ByteLevel") {
    VDIST_ASSIGN(const bool adds_space, view.bool_or("add_prefix_space", true));
    VDIST_ASSIGN(const bool use_regex, view.bool_or("use_regex", true));
    out.push_back(byte_level_step{adds_space, use_regex});
    return {};
  }
  if (type == "Split") {
    return read_split(view, out);
  }
  if (type == "Metaspace") {
    VDIST_ASSIGN(std::string replacement, read_character(view, "replacement", "\xE2\x96\x81"));
    VDIST_ASSIGN(const auto prepend, read_prepend_scheme(view));
    VDIST_ASSIGN(const bool split, view.bool_or("split", true));
    out.push_back(metaspace_step{std::move(replacement), prepend, split});
    return {};
  }
  if (type == "Whitespace") {
    out.push_back(word_split_step{});
    return {};
  }
  if (type == "CharDelimiterSplit") {
    VDIST_ASSIGN(std::string delimiter, read_character(view, "delimiter", ""));
    out.push_back(
        split_step{text_pattern::literal(std::move(delimiter)), separator_use::removed, false});
    return {};
  }
  if (type == "Digits" || type == "Punctuation" || type == "WhitespaceSplit"
      || type == "BertPreTokenizer") {
    return read_character_split(view, type, out);
  }
  return view.unsupported(
      "pre_tokenizer",
      type,
      "Sequence, ByteLevel, Split, Metaspace, Whitespace, WhitespaceSplit, Digits, Punctuation, "
      "BertPreTokenizer, CharDelimiterSplit");
}

result<token_id> read_token_id(const json_view& view) {
  VDIST_ASSIGN(const std::int64_t id, view.as_integer(0, token_id_end - 1));
  return static_cast<token_id>(id);
}

/// The ids that a template's special token stands for.
result<std::vector<token_id>> read_special_ids(const json_view& processor, const json_view& piece) {
  VDIST_ASSIGN(const json_view name_view, piece.member("id"));
  VDIST_ASSIGN(const std::string name, name_view.as_string());
  VDIST_ASSIGN(const json_view tokens, processor.member("special_tokens"));
  VDIST_ASSIGN(const json_view token, tokens.member(name));
  VDIST_ASSIGN(const json_view ids_view, token.member("ids"));
  VDIST_ASSIGN(const auto elements, ids_view.as_array(pipeline_steps_max));
  std::vector<token_id> ids;
  for (const json_view& element : elements) {
    VDIST_ASSIGN(const token_id id, read_token_id(element));
    ids.push_back(id);
  }
  return ids;
}

result<special_frame> read_template(const json_view& view) {
  special_frame frame;
  bool has_text = false;
  VDIST_ASSIGN(const json_view single, view.member("single"));
  VDIST_ASSIGN(const auto pieces, single.as_array(pipeline_steps_max));
  for (const json_view& piece : pieces) {
    if (const auto special = piece.find("SpecialToken")) {
      VDIST_ASSIGN(const auto ids, read_special_ids(view, *special));
      auto& side = has_text ? frame.after : frame.before;
      side.insert(side.end(), ids.begin(), ids.end());
      continue;
    }
    VDIST_ASSIGN(const json_view sequence, piece.member("Sequence"));
    VDIST_ASSIGN(const std::string name, sequence.string_or("id", "A"));
    if (has_text || name != "A") {
      return piece.corrupt("a template for one text has sequence A once");
    }
    has_text = true;
  }
  if (!has_text) {
    return single.corrupt("a template for one text has sequence A once");
  }
  return frame;
}

/// A token of BertProcessing and RobertaProcessing: ["text", id].
result<token_id> read_named_id(const json_view& view, std::string_view name) {
  VDIST_ASSIGN(const json_view member, view.member(name));
  VDIST_ASSIGN(const auto elements, member.as_array(2));
  if (elements.size() != 2) {
    return member.corrupt("must be a token and its id");
  }
  return read_token_id(elements[1]);
}

result<void> read_post_processor_step(const json_view& view,
                                      const std::string& type,
                                      std::vector<special_frame>& out) {
  if (type == "ByteLevel") { // trims offsets, which we do not have
    return {};
  }
  if (type == "TemplateProcessing") {
    VDIST_ASSIGN(special_frame frame, read_template(view));
    out.push_back(std::move(frame));
    return {};
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    VDIST_ASSIGN(const token_id cls, read_named_id(view, "cls"));
    VDIST_ASSIGN(const token_id sep, read_named_id(view, "sep"));
    out.push_back({{cls}, {sep}});
    return {};
  }
  return view.unsupported(
      "post_processor",
      type,
      "Sequence, ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing");
}

result<void>
read_decoder_step(const json_view& view, const std::string& type, std::vector<decoder_step>& out) {
  if (type == "ByteLevel") {
    out.push_back(byte_level_decoding{});
  } else if (type == "ByteFallback") {
    out.push_back(byte_fallback_decoding{});
  } else if (type == "Fuse") {
    out.push_back(fuse_decoding{});
  } else if (type == "Replace") {
    VDIST_ASSIGN(const text_pattern pattern, read_pattern(view));
    if (!pattern.is_literal()) {
      return view.unsupported("pattern of a decoder", "Regex", "String");
    }
    VDIST_ASSIGN(const json_view content, view.member("content"));
    VDIST_ASSIGN(std::string text, content.as_string());
    if (!pattern.literal_text().empty()) { // the empty pattern matches nowhere
      out.push_back(replace_decoding{pattern.literal_text(), std::move(text)});
    }
  } else if (type == "Strip") {
    VDIST_ASSIGN(std::string content, read_character(view, "content", " "));
    VDIST_ASSIGN(const json_view start_view, view.member("start"));
    VDIST_ASSIGN(const json_view stop_view, view.member("stop"));
    VDIST_ASSIGN(const std::int64_t start, start_view.as_integer(0, strip_count_max));
    VDIST_ASSIGN(const std::int64_t stop, stop_view.as_integer(0, strip_count_max));
    out.push_back(strip_decoding{
        std::move(content), static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(stop)});
  } else if (type == "Metaspace") {
    VDIST_ASSIGN(std::string replacement, read_character(view, "replacement", "\xE2\x96\x81"));
    VDIST_ASSIGN(const auto prepend, read_prepend_scheme(view));
    out.push_back(metaspace_decoding{std::move(replacement),
                                     prepend != metaspace_step::prepend_scheme::never});
  } else {
    return view.unsupported(
        "decoder", type, "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace");
  }
  return {};
}

} // namespace

result<std::vector<normalizer_step>> read_normalizer(const json_view& view) {
  std::vector<normalizer_step> steps;
  VDIST_TRY(read_steps(view, "normalizers", steps, read_normalizer_step));
  return steps;
}

result<std::vector<pre_tokenizer_step>> read_pre_tokenizer(const json_view& view) {
  std::vector<pre_tokenizer_step> steps;
  VDIST_TRY(read_steps(view, "pretokenizers", steps, read_pre_tokenizer_step));
  return steps;
}

result<special_frame> read_post_processor(const json_view& view) {
  std::vector<special_frame> frames;
  VDIST_TRY(read_steps(view, "processors", frames, read_post_processor_step));
  special_frame whole;
  for (const special_frame& frame : frames) { // each processor wraps what the one before it made
    whole.before.insert(whole.before.begin(), frame.before.begin(), frame.before.end());
    whole.after.insert(whole.after.end(), frame.after.begin(), frame.after.end());
  }
  return whole;
}

result<std::vector<decoder_step>> read_decoder(const json_view& view) {
  std::vector<decoder_step> steps;
  VDIST_TRY(read_steps(view, "decoders", steps, read_decoder_step));
  return steps;
}

} // namespace vdist::text
