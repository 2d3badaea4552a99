// runtime/protocol/version.hpp — what the programs of one host must agree on: vdist-run, vdist-node and vdist-worker are
// started one by one, also after their files were replaced, and go on with what the others left.
//
// Raise the number with every change that an older program would misunderstand: host and worker messages, steps, frames,
// board, ledger, or what lies in the vault. Whatever starts a program asks it first where that costs nothing
// (`--speaks <number>`), and every first message carries the number.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace vdist::protocol {

inline constexpr std::uint32_t programs_version = 7;

/// Error: unsupported, names both numbers.
[[nodiscard]] inline result<void> check_version(std::string_view operation, std::uint32_t theirs) {
  return theirs == programs_version
             ? result<void>()
             : fail(errc::unsupported,
                    std::string(operation)
                        + ": it is of another version of vdist (theirs=" + std::to_string(theirs)
                        + " ours=" + std::to_string(programs_version) + ")");
}

/// What a program answers to `--speaks <number>`: its exit code.
[[nodiscard]] inline int answer_speaks(std::string_view number) noexcept {
  return number == std::to_string(programs_version) ? 0 : exit_code(errc::unsupported);
}

} // namespace vdist::protocol
