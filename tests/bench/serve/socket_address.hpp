// tests/bench/serve/socket_address.hpp — where to connect to, and sockets that do it without waiting.
#pragma once

#include "tests/bench/serve/request_text.hpp"

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <ctime>
#include <sys/socket.h>

namespace vdist::bench::serve {

struct socket_address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

/// The host's first address; of several the first that takes a connection. May block for the resolution of a name, and 3 s for
/// each of several addresses. Error: not_found.
[[nodiscard]] result<socket_address> resolve(const endpoint& where);

/// A non-blocking socket whose connection is under way or done. Errors: closed (refused at once), resource_exhausted.
[[nodiscard]] result<socket::unique_fd> begin_connect(const socket_address& to);

/// Of a socket that has become writable: whether it is connected.
[[nodiscard]] bool has_connected(int fd);

/// For waits of the kernel; a past time is 0.
[[nodiscard]] timespec timespec_of(duration time) noexcept;

/// Raises the soft limit of descriptors as far as it goes. Returns it.
[[nodiscard]] std::size_t raise_descriptor_limit();

} // namespace vdist::bench::serve
