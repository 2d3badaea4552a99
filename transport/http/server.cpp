#include "transport/http/server.hpp"

#include "transport/http/connection.hpp"
#include "transport/http/lane.hpp"
#include "transport/http/service.hpp"
#include "transport/http/tls.hpp"

#include "runtime/base/log.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <system_error>
#include <vector>

namespace vdist::http {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

using acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;
using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>,
                                         asio::io_context::executor_type>;

/// After a failed accept: descriptors or memory are short, and the client waits in the kernel's queue.
constexpr std::chrono::milliseconds accept_pause{100};
/// Connections beyond connections_max that are told so; more are closed without a word.
constexpr std::size_t turned_away_max = 64;
constexpr std::size_t io_threads_max = 256;

// A client whose machine has gone is noticed after idle + interval * probes seconds, also while nothing
// is sent to it.
constexpr int keepalive_idle_s = 30;
constexpr int keepalive_interval_s = 10;
constexpr int keepalive_probes = 3;

result<void> check(const server_config& config) {
  const auto& bounds = config.bounds;
  const auto& times = config.times;
  const std::pair<const char*, std::size_t> sizes[] = {
      {"io_threads", config.io_threads},
      {"header_bytes_max", bounds.header_bytes_max},
      {"headers_max", bounds.headers_max},
      {"target_bytes_max", bounds.target_bytes_max},
      {"chunk_line_bytes_max", bounds.chunk_line_bytes_max},
      {"read_ahead_bytes_max", bounds.read_ahead_bytes_max},
      {"connections_max", bounds.connections_max},
      {"output_high_bytes", bounds.output_high_bytes},
      {"body_bytes_per_second_min", times.body_bytes_per_second_min},
  };
  for (const auto& [name, value] : sizes) {
    if (value == 0) {
      return fail(errc::invalid_argument, fmt::format("http server: {} must be at least 1", name));
    }
  }
  const std::pair<const char*, std::chrono::milliseconds> waits[] = {
      {"handshake", times.handshake},
      {"idle", times.idle},
      {"header", times.header},
      {"body", times.body},
      {"write", times.write},
      {"linger", times.linger},
  };
  for (const auto& [name, value] : waits) {
    if (value.count() <= 0) {
      return fail(errc::invalid_argument,
                  fmt::format("http server: the time for {} must be above 0 ms", name));
    }
  }
  if (config.io_threads > io_threads_max) {
    return fail(errc::invalid_argument,
                fmt::format("http server: too many io threads (io_threads={}, maximum={})",
                            config.io_threads,
                            io_threads_max));
  }
  if (bounds.output_low_bytes >= bounds.output_high_bytes) {
    return fail(errc::invalid_argument,
                fmt::format("http server: output_low_bytes must be below output_high_bytes "
                            "(low={}, high={})",
                            bounds.output_low_bytes,
                            bounds.output_high_bytes));
  }
  return {};
}

/// What can be done about it, too.
error listen_error(const error_code& cause, const std::string& where) {
  if (cause == asio::error::address_in_use) {
    return fail(
        errc::resource_exhausted,
        fmt::format("http listen: the port is in use; choose another one, or 0 for any, or end "
                    "the process that has it (address={})",
                    where));
  }
  if (cause == asio::error::access_denied) {
    return fail(errc::io_failed,
                fmt::format("http listen: no permission; ports below 1024 need privileges "
                            "(address={})",
                            where));
  }
  if (cause == boost::system::errc::address_not_available) {
    return fail(errc::not_found,
                fmt::format("http listen: this machine has no such address (address={})", where));
  }
  return fail(cause == asio::error::no_descriptors ? errc::resource_exhausted : errc::io_failed,
              fmt::format("http listen: {} (address={})", cause.message(), where));
}

/// Accepted sockets inherit them on Linux, which saves five system calls for each.
void set_options(acceptor& listening, const limits& bounds) {
  const auto set = [&listening](int level, int name, int value) {
    ::setsockopt(listening.native_handle(), level, name, &value, sizeof(value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1); // an event is sent when it is written
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle_s);
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval_s);
  set(IPPROTO_TCP, TCP_KEEPCNT, keepalive_probes);
  if (bounds.send_buffer_bytes > 0) {
    set(SOL_SOCKET, SO_SNDBUF, static_cast<int>(bounds.send_buffer_bytes));
  }
}

result<tcp::endpoint> find_endpoint(asio::io_context& context, const server_config& config) {
  error_code failure;
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(config.host,
                                      std::to_string(config.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service,
                                      failure);
  if (failure || found.empty()) {
    return fail(errc::not_found,
                fmt::format("http listen: no address for this host: {} (host={})",
                            failure.message(),
                            config.host));
  }
  return found.begin()->endpoint();
}

/// Without listening.
error_code bind(acceptor& listening, const tcp::endpoint& wanted, const limits& bounds) {
  error_code failure;
  listening.open(wanted.protocol(), failure);
  if (!failure) {
    listening.set_option(acceptor::reuse_address(true), failure);
  }
  if (!failure && wanted.address().is_v6()) {
    listening.set_option(asio::ip::v6_only(false), failure);
  }
  if (!failure) {
    set_options(listening, bounds);
    listening.bind(wanted, failure);
  }
  return failure;
}

} // namespace

/// A socket that is bound and does not listen is in nobody's way: two checks at once, or a check and a start, do not meet.
result<void> check_port(const server_config& config) {
  asio::io_context context;
  VDIST_ASSIGN(const auto wanted, find_endpoint(context, config));
  acceptor probe(context);
  const auto failure = bind(probe, wanted, config.bounds);
  return failure ? result<void>(listen_error(failure, text_of(wanted))) : result<void>();
}

struct server::impl {
  impl(server_config config, handler what)
      : shared(std::make_shared<service>(std::move(config))), serve(std::move(what)) {
    for (std::size_t i = 0; i < shared->config.io_threads; ++i) {
      lanes.push_back(std::make_unique<lane>());
    }
    listening = std::make_unique<acceptor>(lanes.front()->context());
    pause = std::make_unique<timer>(lanes.front()->context());
  }

  result<void> listen();
  void accept_next();
  void take(connection::socket accepted, lane& home);
  void close_listening();
  void stop();

  std::shared_ptr<service> shared;
  handler serve;
  std::unique_ptr<tls_context> tls;
  std::vector<std::unique_ptr<lane>> lanes; // fixed; the first one accepts
  std::unique_ptr<acceptor> listening;      // on its lane, as `pause`
  std::unique_ptr<timer> pause;
  std::size_t next_lane = 0; // on the first lane
  std::uint16_t port = 0;
  std::string address;
};

result<void> server::impl::listen() {
  const auto& config = shared->config;
  VDIST_ASSIGN(const auto wanted, find_endpoint(lanes.front()->context(), config));
  error_code failure = bind(*listening, wanted, config.bounds);
  if (!failure) {
    listening->listen(acceptor::max_listen_connections, failure);
  }
  const auto bound = failure ? tcp::endpoint() : listening->local_endpoint(failure);
  if (failure) {
    return listen_error(failure, text_of(wanted));
  }
  port = bound.port();
  address = text_of(bound);
  return {};
}

void server::impl::accept_next() {
  auto& home = *lanes[next_lane++ % lanes.size()];
  listening->async_accept(home.context(),
                          [this, &home](const error_code& failure, connection::socket accepted) {
                            if (!listening->is_open()) {
                              return;
                            }
                            if (!failure) {
                              take(std::move(accepted), home);
                              return accept_next();
                            }
                            shared->counts.refuse(refused_by::descriptors);
                            pause->expires_after(accept_pause); // trying at once would spin (H-5)
                            pause->async_wait([this](const error_code& cancelled) {
                              if (!cancelled && listening->is_open()) {
                                accept_next();
                              }
                            });
                          });
}

void server::impl::take(connection::socket accepted, lane& home) {
  auto& counts = shared->counts;
  counters::add(counts.connections_accepted);
  const auto open = counts.connections_open.load(std::memory_order_relaxed);
  const bool is_beyond = open >= shared->config.bounds.connections_max;
  if (is_beyond && (tls || open >= shared->config.bounds.connections_max + turned_away_max)) {
    counts.refuse(refused_by::connections);
    return; // closes it
  }
  auto session = tls ? tls->open(accepted.native_handle()) : nullptr;
  if (tls && !session) {
    counts.refuse(refused_by::handshake);
    return;
  }
  counters::add(counts.connections_open);
  auto made =
      std::make_shared<connection>(home, shared, serve, std::move(accepted), std::move(session));
  home.post([made = std::move(made), is_beyond] {
    if (is_beyond) {
      made->turn_away();
    } else {
      made->start();
    }
  });
}

void server::impl::close_listening() {
  lanes.front()->post([this] {
    error_code ignored;
    listening->close(ignored);
    pause->cancel();
  });
}

void server::impl::stop() {
  close_listening();
  for (const auto& one : lanes) {
    one->finish();
  }
}

server::server(std::unique_ptr<impl> inside) noexcept : impl_(std::move(inside)) {}

server::~server() {
  stop();
}

result<std::unique_ptr<server>> server::start(server_config config, handler serve) {
  VDIST_TRY(check(config));
  if (!serve) {
    return fail(errc::invalid_argument, "http server: no handler");
  }
  try {
    auto inside = std::make_unique<impl>(std::move(config), std::move(serve));
    if (inside->shared->config.tls) {
      VDIST_ASSIGN(inside->tls, tls_context::load(*inside->shared->config.tls));
    }
    VDIST_TRY(inside->listen());
    inside->accept_next(); // begins when the lane does
    std::unique_ptr<server> made(new server(std::move(inside)));
    for (std::size_t i = 0; i < made->impl_->lanes.size(); ++i) {
      made->impl_->lanes[i]->start(fmt::format("http-{}", i));
    }
    return made;
  } catch (const std::exception& cause) {
    return fail(errc::resource_exhausted,
                fmt::format("http server: cannot start: {}", cause.what()));
  }
}

std::uint16_t server::port() const noexcept {
  return impl_->port;
}

const std::string& server::address() const noexcept {
  return impl_->address;
}

result<void> server::drain(time_point deadline) {
  auto& shared = *impl_->shared;
  shared.is_draining = true;
  impl_->close_listening();
  for (const auto& one : impl_->lanes) {
    one->post([lane = one.get()] { lane->drain(); });
  }
  const auto open = [&shared] {
    return shared.counts.connections_open.load(std::memory_order_relaxed);
  };
  std::unique_lock lock(shared.closing);
  if (!shared.closed.wait_until(lock, deadline, [&open] { return open() == 0; })) {
    return fail(errc::timed_out,
                fmt::format("http drain: answers are not complete (connections={})", open()));
  }
  return {};
}

void server::stop() {
  impl_->stop();
}

statistics server::stats() const noexcept {
  return impl_->shared->counts.read();
}

} // namespace vdist::http
