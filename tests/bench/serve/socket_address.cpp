#include "tests/bench/serve/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/resource.h>

namespace vdist::bench::serve {

namespace {

/// Of one of several addresses of a name: "localhost" has two, and most servers listen on one.
constexpr int answer_ms_max = 3000;

socket_address address_of(const addrinfo& found) {
  socket_address made;
  std::memcpy(&made.bytes, found.ai_addr, found.ai_addrlen);
  made.size = found.ai_addrlen;
  return made;
}

bool answers(const socket_address& address) {
  const auto fd = begin_connect(address);
  if (!fd) {
    return false;
  }
  pollfd writable{.fd = fd->get(), .events = POLLOUT, .revents = 0};
  return ::poll(&writable, 1, answer_ms_max) == 1 && has_connected(fd->get());
}

} // namespace

result<socket_address> resolve(const endpoint& where) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed =
      ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &wanted, &found);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  if (failed != 0 || found == nullptr) {
    return fail(errc::not_found,
                fmt::format("connect: the host has no address (host={} cause={})",
                            where.host,
                            ::gai_strerror(failed)));
  }
  const auto first = address_of(*found);
  for (const auto* one = found; found->ai_next != nullptr && one != nullptr; one = one->ai_next) {
    const auto address = address_of(*one);
    if (answers(address)) {
      return address;
    }
  }
  return first; // who connects to it hears why not
}

result<socket::unique_fd> begin_connect(const socket_address& to) {
  socket::unique_fd fd(::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    return fail(errc::resource_exhausted,
                fmt::format("connect: no socket (cause={})", std::strerror(errno)));
  }
  const int yes = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  const auto* address = reinterpret_cast<const sockaddr*>(&to.bytes);
  if (::connect(fd.get(), address, to.size) != 0 && errno != EINPROGRESS) {
    return fail(errc::closed, fmt::format("connect: {}", std::strerror(errno)));
  }
  return fd;
}

bool has_connected(int fd) {
  int cause = 0;
  socklen_t size = sizeof(cause);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &size) == 0 && cause == 0;
}

timespec timespec_of(duration time) noexcept {
  const auto rest = std::max(time, duration(0));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(rest);
  return {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(rest - seconds).count()};
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(limit.rlim_cur);
}

} // namespace vdist::bench::serve
