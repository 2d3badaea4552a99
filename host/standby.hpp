// host/standby.hpp — a spare worker process: started, linked and on the board before anybody needs it. It waits at a
// socket until it gets what a worker inherits (its order and a connection to the vault), and is one from then on.
// To the host supervisor it is a worker without a rank, and its number stands for the incarnation.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <utility>

namespace vdist::host {

inline constexpr std::int32_t no_rank = -1;

[[nodiscard]] constexpr protocol::process_key spare_key(std::uint32_t number) {
  return {.role = protocol::process_role::worker, .rank = no_rank, .incarnation = number};
}

[[nodiscard]] constexpr bool is_spare(const protocol::process_key& key) {
  return key.role == protocol::process_role::worker && key.rank == no_rank;
}

/// What makes a spare a worker. Both descriptors are borrowed. Errors: closed, timed_out.
[[nodiscard]] inline result<void>
send_order(const socket::message_socket& to, int order, int vault, time_point deadline) {
  constexpr std::array<std::byte, 1> something{};
  const std::array given{order, vault};
  return to.send(something, given, deadline);
}

struct standby_order {
  socket::unique_fd order;
  socket::unique_fd vault;
};

/// Waits, in the spare, until it is needed. Errors: closed (the supervisor has gone), corrupt.
[[nodiscard]] inline result<standby_order> wait_for_order(socket::unique_fd link) {
  constexpr std::chrono::seconds slice{60};
  const system_clock time;
  const socket::message_socket from(std::move(link), time);
  while (true) {
    auto message = from.receive(time.now() + slice);
    if (!message && message.error().code == errc::timed_out) {
      continue;
    }
    if (!message) {
      return message.error();
    }
    if (message->fds.size() != 2) {
      return fail(errc::corrupt, "standby: an order has two descriptors");
    }
    return standby_order{std::move(message->fds[0]), std::move(message->fds[1])};
  }
}

} // namespace vdist::host
