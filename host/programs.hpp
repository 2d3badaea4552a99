// host/programs.hpp — where the programs of this build are: beside each other, in one folder.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <filesystem>

namespace vdist::host {

/// `configured`, if not empty; else the folder of the running program, or `bin` beside that folder,
/// whichever holds vdist-run. Error: not_found, names the places.
[[nodiscard]] result<std::filesystem::path>
find_programs(const std::filesystem::path& configured = {});

/// Which file a program is: another one as soon as it was replaced. All zeros: there is none.
struct program_stamp {
  std::uint64_t device = 0;
  std::uint64_t file = 0;
  std::int64_t changed_ns = 0;

  bool operator==(const program_stamp&) const = default;
};

[[nodiscard]] program_stamp stamp_of(const std::filesystem::path& program) noexcept;

/// Asks the program whether it is of our version (runtime/protocol/version.hpp), before anybody relies on it. Some
/// milliseconds; at most 5 s. Errors: unsupported, not_found, timed_out, or as start_child().
[[nodiscard]] result<void> check_program(const std::filesystem::path& program);

} // namespace vdist::host
