// actors/control/abstract_address.hpp — names of Unix sockets that are no files, and who is at the other end of one.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

namespace vdist::control {

struct abstract_address {
  sockaddr_un value{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&value); }
};

/// A leading zero byte makes the name abstract. Error: invalid_argument (empty or too long).
[[nodiscard]] inline result<abstract_address> make_abstract_address(const std::string& name) {
  abstract_address made;
  if (name.empty() || name.size() >= sizeof made.value.sun_path) {
    return fail(errc::invalid_argument,
                "control socket: the name is empty or too long (legal: 1 to 107 bytes)");
  }
  made.value.sun_family = AF_UNIX;
  std::memcpy(made.value.sun_path + 1, name.data(), name.size());
  made.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return made;
}

/// The user of the process at the other end, when it connected or began to listen.
[[nodiscard]] inline std::optional<uid_t> peer_user(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return std::nullopt;
  }
  return peer.uid;
}

} // namespace vdist::control
