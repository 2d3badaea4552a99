#include "model/weights/model_folder.hpp"

#include "model/hub/cache_folder.hpp"

#include <fmt/format.h>

namespace vdist::weights {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view random_prefix = "random:";

/// Takes the prefix away.
weight_origin origin_of(std::string_view& path) {
  if (!path.starts_with(random_prefix)) {
    return weight_origin::checkpoint;
  }
  path.remove_prefix(random_prefix.size());
  return weight_origin::random;
}

bool has_config(const fs::path& folder) {
  std::error_code status;
  return fs::is_regular_file(folder / "config.json", status);
}

/// The snapshot of `wanted` below one cache root; the reason why not is appended to `searched`.
std::optional<model_folder>
find_in_cache(const fs::path& root, const hub::repository& wanted, std::string& searched) {
  const hub::cache_folder cache(root, wanted.id);
  std::error_code status;
  if (!fs::is_directory(cache.base(), status)) {
    searched += fmt::format("; {}: no such folder", cache.base().string());
    return std::nullopt;
  }
  const auto commit = cache.commit_of(wanted.revision);
  if (!commit) {
    searched += fmt::format("; {}: no such revision", cache.reference(wanted.revision).string());
    return std::nullopt;
  }
  const fs::path snapshot = cache.snapshot(*commit);
  if (!has_config(snapshot)) {
    searched += fmt::format("; {}: no config.json", snapshot.string());
    return std::nullopt;
  }
  return model_folder{.folder = snapshot, .name = wanted.id, .revision = *commit};
}

std::string folder_name(const fs::path& folder) {
  const fs::path plain = fs::absolute(folder).lexically_normal();
  return plain.has_filename() ? plain.filename().string() : plain.parent_path().filename().string();
}

} // namespace

std::optional<model_repository> repository_of(std::string_view path, std::string_view revision) {
  const weight_origin origin = origin_of(path);
  std::error_code status;
  if (fs::exists(fs::path(path), status)) {
    return std::nullopt;
  }
  auto wanted = hub::parse_repository(path, revision);
  return wanted ? std::optional(model_repository{*std::move(wanted), origin}) : std::nullopt;
}

result<model_folder> resolve_model_folder(std::string_view path,
                                          std::span<const fs::path> cache_roots,
                                          std::string_view revision) {
  std::string_view place = path;
  const weight_origin origin = origin_of(place);
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
  const auto wanted = hub::parse_repository(place, revision);
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
