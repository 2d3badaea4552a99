// transport/vault/vault_client.hpp — the vault of another process, for one process that uses it.
// Every region is mapped at the address that the server chose, so a successor, and every other
// process, finds it where its predecessor had it (unless it may_move).
// Regions can be memory of a device instead (device_access): then `memory` of a region is an address
// for kernels, not for this process's own reads and writes.
// L-1 map() of one region gives the same mapping as long as this client has neither seen its release nor forgotten it.
// L-2 an error of the server arrives with its code and text. L-3 without the server every call is
// `closed`, or `timed_out` after the deadline, and what is mapped stays mapped. L-4 another server that takes over from a
// dead one (vault_keeper.hpp) is not noticed: a request without a reply is asked again, and done once (B-5).
// Thread-safe: one request at a time. Cost: map() takes some 50 µs and touches no page; on a device some ms per
// 100 GiB, and filling it with zeros when it is new.
#pragma once

#include "transport/socket/message_socket.hpp"
#include "transport/socket/shared_file.hpp"
#include "transport/vault/device_memory.hpp"
#include "transport/vault/vault_protocol.hpp"

#include <chrono>
#include <map>
#include <mutex>

namespace vdist::vault {

struct vault_client_settings {
  /// Of one request. The server answers in microseconds unless it frees a large region.
  duration deadline = std::chrono::seconds(10);
  /// Maps a region elsewhere, aligned to a page only, when its address is taken in this process. For
  /// a process that may be in several clusters and keeps no address in what it shares. Regions of devices never move.
  bool may_move = false;
};

class vault_client final : public vault {
public:
  /// Takes over the client's end of open_vault_client() or of a vault_keeper; `time` must outlive this object.
  vault_client(socket::unique_fd server,
               const clock& time,
               const vault_client_settings& settings = {},
               device_access devices = {});

  /// Errors beyond those of vault::map: resource_exhausted (the address is taken in this process),
  /// corrupt (the server's reply makes no sense), closed, timed_out; on a device also queue_full (another process is
  /// filling the region with zeros) and those of its mapper. After an error of this side the region exists, zero-filled,
  /// and is not new to the next map(); on a device it is new until a map() has filled it.
  [[nodiscard]] result<region> map(const region_key& key, std::size_t bytes) override;
  [[nodiscard]] result<void> mark_ready(const region_key& key, std::uint64_t content_hash) override;
  /// Nothing also when the server does not answer.
  [[nodiscard]] std::optional<std::uint64_t> ready_hash(const region_key& key) const override;
  [[nodiscard]] result<void> release(const region_key& key) override;
  /// Without a word to the server. A map() while holds are left finds the address taken, unless it may_move.
  void forget(const region_key& key) override;

  /// Of the whole vault. When the server does not answer: as of its last reply, 0 before the first.
  [[nodiscard]] std::size_t total_bytes() const override;
  [[nodiscard]] std::size_t limit_bytes() const override;

private:
  struct mapped_region {
    std::uint64_t id = 0;
    std::span<std::byte> memory;
    std::shared_ptr<const void> hold; // keeps `memory` mapped; shared with the holds of its regions
  };

  struct answer {
    reply_message head;
    std::vector<socket::unique_fd> fds;
  };

  /// One request and its reply; an error of the server is returned as its own. Needs mutex_.
  [[nodiscard]] result<answer> ask(request_message request) const;
  [[nodiscard]] result<answer> await_reply(const request_message& request,
                                           time_point deadline) const;
  [[nodiscard]] result<void> send(const request_message& request, time_point deadline) const;
  /// Maps what the server answered, unless it is mapped already. Needs mutex_.
  [[nodiscard]] result<mapped_region>
  keep(const region_key& key, std::size_t bytes, const answer& reply);
  [[nodiscard]] result<mapped_region> map_host(std::size_t bytes, const answer& reply) const;
  [[nodiscard]] result<mapped_region> map_device(std::size_t bytes, const answer& reply) const;
  /// D-2. Needs mutex_.
  [[nodiscard]] result<void>
  fill_zero(const region_key& key, memory_place place, std::span<std::byte> memory) const;
  [[nodiscard]] memory_place place_of_key(const region_key& key) const;

  const vault_client_settings settings_;
  const device_access devices_;
  const clock& clock_;
  const socket::message_socket server_;
  mutable std::mutex mutex_;
  // The rest is guarded by mutex_.
  mutable std::uint64_t sequence_ = 0;    // of the last request
  mutable std::uint64_t total_bytes_ = 0; // of the last reply
  mutable std::uint64_t limit_bytes_ = 0; // of the last reply
  std::map<region_key, mapped_region> mapped_;
};

} // namespace vdist::vault
