// transport/vault/vault_server.hpp — owns regions for the processes of a host and hands them out.
// Why a process of its own: it does nothing that could fail, so memory outlives every worker and
// every control process. It holds the regions' files and never maps them: contents are not its
// business. H-1 whatever a client sends or does, other clients and the regions are unharmed.
// H-2 it never waits for a client: who does not take a reply at once is disconnected. H-3 a region's
// address is free again after release(); while a hold lives on somewhere, reuse comes late (W-2).
// One thread runs it. Cost: some 10 µs per request; release() of a region that nobody maps any more
// frees its pages here, about 0.1 s per GiB touched.
#pragma once

#include "transport/socket/message_socket.hpp"
#include "transport/socket/shared_file.hpp"
#include "transport/vault/address_window.hpp"
#include "transport/vault/region_table.hpp"
#include "transport/vault/vault_protocol.hpp"

namespace vdist::vault {

struct vault_server_settings {
  std::size_t limit_bytes = 0;    // of all regions; 0: the system's memory is the limit
  std::size_t regions_max = 8192; // each costs one descriptor
  std::size_t clients_max = 1024; // at a time; each costs one descriptor
  std::uint64_t window_base = region_window_base;
  std::uint64_t window_bytes = region_window_bytes;
};

class vault_server {
public:
  /// `control` brings new clients (open_vault_client); `time` must outlive this object.
  vault_server(socket::unique_fd control, const clock& time, const vault_server_settings& settings);

  /// Serves until the other end of the control socket is closed. Error: io_failed (the control
  /// socket is none, or poll fails). Clients' errors are logged and answered, never returned.
  [[nodiscard]] result<void> run();

private:
  /// The memory of one region. Lives while a descriptor or a mapping of any process does.
  struct region_file {
    socket::unique_fd file;
    std::uint64_t address = 0;
    std::uint64_t id = 0;
  };

  struct client {
    socket::message_socket link;
    bool has_ended = false;
  };

  struct answer {
    reply_message head;
    std::string text;
    int file = -1; // borrowed from the table
  };

  /// One message of the control socket. False: it has been closed.
  [[nodiscard]] result<bool> take_client();
  /// One request and its reply. An error ends this client.
  [[nodiscard]] result<void> serve(const socket::message_socket& link);
  [[nodiscard]] answer reply_to(const request_message& request);
  [[nodiscard]] result<void> carry_out(const request_message& request, answer& reply);
  [[nodiscard]] result<void> map(const request_message& request, answer& reply);
  [[nodiscard]] result<region_file> make_region(std::size_t mapped_bytes);
  [[nodiscard]] result<void> release(const region_key& key);

  const vault_server_settings settings_;
  const clock& clock_;
  const socket::message_socket control_;
  std::vector<client> clients_;
  region_table<region_file> table_;
  address_window window_;
  std::uint64_t next_region_id_ = 1;
};

/// Parent's side: makes a pair, hands one end to the server behind `control` and returns the other,
/// for the vault_client of a child or of this process. Errors: as message_socket::send.
[[nodiscard]] result<socket::unique_fd> open_vault_client(const socket::message_socket& control,
                                                          time_point deadline);

} // namespace vdist::vault
