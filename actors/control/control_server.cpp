#include "actors/control/control_server.hpp"

#include "actors/control/abstract_address.hpp"
#include "actors/control/protocol.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <span>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace vdist::control {

namespace {

constexpr int backlog = 16;
/// Longest sleep while somebody is connected: how late a silent peer is noticed.
constexpr int look_interval_ms = 500;

error system_error(const char* operation) {
  return fail(errc::io_failed,
              fmt::format("control socket: {}: {}", operation, std::strerror(errno)));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string_view text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace

result<std::unique_ptr<control_server>> control_server::start(
    const std::string& name, controllable& cluster, const control_server_settings& settings) {
  VDIST_ASSIGN(const auto address, make_abstract_address(name));
  socket::unique_fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) {
    return system_error("socket");
  }
  if (::bind(listener.get(), address.get(), address.length) != 0) {
    return system_error("bind");
  }
  if (::listen(listener.get(), backlog) != 0) {
    return system_error("listen");
  }
  socket::unique_fd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) {
    return system_error("eventfd");
  }
  return std::unique_ptr<control_server>(
      new control_server(std::move(listener), std::move(stop), cluster, settings));
}

control_server::control_server(socket::unique_fd listener,
                               socket::unique_fd stop,
                               controllable& cluster,
                               const control_server_settings& settings)
    : listener_(std::move(listener)),
      stop_(std::move(stop)),
      cluster_(cluster),
      settings_(settings),
      thread_([this] {
        pthread_setname_np(pthread_self(), "control");
        serve();
      }) {}

control_server::~control_server() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void control_server::serve() {
  while (wait()) {
    const auto now = time_.now();
    connections_.remove_if(
        [this, now](connection& one) { return !serve_one(one) || now > one.silent_until; });
    if (connections_.size() < settings_.connections_max) {
      accept_one();
    }
  }
}

/// Until there is something to do. False: the server is to end.
bool control_server::wait() {
  std::vector<pollfd> watched{{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
  if (connections_.size() < settings_.connections_max) {
    watched.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  }
  for (const auto& one : connections_) {
    watched.push_back({.fd = one.peer.fd(), .events = POLLIN, .revents = 0});
  }
  const int found =
      ::poll(watched.data(), watched.size(), connections_.empty() ? -1 : look_interval_ms);
  if (found < 0 && errno != EINTR) {
    log::error("{}", system_error("poll").context);
    return false;
  }
  return watched.front().revents == 0;
}

/// S-1.
void control_server::accept_one() {
  socket::unique_fd accepted(
      ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!accepted) {
    return; // nobody there, or gone again
  }
  const auto user = peer_user(accepted.get());
  connection one{.peer = socket::message_socket(std::move(accepted), time_),
                 .silent_until = time_.now() + settings_.silence_max};
  if (user && (*user == ::geteuid() || *user == 0)) {
    connections_.push_back(std::move(one));
    return;
  }
  const auto refusal = encode(
      fail(errc::unsupported, "control socket: only the cluster's own user and root are heard"));
  if (auto sent = one.peer.send(bytes_of(refusal), {}, time_.now()); !sent) {
    log::debug("{}", sent.error().context); // it will see the end of the connection
  }
}

/// At most one request. False: the connection is over.
bool control_server::serve_one(connection& one) {
  const auto message = one.peer.receive(time_.now());
  if (!message && message.error().code == errc::timed_out) {
    return true; // nothing there
  }
  const bool is_whole = message.has_value();
  if (!is_whole && message.error().code != errc::corrupt) {
    return false;
  }
  const auto reply = is_whole ? answer(cluster_, text_of(message->bytes)) : encode(message.error());
  const auto now = time_.now();
  one.silent_until = now + settings_.silence_max;
  return one.peer.send(bytes_of(reply), {}, now).has_value() && is_whole;
}

} // namespace vdist::control
