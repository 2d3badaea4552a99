#include "runtime/text/tokenizer_file.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

namespace vdist::text {
namespace {

constexpr std::string_view qwen2_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Which token has which id, over vocabulary and added tokens: texts and ids must pair up one to
/// one.
class id_registry {
public:
  void reserve(std::size_t count) { by_text_.reserve(count), by_id_.reserve(count); }

  /// Empty when the pair is new or known as it is; otherwise what contradicts it.
  std::string add(const std::string& text, token_id id) {
    if (const auto [it, is_new] = by_text_.try_emplace(text, id); !is_new) {
      return it->second == id
                 ? ""
                 : fmt::format("token has ids {} and {} (token={})", it->second, id, text);
    }
    if (!by_id_.insert(id).second) {
      return fmt::format("id {} is used by two tokens (token={})", id, text);
    }
    return {};
  }

  [[nodiscard]] std::optional<token_id> find(const std::string& text) const {
    const auto it = by_text_.find(text);
    return it == by_text_.end() ? std::nullopt : std::optional(it->second);
  }

private:
  std::unordered_map<std::string, token_id> by_text_;
  std::unordered_set<token_id> by_id_;
};

result<void> read_vocabulary(const json_view& view, bpe_spec& model, id_registry& ids) {
  const nlohmann::json& object = view.node();
  if (!object.is_object()) {
    return view.corrupt("must be an object of token texts and ids");
  }
  model.vocabulary.reserve(object.size());
  ids.reserve(object.size());
  for (const auto& [text, value] : object.items()) {
    if (!value.is_number_unsigned()
        || value.get<std::uint64_t>() >= static_cast<std::uint64_t>(token_id_end)) {
      return view.corrupt(
          fmt::format("id must be an integer from 0 to {} (token={})", token_id_end - 1, text));
    }
    const auto id = value.get<token_id>();
    if (const std::string contradiction = ids.add(text, id); !contradiction.empty()) {
      return view.corrupt(contradiction);
    }
    model.vocabulary.emplace_back(text, id);
  }
  return {};
}

/// A merge written as "left right".
std::optional<std::pair<std::string, std::string>> parse_merge(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

result<void> read_merges(const json_view& view, bpe_spec& model) {
  const nlohmann::json& array = view.node();
  if (!array.is_array() || array.size() > merges_max) {
    return view.corrupt(fmt::format("must be an array of at most {} merges", merges_max));
  }
  model.merges.reserve(array.size());
  for (std::size_t i = 0; i < array.size(); ++i) {
    const nlohmann::json& merge = array[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      model.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    auto pair = merge.is_string() ? parse_merge(merge.get_ref<const std::string&>()) : std::nullopt;
    if (!pair) {
      return view.corrupt(
          fmt::format("merge {} must be \"left right\" or [\"left\", \"right\"]", i));
    }
    model.merges.push_back(*std::move(pair));
  }
  return {};
}

result<void> refuse_if_set(const json_view& model, std::string_view name) {
  VDIST_ASSIGN(const std::string text, model.string_or(name, ""));
  if (!text.empty()) {
    return model.unsupported(name, text, "none");
  }
  return {};
}

result<void> read_model(const json_view& model, tokenizer_parts& parts, id_registry& ids) {
  const bool has_merges = model.find("merges").has_value();
  VDIST_ASSIGN(const std::string type, model.string_or("type", has_merges ? "BPE" : ""));
  if (type != "BPE") {
    return model.unsupported("model", type.empty() ? "none" : type, "BPE");
  }
  if (const auto dropout = model.find("dropout");
      dropout && !(dropout->node().is_number() && dropout->node() == 0.0)) {
    return model.unsupported(
        "dropout", dropout->node().is_number() ? "not 0" : "not a number", "null, 0");
  }
  VDIST_TRY(refuse_if_set(model, "continuing_subword_prefix"));
  VDIST_TRY(refuse_if_set(model, "end_of_word_suffix"));
  bpe_spec& spec = parts.model;
  if (model.find("unk_token")) {
    VDIST_ASSIGN(spec.unknown, model.string_or("unk_token", ""));
  }
  VDIST_ASSIGN(spec.fuse_unknown, model.bool_or("fuse_unk", false));
  VDIST_ASSIGN(spec.byte_fallback, model.bool_or("byte_fallback", false));
  VDIST_ASSIGN(spec.ignore_merges, model.bool_or("ignore_merges", false));
  VDIST_ASSIGN(const json_view vocabulary, model.member("vocab"));
  VDIST_TRY(read_vocabulary(vocabulary, spec, ids));
  VDIST_ASSIGN(const json_view merges, model.member("merges"));
  return read_merges(merges, spec);
}

/// The flags and the content of one added token; `view` is an object, or a string that is the
/// content.
result<added_token> read_added_token(const json_view& view) {
  added_token token;
  if (view.is_string()) {
    VDIST_ASSIGN(token.content, view.as_string());
    return token;
  }
  VDIST_ASSIGN(const json_view content, view.member("content"));
  VDIST_ASSIGN(token.content, content.as_string());
  VDIST_ASSIGN(token.single_word, view.bool_or("single_word", false));
  VDIST_ASSIGN(token.lstrip, view.bool_or("lstrip", false));
  VDIST_ASSIGN(token.rstrip, view.bool_or("rstrip", false));
  VDIST_ASSIGN(token.special, view.bool_or("special", false));
  VDIST_ASSIGN(token.normalized, view.bool_or("normalized", !token.special));
  if (token.content.size() > added_token_bytes_max) {
    return view.corrupt(fmt::format("content has more than {} bytes", added_token_bytes_max));
  }
  return token;
}

/// Registers a token whose content is not among the added tokens yet. Tokens without content are
/// left out.
result<void>
add_token(const json_view& view, added_token token, tokenizer_parts& parts, id_registry& ids) {
  if (token.content.empty()) {
    return {};
  }
  if (const std::string contradiction = ids.add(token.content, token.id); !contradiction.empty()) {
    return view.corrupt(contradiction);
  }
  parts.added.push_back(std::move(token));
  return {};
}

bool is_added(const tokenizer_parts& parts, const std::string& content) {
  return std::any_of(parts.added.begin(), parts.added.end(), [&content](const added_token& t) {
    return t.content == content;
  });
}

result<void> read_added_tokens(const json_view& list, tokenizer_parts& parts, id_registry& ids) {
  VDIST_ASSIGN(const auto elements, list.as_array(added_tokens_max));
  std::unordered_map<std::string, token_id> known; // files may repeat a token, with the same id
  for (const json_view& element : elements) {
    VDIST_ASSIGN(added_token token, read_added_token(element));
    VDIST_ASSIGN(const json_view id, element.member("id"));
    VDIST_ASSIGN(const std::int64_t value, id.as_integer(0, token_id_end - 1));
    token.id = static_cast<token_id>(value);
    if (const auto [it, is_new] = known.try_emplace(token.content, token.id); is_new) {
      VDIST_TRY(add_token(element, std::move(token), parts, ids));
    } else if (it->second != token.id) {
      return element.corrupt(
          fmt::format("token has ids {} and {} (token={})", it->second, token.id, token.content));
    }
  }
  return {};
}

result<id_registry> read_tokenizer_json(const std::filesystem::path& file, tokenizer_parts& parts) {
  id_registry ids;
  VDIST_ASSIGN(const json_document document, json_document::load(file));
  const json_view root = document.root();
  VDIST_ASSIGN(const json_view model, root.member("model"));
  VDIST_TRY(read_model(model, parts, ids));
  if (const auto added = root.find("added_tokens")) {
    VDIST_TRY(read_added_tokens(*added, parts, ids));
  }
  if (const auto view = root.find("normalizer")) {
    VDIST_ASSIGN(parts.normalizer, read_normalizer(*view));
  }
  if (const auto view = root.find("pre_tokenizer")) {
    VDIST_ASSIGN(parts.pre_tokenizer, read_pre_tokenizer(*view));
  }
  if (const auto view = root.find("post_processor")) {
    VDIST_ASSIGN(parts.frame, read_post_processor(*view));
  }
  parts.decoder = {space_joined_decoding{}};
  if (const auto view = root.find("decoder")) {
    VDIST_ASSIGN(parts.decoder, read_decoder(*view));
  }
  return ids;
}

result<void> read_merges_txt(const std::filesystem::path& file, bpe_spec& model) {
  VDIST_ASSIGN(const std::string text, read_text_file(file, json_file_bytes_max));
  std::size_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) {
      continue;
    }
    auto merge = parse_merge(line);
    if (!merge || model.merges.size() >= merges_max) {
      return fail(
          errc::corrupt,
          fmt::format(
              "read merges: a line must be 'left right', at most {} of them (file={}, line={})",
              merges_max,
              file.string(),
              line_number));
    }
    model.merges.push_back(*std::move(merge));
  }
  return {};
}

/// vocab.json and merges.txt say nothing about the text around them: that comes with the
/// tokenizer's class.
result<id_registry> read_vocab_and_merges(const std::filesystem::path& folder,
                                          const std::optional<json_view>& config,
                                          tokenizer_parts& parts) {
  id_registry ids;
  VDIST_ASSIGN(const json_document document, json_document::load(folder / "vocab.json"));
  VDIST_TRY(read_vocabulary(document.root(), parts.model, ids));
  VDIST_TRY(read_merges_txt(folder / "merges.txt", parts.model));
  std::string type = "GPT2Tokenizer";
  bool adds_prefix_space = false;
  if (config) {
    VDIST_ASSIGN(type, config->string_or("tokenizer_class", type));
    VDIST_ASSIGN(adds_prefix_space, config->bool_or("add_prefix_space", false));
  }
  if (type == "GPT2Tokenizer" || type == "GPT2TokenizerFast") {
    parts.pre_tokenizer = {byte_level_step{adds_prefix_space, true}};
  } else if (type == "Qwen2Tokenizer" || type == "Qwen2TokenizerFast") {
    VDIST_ASSIGN(text_pattern pattern, text_pattern::regex(qwen2_pattern));
    parts.normalizer = {normal_form_step{normal_form::nfc}};
    parts.pre_tokenizer = {split_step{std::move(pattern), separator_use::isolated, false},
                           byte_level_step{adds_prefix_space, false}};
  } else {
    return config->unsupported(
        "tokenizer_class for vocab.json and merges.txt", type, "GPT2Tokenizer, Qwen2Tokenizer");
  }
  parts.decoder = {byte_level_decoding{}};
  const json_view root = document.root();
  const std::string end_of_text = "<|endoftext|>"; // both classes' special token, listed or not
  if (const auto id = ids.find(end_of_text)) {
    VDIST_TRY(add_token(root, {.content = end_of_text, .id = *id, .special = true}, parts, ids));
  }
  return ids;
}

result<void>
read_added_tokens_decoder(const json_view& config, tokenizer_parts& parts, id_registry& ids) {
  const auto list = config.find("added_tokens_decoder");
  if (!list) {
    return {};
  }
  if (!list->is_object() || list->node().size() > added_tokens_max) {
    return list->corrupt(fmt::format("must be an object of at most {} tokens", added_tokens_max));
  }
  std::unordered_set<std::string> known;
  for (const added_token& token : parts.added) {
    known.insert(token.content);
  }
  for (const auto& [key, value] : list->node().items()) {
    VDIST_ASSIGN(const json_view view, list->member(key));
    VDIST_ASSIGN(added_token token, read_added_token(view));
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (code != std::errc() || end != key.data() + key.size() || token.id < 0
        || token.id >= token_id_end) {
      return view.corrupt(fmt::format("its key must be an id from 0 to {}", token_id_end - 1));
    }
    if (known.insert(token.content).second) {
      VDIST_TRY(add_token(view, std::move(token), parts, ids));
    }
  }
  return {};
}

/// Looks up a named special token of the configuration; makes it an added token when only the
/// vocabulary has it.
result<std::optional<token_id>> read_special_token(const json_view& config,
                                                   std::string_view name,
                                                   tokenizer_parts& parts,
                                                   id_registry& ids) {
  const auto view = config.find(name);
  if (!view) {
    return std::optional<token_id>();
  }
  VDIST_ASSIGN(added_token token, read_added_token(*view));
  const auto id = ids.find(token.content);
  if (!id) {
    return std::optional<token_id>(); // a name without a token: the model cannot produce it
  }
  token.id = *id;
  token.special = true;
  if (!is_added(parts, token.content)) {
    VDIST_TRY(add_token(*view, std::move(token), parts, ids));
  }
  return std::optional(*id);
}

result<void> apply_frame_flags(const json_view& config, tokenizer_parts& parts) {
  if (!config.find("add_bos_token") && !config.find("add_eos_token")) {
    return {};
  }
  VDIST_ASSIGN(const bool adds_bos, config.bool_or("add_bos_token", false));
  VDIST_ASSIGN(const bool adds_eos, config.bool_or("add_eos_token", false));
  parts.frame = {};
  if (adds_bos && parts.bos) {
    parts.frame.before = {*parts.bos};
  }
  if (adds_eos && parts.eos) {
    parts.frame.after = {*parts.eos};
  }
  return {};
}

/// A file that need not be there.
result<std::optional<json_document>> load_if_present(const std::filesystem::path& file) {
  auto document = json_document::load(file);
  if (!document && document.error().code == errc::not_found) {
    return std::optional<json_document>();
  }
  VDIST_ASSIGN(json_document loaded, std::move(document));
  return std::optional(std::move(loaded));
}

result<void> check_ids(const tokenizer_parts& parts) {
  const std::size_t end = parts.model.vocabulary.size() + parts.added.size() + id_holes_max;
  const auto check = [&parts, end](const std::string& text, token_id id) -> result<void> {
    if (static_cast<std::size_t>(id) < end) {
      return {};
    }
    return fail(
        errc::corrupt,
        fmt::format(
            "read tokenizer: id {} leaves more than {} ids without a token (file={}, token={})",
            id,
            id_holes_max,
            parts.file,
            text));
  };
  for (const auto& [text, id] : parts.model.vocabulary) {
    VDIST_TRY(check(text, id));
  }
  for (const added_token& token : parts.added) {
    VDIST_TRY(check(token.content, token.id));
  }
  return {};
}

} // namespace

result<tokenizer_parts> read_tokenizer_parts(const std::filesystem::path& model_folder) {
  tokenizer_parts parts;
  VDIST_ASSIGN(const auto config, load_if_present(model_folder / "tokenizer_config.json"));
  VDIST_ASSIGN(const auto special_map, load_if_present(model_folder / "special_tokens_map.json"));
  const auto config_view = config ? std::optional(config->root()) : std::nullopt;
  std::error_code code;
  const bool has_json = std::filesystem::exists(model_folder / "tokenizer.json", code);
  parts.file = (model_folder / (has_json ? "tokenizer.json" : "vocab.json")).string();
  if (!has_json && !std::filesystem::exists(parts.file, code)) {
    return fail(
        errc::not_found,
        fmt::format(
            "read tokenizer: neither tokenizer.json nor vocab.json and merges.txt (folder={})",
            model_folder.string()));
  }
  VDIST_ASSIGN(id_registry ids,
               has_json ? read_tokenizer_json(parts.file, parts)
                        : read_vocab_and_merges(model_folder, config_view, parts));
  if (config_view) {
    VDIST_TRY(read_added_tokens_decoder(*config_view, parts, ids));
  }
  for (const auto& document :
       {config_view, special_map ? std::optional(special_map->root()) : std::nullopt}) {
    if (document) {
      VDIST_ASSIGN(const auto bos, read_special_token(*document, "bos_token", parts, ids));
      VDIST_ASSIGN(const auto eos, read_special_token(*document, "eos_token", parts, ids));
      parts.bos = parts.bos ? parts.bos : bos;
      parts.eos = parts.eos ? parts.eos : eos;
    }
  }
  if (config_view) {
    VDIST_TRY(apply_frame_flags(*config_view, parts));
  }
  VDIST_TRY(check_ids(parts));
  return parts;
}

} // namespace vdist::text
