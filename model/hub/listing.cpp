#include "model/hub/listing.hpp"

#include "model/hub/repository.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

namespace vdist::hub {

namespace {

using nlohmann::json;

/// Deeper values are not needed and not kept, so that an answer costs memory in proportion to its
/// names only.
constexpr int depth_kept = 3;
constexpr std::size_t path_bytes_max = 1024;

/// Everything but weights that a model folder is read for.
constexpr std::array<std::string_view, 11> small_files{
    config_file,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
};

json parsed(std::string_view text) {
  return json::parse(
      text, [](int depth, json::parse_event_t, json&) { return depth <= depth_kept; }, false);
}

/// Relative, and inside: no part that is empty, "." or "..".
bool is_inside_path(std::string_view path) {
  if (path.empty() || path.size() > path_bytes_max
      || !std::all_of(path.begin(), path.end(), [](char letter) {
           return static_cast<unsigned char>(letter) >= ' ' && letter != '\x7F' && letter != '\\';
         })) {
    return false;
  }
  while (true) {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

bool is_commit(std::string_view text) {
  return (text.size() == 40 || text.size() == 64)
         && std::all_of(text.begin(), text.end(), [](char letter) {
              return std::isdigit(static_cast<unsigned char>(letter)) != 0
                     || (letter >= 'a' && letter <= 'f');
            });
}

/// The string under `key`; empty if there is none.
std::string string_of(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

} // namespace

result<listing> parse_listing(std::string_view text) {
  const json answer = parsed(text);
  listing listed{.commit = string_of(answer, "sha")};
  if (!is_commit(listed.commit)) {
    return fail(errc::corrupt, "list files: the answer names no commit (key=sha)");
  }
  const auto siblings = answer.find("siblings");
  if (siblings == answer.end() || !siblings->is_array()) {
    return fail(errc::corrupt, "list files: the answer has no list of files (key=siblings)");
  }
  if (siblings->size() > listing_files_max) {
    return fail(errc::corrupt,
                fmt::format("list files: too many files (files={}, files_max={})",
                            siblings->size(),
                            listing_files_max));
  }
  for (std::size_t i = 0; i < siblings->size(); ++i) {
    std::string name = string_of((*siblings)[i], "rfilename");
    if (!is_inside_path(name)) {
      return fail(
          errc::corrupt,
          fmt::format("list files: not the name of a file in the repository (siblings[{}])", i));
    }
    if (name.find('/') == std::string::npos) {
      listed.files.push_back(std::move(name));
    }
  }
  return listed;
}

result<std::vector<std::string>> parse_weight_index(std::string_view text) {
  const json index = parsed(text);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    return fail(errc::corrupt, "read weight index: weight_map is not an object");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      return fail(errc::corrupt, "read weight index: it names a file that is none of its folder");
    }
    names.insert(file.get<std::string>());
  }
  if (names.empty() || names.size() > weight_files_max) {
    return fail(
        errc::corrupt,
        fmt::format("read weight index: an illegal number of files (files={}, legal=1 to {})",
                    names.size(),
                    weight_files_max));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

result<std::vector<std::string>> choose_files(const listing& listed, content wanted) {
  const auto has = [&listed](std::string_view name) {
    return std::find(listed.files.begin(), listed.files.end(), name) != listed.files.end();
  };
  std::vector<std::string> chosen;
  for (const std::string_view name : small_files) {
    if (has(name)) {
      chosen.emplace_back(name);
    }
  }
  if (!has(config_file)) {
    return fail(errc::not_found, fmt::format("list files: no model (searched={})", config_file));
  }
  if (wanted == content::without_weights) {
    return chosen;
  }
  if (has(single_weight_file)) {
    chosen.emplace_back(single_weight_file);
  } else if (has(weight_index_file)) {
    chosen.emplace_back(weight_index_file);
  } else {
    return fail(errc::not_found,
                fmt::format("list files: no weights that can be read (searched={}, {})",
                            single_weight_file,
                            weight_index_file));
  }
  return chosen;
}

} // namespace vdist::hub
