// model/weights/model_folder.hpp — from model.path to the folder with config.json. Nothing is
// downloaded here: hub::fetch (model/hub) brings a repository into the cache before.
//   "some/folder"             a folder with config.json
//   "org/name", "name"        a repository in the local Hugging Face cache, at the revision given
//   "org/name@revision"       the same at a branch, tag or commit hash
//   "random:some/folder"      config.json (and tokenizer) of the folder; the weights are generated.
//   "random:org/name" too.
// A folder wins over a repository of the same name.
#pragma once

#include "model/hub/repository.hpp"

#include "runtime/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vdist::weights {

enum class weight_origin : std::uint8_t { checkpoint, random };

struct model_folder {
  std::filesystem::path folder; // holds config.json
  weight_origin weights = weight_origin::checkpoint;
  std::string name;     // for people: the repository id or the folder's last part
  std::string revision; // commit hash of a cached repository, else empty
};

/// A repository, and the origin of the weights.
struct model_repository {
  hub::repository wanted;
  weight_origin weights = weight_origin::checkpoint;
};

/// The repository that a path means; nullopt: it is on this disk, or no legal name. `revision`, here
/// and below: of a path that names none.
[[nodiscard]] std::optional<model_repository>
repository_of(std::string_view path, std::string_view revision = hub::default_revision);

/// cache_roots: folders of Hugging Face caches (…/hub), searched in order; the configuration knows
/// the usual one. errc::not_found names what was looked for and every place searched.
[[nodiscard]] result<model_folder>
resolve_model_folder(std::string_view path,
                     std::span<const std::filesystem::path> cache_roots,
                     std::string_view revision = hub::default_revision);

} // namespace vdist::weights
