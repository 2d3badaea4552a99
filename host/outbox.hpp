// host/outbox.hpp — messages to a process that may not be reading: they are sent without waiting, or kept in order up to
// a bound. Who has one dozing reader must not keep all others waiting.
// Not thread-safe.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

namespace vdist::host {

class outbox {
public:
  static constexpr std::size_t messages_max = 1024;

  /// Errors: queue_full (the reader is as good as dead), closed, io_failed.
  [[nodiscard]] result<void> send(const socket::message_socket& link,
                                  std::span<const std::byte> bytes) {
    VDIST_TRY(flush(link));
    if (waiting_.empty()) {
      auto sent = link.send(bytes, {}, at_once);
      if (sent || sent.error().code != errc::timed_out) {
        return sent;
      }
    }
    if (waiting_.size() >= messages_max) {
      return fail(errc::queue_full, "host link: the control process does not read");
    }
    waiting_.emplace_back(bytes.begin(), bytes.end());
    return {};
  }

  /// As many as go now. Errors: closed, io_failed.
  [[nodiscard]] result<void> flush(const socket::message_socket& link) {
    while (!waiting_.empty()) {
      auto sent = link.send(waiting_.front(), {}, at_once);
      if (!sent) {
        return sent.error().code == errc::timed_out ? result<void>() : sent;
      }
      waiting_.pop_front();
    }
    return {};
  }

  /// Whether to wait until the link takes more.
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }

  void clear() { waiting_.clear(); }

private:
  static constexpr time_point at_once{}; // a deadline in the past

  std::deque<std::vector<std::byte>> waiting_;
};

} // namespace vdist::host
