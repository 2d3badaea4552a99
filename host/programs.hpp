// host/programs.hpp — where the programs of this build are: beside each other, in one folder.
#pragma once

#include "runtime/base/result.hpp"

#include <filesystem>

namespace vdist::host {

/// `configured`, if not empty; else the folder of the running program, or `bin` beside that folder,
/// whichever holds vdist-run. Error: not_found, names the places.
[[nodiscard]] result<std::filesystem::path>
find_programs(const std::filesystem::path& configured = {});

} // namespace vdist::host
