#include "transport/socket/message_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace vdist::socket {

namespace {

/// Room for the descriptors of one message, aligned as the kernel wants it.
struct alignas(cmsghdr) control_bytes {
  std::array<std::byte, CMSG_SPACE(message_fds_max * sizeof(int))> bytes{};
};

bool would_wait(int cause) {
  return cause == EAGAIN || cause == EWOULDBLOCK;
}

bool has_gone(int cause) {
  return cause == EPIPE || cause == ECONNRESET || cause == ECONNREFUSED || cause == ENOTCONN;
}

error system_error(const char* operation, int cause) {
  if (has_gone(cause)) {
    return fail(errc::closed, fmt::format("socket: {}: the peer has gone", operation));
  }
  return fail(errc::io_failed, fmt::format("socket: {}: {}", operation, std::strerror(cause)));
}

/// Gives every descriptor of the received control data an owner (M-2).
std::vector<unique_fd> take_fds(msghdr& header) {
  std::vector<unique_fd> fds;
  fds.reserve(message_fds_max);
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

/// What recvmsg() cut off, if anything.
std::optional<error> cut_off(const msghdr& header, std::size_t fd_count) {
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    return fail(
        errc::corrupt,
        fmt::format("socket: receive: the message is too long (bytes_max={})", message_bytes_max));
  }
  if ((header.msg_flags & MSG_CTRUNC) == 0) {
    return std::nullopt;
  }
  // The kernel hands out as many as there is room for; fewer mean that this process had no more.
  if (fd_count < message_fds_max) {
    return fail(errc::resource_exhausted,
                "socket: receive: this process has no descriptor left for those of the message");
  }
  return fail(errc::corrupt,
              fmt::format("socket: receive: too many descriptors (fds_max={})", message_fds_max));
}

timespec remaining(time_point deadline, time_point now) {
  const auto left =
      deadline <= now ? std::chrono::nanoseconds(0) : std::chrono::nanoseconds(deadline - now);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  return {.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
}

} // namespace

result<void> message_socket::wait(short events, const char* operation, time_point deadline) const {
  while (true) {
    const timespec left = remaining(deadline, clock_->now());
    pollfd entry{.fd = fd_.get(), .events = events, .revents = 0};
    const int count = ppoll(&entry, 1, &left, nullptr);
    if (count > 0) {
      return {};
    }
    if (count == 0) {
      return fail(errc::timed_out, fmt::format("socket: {}: the deadline has passed", operation));
    }
    if (errno != EINTR) {
      return system_error(operation, errno);
    }
  }
}

result<void> message_socket::send(std::span<const std::byte> bytes,
                                  std::span<const int> fds,
                                  time_point deadline) const {
  if (bytes.empty() || bytes.size() > message_bytes_max || fds.size() > message_fds_max) {
    return fail(errc::invalid_argument,
                fmt::format("socket: send: a message has 1 to {} bytes and at most {} descriptors "
                            "(bytes={} fds={})",
                            message_bytes_max,
                            message_fds_max,
                            bytes.size(),
                            fds.size()));
  }
  control_bytes control;
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  while (sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (would_wait(errno)) {
      VDIST_TRY(wait(POLLOUT, "send", deadline));
    } else if (errno != EINTR) {
      return system_error("send", errno);
    }
  }
  return {};
}

result<message> message_socket::receive(time_point deadline) const {
  std::array<std::byte, message_bytes_max> buffer; // not initialised: the kernel writes it
  control_bytes control;
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ssize_t received = -1;
  while (received < 0) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    received = recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received >= 0) {
      break;
    }
    if (would_wait(errno)) {
      VDIST_TRY(wait(POLLIN, "receive", deadline));
    } else if (errno != EINTR && errno != ECONNRESET) {
      // A reset (the peer left something unread) is reported once and before what it sent (M-3).
      return system_error("receive", errno);
    }
  }
  message taken{{}, take_fds(header)};
  if (auto cut = cut_off(header, taken.fds.size())) {
    return *std::move(cut);
  }
  if (received == 0) {
    return fail(errc::closed, "socket: receive: the peer has gone");
  }
  const auto bytes = std::span(buffer).first(static_cast<std::size_t>(received));
  taken.bytes.assign(bytes.begin(), bytes.end());
  return taken;
}

result<socket_pair> make_socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(errc::resource_exhausted,
                fmt::format("socket: socketpair: {}", std::strerror(errno)));
  }
  return socket_pair{unique_fd(ends[0]), unique_fd(ends[1])};
}

} // namespace vdist::socket
