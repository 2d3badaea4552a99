// actors/front_door/api_keys.hpp — the keys of clients: who may use the API.
// K-1 A key is compared with all that are known, in a time that depends on lengths only. K-2 No key appears in an
// error or a log line.
// Immutable once made; any thread.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/secret.hpp"

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace vdist::actors {

inline constexpr std::size_t api_keys_max = 1024;
inline constexpr std::size_t api_key_bytes_max = 4096;

class api_keys {
public:
  /// Everybody may.
  api_keys() = default;

  /// server.api_key and the lines of server.api_key_file; empty lines and those that begin with '#' are none. Errors:
  /// not_found (the file), bad_configuration (no key in it, or one that no header can carry; the line is named).
  [[nodiscard]] static result<api_keys> load(const config::server_section& settings);

  [[nodiscard]] bool is_empty() const noexcept { return keys_.empty(); }

  /// Which of them an Authorization header's value ("Bearer <key>") has; 0 for everybody when there are none; nullopt:
  /// no legal one.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view authorization) const noexcept;

private:
  std::vector<config::secret> keys_;
};

/// Whether only this machine reaches it: 127.0.0.0/8, ::1, localhost.
[[nodiscard]] bool is_loopback(std::string_view host) noexcept;

/// Beyond loopback somebody must have decided who may use the API. Error: bad_configuration.
[[nodiscard]] result<void> check_exposure(const config::server_section& settings,
                                          const api_keys& keys);

} // namespace vdist::actors
