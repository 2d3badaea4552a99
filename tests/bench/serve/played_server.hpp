// tests/bench/serve/played_server.hpp — a server that a test plays: it reads requests as they come and answers each with
// bytes of the test's choice, or with nothing. One thread, any number of connections. The header is all there is.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace vdist::bench::serve {

struct played_answer {
  std::string bytes; // at once; empty: nothing
  bool closes = false;
  bool closes_others = false; // all other connections, before the answer
};

class played_server {
public:
  /// `answer` gets how many requests came before, and the request; called by the server's thread.
  using script = std::function<played_answer(std::size_t, const std::string&)>;

  explicit played_server(script answer)
      : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    std::array<int, 2> ends{};
    constexpr int backlog = 128;
    if (::bind(listener_.get(), address, size) != 0 || ::listen(listener_.get(), backlog) != 0
        || ::getsockname(listener_.get(), address, &size) != 0 || ::pipe(ends.data()) != 0) {
      throw std::runtime_error("no listening socket");
    }
    port_ = ntohs(at.sin_port);
    woken_ = socket::unique_fd(ends[0]);
    waker_ = socket::unique_fd(ends[1]);
    thread_ = std::thread([this] { run(); });
  }

  played_server(const played_server&) = delete;
  played_server& operator=(const played_server&) = delete;

  ~played_server() {
    waker_.reset();
    thread_.join();
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }

  [[nodiscard]] std::size_t requests() const { return requests_.load(); }

  /// That the clients have not ended. For the script only.
  [[nodiscard]] std::size_t connections() const { return peers_.size(); }

private:
  struct peer {
    socket::unique_fd fd;
    std::string in;
  };

  void run() {
    for (;;) {
      std::vector<pollfd> all{{.fd = woken_.get(), .events = POLLIN, .revents = 0},
                              {.fd = listener_.get(), .events = POLLIN, .revents = 0}};
      for (const auto& [fd, one] : peers_) {
        all.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      }
      ::poll(all.data(), all.size(), -1); // its destructor ends it
      if (all[0].revents != 0) {
        return;
      }
      if (all[1].revents != 0) {
        socket::unique_fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const int key = fd.get();
        peers_[key] = {std::move(fd), {}};
      }
      for (std::size_t i = 2; i < all.size(); ++i) {
        const auto found = peers_.find(all[i].fd); // another one's answer may have closed it
        if (all[i].revents != 0 && found != peers_.end() && !serve(found->second)) {
          peers_.erase(found);
        }
      }
    }
  }

  /// False: the connection is over.
  bool serve(peer& one) {
    std::array<char, 65536> into{};
    const auto got = ::recv(one.fd.get(), into.data(), into.size(), MSG_DONTWAIT);
    if (got <= 0) {
      return false;
    }
    one.in.append(into.data(), static_cast<std::size_t>(got));
    for (;;) {
      const auto head = one.in.find("\r\n\r\n");
      if (head == std::string::npos) {
        return true;
      }
      constexpr std::string_view name = "content-length: ";
      const auto length = one.in.find(name);
      const auto body = length < head ? std::stoul(one.in.substr(length + name.size())) : 0UL;
      const auto whole = head + 4 + body;
      if (one.in.size() < whole) {
        return true;
      }
      const auto answer = answer_(requests_++, one.in.substr(0, whole));
      one.in.erase(0, whole);
      if (answer.closes_others) {
        std::erase_if(peers_, [&one](const auto& other) { return &other.second != &one; });
      }
      ::send(one.fd.get(), answer.bytes.data(), answer.bytes.size(), MSG_NOSIGNAL);
      if (answer.closes) {
        return false;
      }
    }
  }

  script answer_;
  socket::unique_fd listener_;
  socket::unique_fd woken_;
  socket::unique_fd waker_;
  std::uint16_t port_ = 0;
  std::atomic<std::size_t> requests_{0};
  std::map<int, peer> peers_;
  std::thread thread_;
};

} // namespace vdist::bench::serve
