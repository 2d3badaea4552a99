#include "tests/bench/serve/fetch.hpp"

#include "tests/bench/serve/http_wire.hpp"
#include "tests/bench/serve/socket_address.hpp"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <poll.h>
#include <string_view>

namespace vdist::bench::serve {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t body_bytes_max = std::size_t{64} << 20U;

} // namespace

result<fetched>
fetch(const endpoint& from, const std::string& request, std::chrono::milliseconds timeout) {
  VDIST_ASSIGN(const auto to, resolve(from));
  const auto deadline = steady::now() + timeout;
  VDIST_ASSIGN(const auto fd, begin_connect(to));
  const auto await = [&fd, deadline](short what) {
    pollfd ready{.fd = fd.get(), .events = what, .revents = 0};
    const auto time = timespec_of(deadline - steady::now());
    return ::ppoll(&ready, 1, &time, nullptr) == 1;
  };
  const auto late = fail(errc::timed_out, "fetch: the server does not answer in time");
  if (!await(POLLOUT)) {
    return late;
  }
  if (!has_connected(fd.get())) {
    return fail(errc::closed,
                fmt::format("fetch: nobody listens (host={} port={})", from.host, from.port));
  }
  for (std::string_view rest = request; !rest.empty();) {
    const auto sent = ::send(fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      return fail(errc::closed, "fetch: the server closed the connection");
    }
    rest.remove_prefix(sent < 0 ? 0 : static_cast<std::size_t>(sent));
    if (!rest.empty() && !await(POLLOUT)) {
      return late;
    }
  }
  fetched got;
  response_parser parser;
  std::array<char, 4096> into{};
  while (parser.now() == response_parser::state::head
         || parser.now() == response_parser::state::body) {
    if (!await(POLLIN)) {
      return late;
    }
    const auto bytes = ::recv(fd.get(), into.data(), into.size(), 0);
    if (bytes > 0) {
      parser.feed({into.data(), static_cast<std::size_t>(bytes)},
                  [&got](std::string_view part) { got.body += part; });
      if (got.body.size() > body_bytes_max) {
        return fail(errc::corrupt, "fetch: the answer is too large");
      }
    } else if (bytes == 0 || errno != EAGAIN) {
      parser.end();
    }
  }
  if (parser.now() == response_parser::state::broken) {
    return fail(errc::corrupt, "fetch: the answer is not a whole one of HTTP");
  }
  got.status = parser.status();
  return got;
}

} // namespace vdist::bench::serve
