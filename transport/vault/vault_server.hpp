// transport/vault/vault_server.hpp — owns regions for the processes of a host and hands them out.
// Why a process of its own: it does nothing that could fail, so memory outlives every worker and
// every control process. It holds the regions' files and never maps them: contents are not its
// business. H-1 whatever a client sends or does, other clients and the regions are unharmed.
// H-2 it never waits for a client: who does not take a reply at once is disconnected. H-3 a region's
// address is free again after release(); while a hold lives on somewhere, reuse comes late (W-2).
// H-4 a key names one region, in whatever memory. H-5 a device's region is new to every map() until the client that was
// told so says that it is zero; other clients are refused meanwhile, and take over when that client ends (D-2).
// H-6 it says whether it waits or serves: a request that stands still, in a driver or a lock, is seen from outside.
// H-7 where its parent keeps what it has (vault_keeper.hpp), every change is told there before a client hears of it, so
// its successor knows all that anybody knows: regions keep address, descriptor, id and hash, and clients their sockets.
// One thread runs it. Cost: some 10 µs per request; release() of a region that nobody maps any more
// frees its pages here, about 0.1 s per GiB touched. The first region of a device starts its driver:
// up to a second, once, in which other clients wait.
#pragma once

#include "transport/socket/message_socket.hpp"
#include "transport/socket/shared_file.hpp"
#include "transport/vault/address_window.hpp"
#include "transport/vault/device_memory.hpp"
#include "transport/vault/region_table.hpp"
#include "transport/vault/vault_protocol.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/base/progress_word.hpp"

namespace vdist::vault {

struct vault_server_settings {
  std::size_t limit_bytes = 0;        // of all regions of the host; 0: its memory is the limit
  std::size_t device_limit_bytes = 0; // of all regions of one device; 0: its memory is the limit
  std::size_t regions_max = 8192;     // wherever they are; each costs one descriptor
  std::size_t clients_max = 1024;     // at a time; each costs one descriptor
  std::uint64_t window_base = region_window_base;
  std::uint64_t window_bytes = region_window_bytes;
  std::uint64_t devices_window_base = device_window_base;
  std::uint64_t devices_window_bytes = device_window_bytes;
  std::chrono::milliseconds stall{0}; // a request may stand still this long (H-6); 0: for ever
  progress_word progress{};           // where it says so
  std::chrono::milliseconds tell_deadline{
      5000};                    // for a parent that keeps records to take one (H-7)
  failpoints* points = nullptr; // vault.map, vault.take_over; may be null
};

class vault_server {
public:
  /// `control` brings new clients (open_vault_client, vault_keeper); `time` must outlive this object. Without a source
  /// there are no regions on devices; it is called when one is asked for and not before.
  vault_server(socket::unique_fd control,
               const clock& time,
               const vault_server_settings& settings,
               device_memory_source devices = {});

  /// Serves until the other end of the control socket is closed. Errors: io_failed (the control
  /// socket is none, or poll fails), corrupt (what is to be taken over makes no sense), timed_out (the parent takes no
  /// records): without a server nobody is told what a successor would not know. Clients' errors are logged and answered,
  /// never returned.
  [[nodiscard]] result<void> run();

private:
  /// The memory of one region. Lives while a descriptor or a mapping of any process does.
  struct region_memory {
    socket::unique_fd file;
    std::uint64_t address = 0;
    std::uint64_t id = 0;
    std::uint64_t zeroing_client = 0; // who has yet to fill it with zeros (H-5); 0: it is filled
  };

  using region_memory_table = region_table<region_memory>;

  struct client {
    socket::message_socket link;
    std::uint64_t id = 0; // never reused
    std::uint64_t done =
        0; // its last request that has changed anything, perhaps under another server
    std::uint64_t served = 0; // its last request to this server
    bool has_ended = false;
  };

  struct answer {
    reply_message head;
    std::string text;
    int file = -1; // borrowed from the table
  };

  /// One message of the control socket. False: it has been closed.
  [[nodiscard]] result<bool> listen_to_parent();
  void add_client(socket::message& message);
  [[nodiscard]] result<void> take_over(const record_message& record, socket::message& message);
  [[nodiscard]] bool restore(const record_message& record, socket::message& message);
  void adopt_client(const record_message& record, socket::message& message);
  /// One request and its reply. An error ends this client.
  [[nodiscard]] result<void> serve(client& from);
  [[nodiscard]] answer reply_to(client& from, const request_message& request);
  [[nodiscard]] result<void> carry_out(client& from, const request_message& request, answer& reply);
  [[nodiscard]] result<void> map(client& from, const request_message& request, answer& reply);

  /// B-5. Whether this very request has changed something already, perhaps under another server.
  [[nodiscard]] bool is_done(const client& from, const request_message& request) const {
    return is_kept_ && request.sequence == from.done;
  }

  /// H-7. What has changed at the wish of `from`; `is_new`: its descriptor goes along.
  void tell_region(client& from, const request_message& request, bool is_new);
  void tell(record_message record, int file = -1);
  void let_go();
  /// Who fills a device's region with zeros: true when it is `from` (H-5).
  [[nodiscard]] result<bool>
  has_to_zero(const client& from, const region_key& key, region_memory& memory) const;
  [[nodiscard]] result<void> end_zeroing(const client& from, const region_key& key);
  [[nodiscard]] result<region_memory>
  make_region(const client& from, memory_place place, std::size_t mapped_bytes);
  [[nodiscard]] result<void> release(client& from, const request_message& request);

  [[nodiscard]] region_memory_table& table_at(memory_place place);
  /// The one that holds this key, else the host's.
  [[nodiscard]] memory_place place_holding(const region_key& key) const;
  [[nodiscard]] region_usage usage() const;
  [[nodiscard]] address_window& window_of(memory_place place);

  const vault_server_settings settings_;
  progress_word progress_;
  const clock& clock_;
  const socket::message_socket control_;
  const device_memory_source devices_;
  std::vector<client> clients_;
  std::map<memory_place, region_memory_table> tables_;
  address_window host_window_;
  address_window devices_window_;
  std::uint64_t next_region_id_ = 1;
  std::uint64_t next_client_id_ = 1;
  bool is_kept_ = false;   // by a parent with a vault_keeper
  result<void> told_ = {}; // the first record that could not be told
};

/// Parent's side: makes a pair, hands one end to the server behind `control` and returns the other,
/// for the vault_client of a child or of this process. Errors: as message_socket::send.
[[nodiscard]] result<socket::unique_fd> open_vault_client(const socket::message_socket& control,
                                                          time_point deadline);

} // namespace vdist::vault
