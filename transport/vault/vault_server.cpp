#include "transport/vault/vault_server.hpp"

#include "runtime/base/log.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>

namespace vdist::vault {

namespace {

/// For send and receive: do it now or not at all (H-2).
constexpr time_point at_once = time_point{};

region_limits limits_of(const vault_server_settings& settings) {
  region_limits limits{.count = settings.regions_max};
  limits.bytes = settings.limit_bytes == 0 ? limits.bytes : settings.limit_bytes;
  return limits;
}

result<void> wait_for_any(std::vector<pollfd>& sources) {
  // The one wait without a deadline: the kernel ends it when a peer, the parent included, is gone.
  while (poll(sources.data(), sources.size(), -1) < 0) {
    if (errno != EINTR) {
      return fail(errc::io_failed, fmt::format("vault server: poll: {}", std::strerror(errno)));
    }
  }
  return {};
}

} // namespace

vault_server::vault_server(socket::unique_fd control,
                           const clock& time,
                           const vault_server_settings& settings)
    : settings_(settings),
      clock_(time),
      control_(std::move(control), time),
      table_(limits_of(settings)),
      window_(settings.window_base, settings.window_bytes, region_alignment) {}

result<void> vault_server::run() {
  std::vector<pollfd> sources;
  while (true) {
    sources.assign(1, {.fd = control_.fd(), .events = POLLIN, .revents = 0});
    for (const auto& client : clients_) {
      sources.push_back({.fd = client.link.fd(), .events = POLLIN, .revents = 0});
    }
    VDIST_TRY(wait_for_any(sources));
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      if (sources[i + 1].revents == 0) {
        continue;
      }
      const auto served = serve(clients_[i].link);
      clients_[i].has_ended = !served;
      if (!served && served.error().code != errc::closed) {
        log::error("vault server: client disconnected: {}", served.error().context);
      }
    }
    std::erase_if(clients_, [](const client& each) { return each.has_ended; });
    if (sources.front().revents != 0) {
      VDIST_ASSIGN(const bool goes_on, take_client());
      if (!goes_on) {
        return {};
      }
    }
  }
}

result<bool> vault_server::take_client() {
  auto received = control_.receive(at_once);
  if (!received) {
    const auto code = received.error().code;
    if (code == errc::io_failed) {
      return fail(code, "vault server: control socket: " + received.error().context);
    }
    if (code != errc::closed && code != errc::timed_out) {
      log::error("vault server: no client added: {}", received.error().context);
    }
    return code != errc::closed;
  }
  const auto request = parse_request(received->bytes);
  if (!request || request->wanted != operation::add_client || received->fds.size() != 1) {
    log::error("vault server: no client added: malformed message of the parent");
  } else if (clients_.size() >= settings_.clients_max) {
    log::error("vault server: no client added: too many (limit={})", settings_.clients_max);
  } else {
    clients_.push_back({socket::message_socket(std::move(received->fds.front()), clock_)});
  }
  return true;
}

result<void> vault_server::serve(const socket::message_socket& link) {
  auto received = link.receive(at_once);
  if (!received) {
    return received.error().code == errc::timed_out ? result<void>{} : received.error();
  }
  VDIST_ASSIGN(const auto request, parse_request(received->bytes));
  if (!received->fds.empty() || request.wanted == operation::add_client) {
    return fail(errc::corrupt, "vault: a client sends no descriptors and adds no clients"); // B-2
  }
  const answer reply = reply_to(request);
  const auto files = std::span(&reply.file, reply.file < 0 ? 0 : 1);
  return link.send(encode_reply(reply.head, reply.text), files, at_once);
}

vault_server::answer vault_server::reply_to(const request_message& request) {
  answer reply;
  if (const auto done = carry_out(request, reply); !done) {
    reply = {.head = {.code = done.error().code}, .text = done.error().context};
  }
  reply.head.sequence = request.sequence;
  reply.head.total_bytes = table_.usage().bytes;
  reply.head.limit_bytes = table_.limits().bytes;
  return reply;
}

result<void> vault_server::carry_out(const request_message& request, answer& reply) {
  const auto key = key_of(request);
  switch (request.wanted) {
  case operation::map:
    return map(request, reply);
  case operation::mark_ready:
    return table_.mark_ready(key, request.content_hash);
  case operation::ready_hash:
    if (const auto hash = table_.ready_hash(key)) {
      reply.head.flags = reply_has_ready_hash;
      reply.head.ready_hash = *hash;
    }
    return {};
  case operation::release:
    return release(key);
  case operation::usage:
  case operation::add_client: // refused before
    return {};
  }
  return {};
}

result<void> vault_server::map(const request_message& request, answer& reply) {
  const auto make = [this](std::size_t mapped_bytes) {
    return make_region(mapped_bytes);
  };
  VDIST_ASSIGN(const auto found, table_.map(key_of(request), request.bytes, make));
  const auto& held = *found.held;
  reply.head.region_id = held.memory.id;
  reply.head.address = held.memory.address;
  reply.head.ready_hash = held.ready_hash.value_or(0);
  reply.head.flags =
      (found.is_new ? reply_is_new : 0U) | (held.ready_hash ? reply_has_ready_hash : 0U);
  reply.file = held.memory.file.get();
  return {};
}

result<vault_server::region_file> vault_server::make_region(std::size_t mapped_bytes) {
  VDIST_ASSIGN(auto file, socket::make_shared_file("vdist-region", mapped_bytes));
  const auto address = window_.take(mapped_bytes);
  if (!address) {
    return fail(errc::resource_exhausted,
                fmt::format("no addresses left (longest_free={})", window_.longest_free()));
  }
  return region_file{std::move(file), *address, next_region_id_++};
}

result<void> vault_server::release(const region_key& key) {
  VDIST_ASSIGN(const auto released, table_.release(key));
  window_.give(released.memory.address, released.mapped_bytes);
  return {};
}

result<socket::unique_fd> open_vault_client(const socket::message_socket& control,
                                            time_point deadline) {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  const request_message request{.wanted = operation::add_client};
  const int server_end = ends.first.get();
  VDIST_TRY(
      control.send(std::as_bytes(std::span(&request, 1)), std::span(&server_end, 1), deadline));
  return std::move(ends.second);
}

} // namespace vdist::vault
