// model/hub/repository.hpp — names of model repositories. Every part becomes a part of a path and
// of a URL, so only plain names pass.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vdist::hub {

inline constexpr std::string_view default_revision = "main";

/// A repository and what is wanted of it.
struct repository {
  std::string id;       // "org/name" or "name"
  std::string revision; // a branch, a tag or a commit hash
};

/// Letters, digits, '-', '_' and '.', which is not first: no way out of a folder.
[[nodiscard]] bool is_plain_name(std::string_view part);

/// "org/name", "name", either with "@revision", which wins over `revision`. nullopt: no legal name.
[[nodiscard]] std::optional<repository>
parse_repository(std::string_view text, std::string_view revision = default_revision);

} // namespace vdist::hub
