// actors/control/control_server.hpp — the socket through which operators see and steer a running cluster.
// An abstract Unix socket (no file, gone with the process), SOCK_SEQPACKET, one request and one reply at a time
// (protocol.hpp).
//
// S-1 Only processes of this user and of root are heard; others are told so and disconnected.
// S-2 What arrives is bounded: message size, connections, and the time that a connection may be silent. A peer that does
//     not read its reply is disconnected.
// S-3 The server never delays the cluster: it has one thread, which asks the cluster as any other caller does.
// Cost: one sleeping thread; nothing per step.
#pragma once

#include "actors/control/cluster_status.hpp"

#include "transport/socket/message_socket.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <list>
#include <memory>
#include <string>
#include <thread>

namespace vdist::control {

struct control_server_settings {
  std::size_t connections_max = 16; // more wait in the kernel
  duration silence_max = std::chrono::seconds(10);
};

class control_server {
public:
  /// Serves `cluster`, which outlives the server, under the abstract name `name` (socket_name() of
  /// control_client.hpp). Errors: invalid_argument (the name is too long), io_failed (taken, or no
  /// descriptor left).
  [[nodiscard]] static result<std::unique_ptr<control_server>> start(
      const std::string& name, controllable& cluster, const control_server_settings& settings = {});

  ~control_server(); // after the reply that is being made
  control_server(const control_server&) = delete;
  control_server& operator=(const control_server&) = delete;

private:
  struct connection {
    socket::message_socket peer;
    time_point silent_until;
  };

  control_server(socket::unique_fd listener,
                 socket::unique_fd stop,
                 controllable& cluster,
                 const control_server_settings& settings);
  void serve();
  [[nodiscard]] bool wait();
  void accept_one();
  [[nodiscard]] bool serve_one(connection& one);

  system_clock time_;
  socket::unique_fd listener_;
  socket::unique_fd stop_; // eventfd: readable when the server is to end
  controllable& cluster_;
  control_server_settings settings_;
  std::list<connection> connections_;
  std::thread thread_;
};

} // namespace vdist::control
