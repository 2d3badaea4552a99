// transport/socket/message_socket.hpp — one end of a Unix socket pair that carries whole messages
// with file descriptors, between two processes of one host.
// Why SOCK_SEQPACKET: message borders come from the kernel, and the end of a peer, also by SIGKILL,
// is seen at once as end of file. M-1 a message arrives whole, once and in order, or not at all;
// what is cut is an error, never a shorter message. M-2 received descriptors have an owner from the
// first moment and are close-on-exec: an error on the way closes them. M-3 what a peer sent before
// it ended is received before `closed`. M-4 no call ends the process by SIGPIPE, and none returns
// for a signal.
// Thread-safe: every message goes to one receiver. Cost: one system call per message when nobody
// has to wait, 64 KiB of stack in receive().
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace vdist::socket {

/// Longest message; well below the kernel's smallest send buffer.
inline constexpr std::size_t message_bytes_max = std::size_t{64} << 10U;
/// Most descriptors that travel with one message.
inline constexpr std::size_t message_fds_max = 16;

struct message {
  std::vector<std::byte> bytes; // never empty
  std::vector<unique_fd> fds;
};

class message_socket {
public:
  /// Takes over `fd`, one end of a pair of make_socket_pair(). `time` must outlive this object.
  explicit message_socket(unique_fd fd, const clock& time) noexcept
      : fd_(std::move(fd)), clock_(&time) {}

  /// Sends one message; `fds` stay the caller's. A deadline in the past: only if it can be done
  /// without waiting. Errors: invalid_argument (empty, too long, too many descriptors), timed_out
  /// (the peer does not read), closed (the peer has gone), io_failed.
  [[nodiscard]] result<void>
  send(std::span<const std::byte> bytes, std::span<const int> fds, time_point deadline) const;

  /// The next message. A deadline in the past: only if one is there. Errors: timed_out, closed (the
  /// peer has gone and everything it sent was received), corrupt (the peer sent more than the
  /// limits; the message is dropped), resource_exhausted (this process has no descriptor left for
  /// what was sent; the message is dropped), io_failed.
  [[nodiscard]] result<message> receive(time_point deadline) const;

  /// For poll(): readable when receive() would not wait.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
  [[nodiscard]] result<void> wait(short events, const char* operation, time_point deadline) const;

  unique_fd fd_;
  const clock* clock_;
};

struct socket_pair {
  unique_fd first;
  unique_fd second;
};

/// Two connected ends, both close-on-exec. Error: resource_exhausted (descriptors).
[[nodiscard]] result<socket_pair> make_socket_pair();

} // namespace vdist::socket
