// host/standby.hpp — a spare worker process: started, linked and on the board before anybody needs it. It waits at a
// socket until it gets what a worker inherits (its order and a connection to the vault), and is one from then on. One that
// is prepared for a rank gets both ahead of time, does everything that needs no incarnation, says that it is ready, and
// then waits for the same order with an incarnation.
//
//   generic    started ──start: order, vault──▶ a worker
//   prepared   started ──prepare: order, vault──▶ preparing ──▶ ready ──promote: order──▶ a worker
//                                                     └──promote──▶ a worker when it is through
//
// To the host supervisor it is a worker whose rank is below zero, and its number stands for the incarnation.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace vdist::host {

/// Rank of a spare that is prepared for none. That of one that is prepared for rank r is no_rank - 1 - r.
inline constexpr std::int32_t no_rank = -1;

[[nodiscard]] constexpr protocol::process_key spare_key(std::uint32_t number,
                                                        std::int32_t for_rank = no_rank) {
  return {.role = protocol::process_role::worker,
          .rank = for_rank < 0 ? no_rank : no_rank - 1 - for_rank,
          .incarnation = number};
}

[[nodiscard]] constexpr bool is_spare(const protocol::process_key& key) {
  return key.role == protocol::process_role::worker && key.rank < 0;
}

/// Whose place a spare is prepared to take; no_rank: anybody's.
[[nodiscard]] constexpr std::int32_t rank_of_spare(const protocol::process_key& key) {
  return key.rank == no_rank ? no_rank : no_rank - 1 - key.rank;
}

/// What a spare is told. Numbers are stable: the program that waits may be newer than the one that sends.
enum class standby_step : std::uint8_t {
  start = 0,   // order and vault: be that worker
  prepare = 1, // order and vault: be ready to become that worker
  promote = 2, // order: become it
};

[[nodiscard]] constexpr std::size_t descriptors_of(standby_step what) {
  return what == standby_step::promote ? 1 : 2;
}

/// To a spare. Descriptors (order, then vault) are borrowed. Errors: closed, timed_out.
[[nodiscard]] inline result<void> send_order(const socket::message_socket& to,
                                             standby_step what,
                                             std::span<const int> descriptors,
                                             time_point deadline) {
  const std::array bytes{static_cast<std::byte>(what)};
  return to.send(bytes, descriptors, deadline);
}

struct standby_order {
  standby_step what = standby_step::start;
  socket::unique_fd order;
  socket::unique_fd vault; // none with promote
};

/// The spare's end of its socket. Not thread-safe, but for say_ready(), which one other thread may call meanwhile.
class standby_link {
public:
  explicit standby_link(socket::unique_fd link) : link_(std::move(link), time_) {}

  /// Waits until it is needed. Errors: closed (the supervisor has gone), corrupt.
  [[nodiscard]] result<standby_order> wait() const {
    constexpr std::chrono::seconds slice{60};
    while (true) {
      auto message = link_.receive(time_.now() + slice);
      if (!message && message.error().code == errc::timed_out) {
        continue;
      }
      if (!message) {
        return message.error();
      }
      const auto what = static_cast<standby_step>(message->bytes.front());
      if (what > standby_step::promote || message->fds.size() != descriptors_of(what)) {
        return fail(errc::corrupt, "standby: no order, or not with its descriptors");
      }
      standby_order given{.what = what, .order = std::move(message->fds[0]), .vault = {}};
      if (what != standby_step::promote) {
        given.vault = std::move(message->fds[1]);
      }
      return given;
    }
  }

  /// It is prepared. Nobody waits for that: a supervisor that has gone is found by wait().
  void say_ready() const {
    constexpr std::array<std::byte, 1> something{};
    (void)link_.send(something, {}, time_point{});
  }

private:
  system_clock time_;
  socket::message_socket link_;
};

} // namespace vdist::host
