// runtime/config/load.hpp — cluster.toml and `--set` overrides → cluster_config, with every mistake
// named. An unknown key, a wrong type, a value out of range, an unknown word or settings that
// exclude each other give one error (errc::bad_configuration, exit code 2): `file:line: full.key:
// what is legal (got …)`. The first mistake is reported. Overrides are `full.key=value` in TOML
// syntax; for keys that hold a string, unquoted text is the string itself. They win over the file
// and pass the same checks, their errors begin with `--set full.key=value`. C-1 a cluster_config
// that load returned satisfies every range and combination rule of keys.cpp and rules.cpp.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace vdist::config {

/// Bytes of a configuration file at most.
inline constexpr std::size_t config_bytes_max = 256 * 1024;
/// Dots in one line at most, comments aside: bounds how deep dotted keys can nest before the parser
/// sees them.
inline constexpr std::size_t dots_per_line_max = 64;
/// Bytes of one override at most.
inline constexpr std::size_t override_bytes_max = 16 * 1024;

/// Reads a file. model.path is resolved against the current directory, then against the folder of
/// the file. Errors: bad_configuration; not_found when the file does not exist; io_failed when it
/// cannot be read.
[[nodiscard]] result<cluster_config> load(const std::filesystem::path& file,
                                          std::span<const std::string> overrides = {});

/// The same for text that is already in memory; `name` stands for the file in messages. Nothing is
/// resolved.
[[nodiscard]] result<cluster_config>
parse(std::string_view text, std::string_view name, std::span<const std::string> overrides = {});

/// model.path as the model code gets it: an existing folder below the current directory, else below
/// `config_folder`, else the text as it is (a repo id, or a folder that does not exist). The part
/// behind "random:" is treated alike.
[[nodiscard]] std::string resolve_model_path(std::string_view path,
                                             const std::filesystem::path& config_folder);

} // namespace vdist::config
