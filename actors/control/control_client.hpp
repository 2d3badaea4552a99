// actors/control/control_client.hpp — finds the clusters of this host and asks them.
// C-1 A socket of another user is no cluster of ours, unless we are root: names are free for all, so it could say anything.
// C-2 One connection per request, with a deadline: a client that waits for nothing holds nothing.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::control {

struct cluster_address {
  std::string name;     // of the cluster, as socket_name() writes it
  std::int32_t pid = 0; // of the program that was started

  auto operator<=>(const cluster_address&) const = default;
};

/// "vdist/<name>/<pid>"; other characters than letters, digits, '.', '_' and '-' become '_', and a
/// long name is cut.
[[nodiscard]] std::string socket_name(std::string_view cluster, std::int32_t pid);
[[nodiscard]] std::string clean_name(std::string_view cluster);

/// The clusters that the text of /proc/net/unix names, in order, each once.
[[nodiscard]] std::vector<cluster_address> parse_unix_sockets(std::string_view text);

/// The clusters of this host that can be asked (C-1).
[[nodiscard]] std::vector<cluster_address> find_clusters();

/// The reply to one request (protocol.hpp). Errors: not_found (no such cluster, or it has ended),
/// closed (it ended before it answered), timed_out, unsupported (C-1), io_failed.
[[nodiscard]] result<std::string>
ask(const cluster_address& cluster, const std::string& request, duration patience);

} // namespace vdist::control
