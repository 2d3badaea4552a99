// tests/transport/http/http_client.hpp — a client that sends any bytes and reads answers, over a blocking
// socket of this process with a deadline on every wait. Throws std::runtime_error where a test has no
// business to go on.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include <arpa/inet.h>
#include <charconv>
#include <chrono>
#include <map>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace vdist::testing {

/// Longer than anything takes that works, also on a busy machine.
inline constexpr std::chrono::seconds patience{60};

struct http_answer {
  int status = 0;
  std::map<std::string, std::string> headers; // names in lower case
  std::string body;
};

/// An unconnected socket; a small receive buffer makes a client that is slow to the server's eyes.
inline socket::unique_fd make_client_socket(int receive_buffer_bytes = 0) {
  socket::unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    throw std::runtime_error("no socket");
  }
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(int));
  }
  return fd;
}

class http_client {
public:
  explicit http_client(std::uint16_t port, int receive_buffer_bytes = 0)
      : http_client(make_client_socket(receive_buffer_bytes), port) {}

  http_client(socket::unique_fd unconnected, std::uint16_t port) : fd_(std::move(unconnected)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      await(POLLOUT);
      const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        throw std::runtime_error("the server does not take what is sent");
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Reads one answer and leaves what follows it. `has_body`: not for HEAD.
  http_answer read(bool has_body = true) {
    http_answer got;
    const auto head = take_until("\r\n\r\n");
    if (!head.starts_with("HTTP/1.1 ")) {
      throw std::runtime_error("no status line: " + head);
    }
    got.status = std::stoi(head.substr(9, 3));
    for (auto at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const auto end = head.find("\r\n", at);
      const auto colon = head.find(": ", at);
      auto name = head.substr(at, colon - at);
      for (auto& c : name) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      }
      got.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (!has_body || got.status == 204 || got.status == 304 || got.status < 200) {
      return got;
    }
    if (got.headers.contains("content-length")) {
      got.body = take(std::stoul(got.headers["content-length"]));
    } else if (got.headers["transfer-encoding"] == "chunked") {
      while (take_chunk(got.body)) {
      }
    } else {
      got.body = read_to_end();
    }
    return got;
  }

  http_answer ask(std::string_view request) {
    send(request);
    return read();
  }

  /// Reads up to and with `mark`, or throws when the connection ends before.
  std::string take_until(std::string_view mark) {
    for (;;) {
      const auto found = buffer_.find(mark);
      if (found != std::string::npos) {
        return take(found + mark.size());
      }
      if (!fill()) {
        throw std::runtime_error("the connection ended behind: " + buffer_);
      }
    }
  }

  std::string take(std::size_t bytes) {
    while (buffer_.size() < bytes) {
      if (!fill()) {
        throw std::runtime_error("the connection ended behind: " + buffer_);
      }
    }
    auto taken = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes);
    return taken;
  }

  /// Appends the next chunk; false at the last one.
  bool take_chunk(std::string& to) {
    const auto line = take_until("\r\n");
    std::size_t bytes = 0;
    std::from_chars(line.data(), line.data() + line.size(), bytes, 16);
    to += take(bytes);
    if (take(2) != "\r\n") {
      throw std::runtime_error("a chunk without its end");
    }
    return bytes > 0;
  }

  /// Everything until the server ends the connection, in order or by a reset.
  std::string read_to_end() {
    while (fill()) {
    }
    return std::exchange(buffer_, {});
  }

  /// From the middle of a chunked answer: everything up to its last chunk, framing included.
  std::string read_to_end_of_chunks() { return take_until("\r\n0\r\n\r\n"); }

  /// The server ends the connection, and sends nothing more before.
  bool is_closed() { return read_to_end().empty(); }

  void half_close() const { ::shutdown(fd_.get(), SHUT_WR); }

  void close() { fd_.reset(); }

  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    fd_.reset();
  }

  [[nodiscard]] bool was_reset() const { return was_reset_; }

  [[nodiscard]] int fd() const { return fd_.get(); }

private:
  void await(short events) const {
    pollfd one{fd_.get(), events, 0};
    const auto wait = std::chrono::milliseconds(patience).count();
    if (::poll(&one, 1, static_cast<int>(wait)) != 1) {
      throw std::runtime_error("the server keeps us waiting");
    }
  }

  bool fill() {
    char bytes[16384];
    await(POLLIN);
    const auto got = ::recv(fd_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    was_reset_ = got < 0;
    if (got > 0) {
      buffer_.append(bytes, static_cast<std::size_t>(got));
    }
    return got > 0;
  }

  socket::unique_fd fd_;
  std::string buffer_;
  bool was_reset_ = false;
};

} // namespace vdist::testing
