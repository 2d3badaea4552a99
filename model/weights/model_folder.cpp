#include "model/weights/model_folder.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <fstream>
#include <optional>

namespace vdist::weights {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view random_prefix = "random:";
constexpr std::string_view default_revision = "main";
constexpr std::size_t max_reference_bytes = 256; // a refs file holds one commit hash

/// A repository id and the revision asked for.
struct repository {
  std::string id;       // "org/name" or "name"
  std::string revision; // "main", a branch, a tag or a hash
};

bool is_name_character(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '-' || letter == '_'
         || letter == '.';
}

/// One part of an id, a revision or a hash: it becomes a file name, so "." and ".." must not pass.
bool is_plain_name(std::string_view part) {
  return !part.empty() && part.front() != '.'
         && std::all_of(part.begin(), part.end(), is_name_character);
}

/// Splits at '/', checks every part.
bool are_plain_names(std::string_view path, std::size_t max_parts) {
  std::size_t parts = 0;
  while (true) {
    const std::size_t slash = path.find('/');
    if (!is_plain_name(path.substr(0, slash)) || ++parts > max_parts) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

std::optional<repository> parse_repository(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::string_view id = text.substr(0, at);
  const std::string_view revision =
      at == std::string_view::npos ? default_revision : text.substr(at + 1);
  constexpr std::size_t max_revision_parts = 4; // "refs/pr/12"
  if (!are_plain_names(id, 2) || !are_plain_names(revision, max_revision_parts)) {
    return std::nullopt;
  }
  return repository{std::string(id), std::string(revision)};
}

/// The cache's folder name of a repository: "models--org--name".
std::string cache_folder_name(std::string_view id) {
  std::string name = "models--";
  for (const char letter : id) {
    if (letter == '/') {
      name += "--";
    } else {
      name.push_back(letter);
    }
  }
  return name;
}

bool has_config(const fs::path& folder) {
  std::error_code status;
  return fs::is_regular_file(folder / "config.json", status);
}

/// First line of refs/<revision>, if it is a plain name.
std::optional<std::string> read_reference(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(max_reference_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  return is_plain_name(text) ? std::optional(text) : std::nullopt;
}

/// The snapshot of `wanted` below one cache root; the reason why not is appended to `searched`.
std::optional<model_folder>
find_in_cache(const fs::path& root, const repository& wanted, std::string& searched) {
  const fs::path base = root / cache_folder_name(wanted.id);
  std::error_code status;
  if (!fs::is_directory(base, status)) {
    searched += fmt::format("; {}: no such folder", base.string());
    return std::nullopt;
  }
  // A revision is a name below refs/ that leads to a hash, or the hash of a snapshot itself.
  const auto reference = read_reference(base / "refs" / wanted.revision);
  const std::string hash = reference.value_or(wanted.revision);
  if (!is_plain_name(hash)) {
    searched += fmt::format("; {}: no such revision", (base / "refs" / wanted.revision).string());
    return std::nullopt;
  }
  const fs::path snapshot = base / "snapshots" / hash;
  if (!has_config(snapshot)) {
    searched += fmt::format("; {}: no config.json", snapshot.string());
    return std::nullopt;
  }
  return model_folder{.folder = snapshot, .name = wanted.id, .revision = hash};
}

std::string folder_name(const fs::path& folder) {
  const fs::path plain = fs::absolute(folder).lexically_normal();
  return plain.has_filename() ? plain.filename().string() : plain.parent_path().filename().string();
}

} // namespace

result<model_folder> resolve_model_folder(std::string_view path,
                                          std::span<const fs::path> cache_roots) {
  weight_origin origin = weight_origin::checkpoint;
  std::string_view place = path;
  if (place.starts_with(random_prefix)) {
    origin = weight_origin::random;
    place.remove_prefix(random_prefix.size());
  }
  if (place.empty()) {
    return fail(
        errc::invalid_argument,
        fmt::format("find model: the path is empty (model.path={}, legal=a folder, org/name, "
                    "org/name@revision, random:folder)",
                    path));
  }
  const fs::path folder(place);
  if (has_config(folder)) {
    return model_folder{.folder = folder, .weights = origin, .name = folder_name(folder)};
  }
  std::error_code status;
  std::string searched = fmt::format(
      "{}: {}", place, fs::is_directory(folder, status) ? "no config.json" : "no such folder");
  const auto wanted = parse_repository(place);
  if (wanted) {
    for (const fs::path& root : cache_roots) {
      if (auto found = find_in_cache(root, *wanted, searched)) {
        found->weights = origin;
        return *std::move(found);
      }
    }
  }
  return fail(errc::not_found,
              fmt::format("find model: not found (model.path={}, searched={})", path, searched));
}

} // namespace vdist::weights
