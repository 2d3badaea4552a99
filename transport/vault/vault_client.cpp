#include "transport/vault/vault_client.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

namespace vdist::vault {

namespace {

request_message request_for(operation wanted, const region_key& key) {
  return {.wanted = wanted, .rank = key.rank.value, .index = key.index, .kind = key.kind};
}

std::optional<std::uint64_t> hash_of(const reply_message& reply) {
  const bool has_hash = (reply.flags & reply_has_ready_hash) != 0;
  return has_hash ? std::optional(reply.ready_hash) : std::nullopt;
}

bool is_in_window(memory_place place, std::uint64_t address, std::size_t bytes) {
  const auto base = place.is_host() ? region_window_base : device_window_base;
  const auto length = place.is_host() ? region_window_bytes : device_window_bytes;
  return address >= base && address % region_alignment == 0 && address - base <= length
         && bytes <= length - (address - base);
}

bool overlap(std::uint64_t address, std::size_t bytes, std::span<const std::byte> other) {
  const auto begin = reinterpret_cast<std::uintptr_t>(other.data());
  return address < begin + other.size() && begin < address + bytes;
}

} // namespace

vault_client::vault_client(socket::unique_fd server,
                           const clock& time,
                           const vault_client_settings& settings,
                           device_access devices)
    : settings_(settings),
      devices_(std::move(devices)),
      clock_(time),
      server_(std::move(server), time) {}

result<void> vault_client::send(const request_message& request, time_point deadline) const {
  return server_.send(std::as_bytes(std::span(&request, 1)), {}, deadline);
}

result<vault_client::answer> vault_client::await_reply(const request_message& request,
                                                       time_point deadline) const {
  while (true) {
    VDIST_ASSIGN(auto received, server_.receive(deadline));
    VDIST_ASSIGN(auto reply, parse_reply(received.bytes));
    if (reply.head.sequence < request.sequence) {
      if ((reply.head.flags & reply_ask_again) != 0) {
        VDIST_TRY(send(request, deadline)); // L-4
      }
      continue; // B-3
    }
    if (reply.head.sequence > request.sequence) {
      return fail(errc::corrupt,
                  fmt::format("vault: a reply to nothing that was asked (sequence={})",
                              reply.head.sequence));
    }
    total_bytes_ = reply.head.total_bytes;
    limit_bytes_ = reply.head.limit_bytes;
    if (reply.head.code != errc::ok) {
      return fail(reply.head.code, std::move(reply.text));
    }
    return answer{reply.head, std::move(received.fds)};
  }
}

result<vault_client::answer> vault_client::ask(request_message request) const {
  request.sequence = ++sequence_;
  const auto deadline = clock_.now() + settings_.deadline;
  VDIST_TRY(send(request, deadline));
  return await_reply(request, deadline);
}

result<vault_client::mapped_region>
vault_client::keep(const region_key& key, std::size_t bytes, const answer& reply) {
  const auto known = mapped_.find(key);
  if (known != mapped_.end() && known->second.id == reply.head.region_id) {
    return known->second; // L-1
  }
  const auto place = place_of(reply.head);
  if (reply.fds.size() != 1 || !is_in_window(place, reply.head.address, bytes)) {
    return fail(errc::corrupt,
                fmt::format("vault: the server's reply makes no sense ({} address={:#x} bytes={} "
                            "fds={})",
                            to_string(key),
                            reply.head.address,
                            bytes,
                            reply.fds.size()));
  }
  // Another process has released what was mapped under this key or here: it is ours no longer.
  std::erase_if(mapped_, [&key, bytes, &reply](const auto& each) {
    return each.first == key || overlap(reply.head.address, bytes, each.second.memory);
  });
  auto made = place.is_host() ? map_host(bytes, reply) : map_device(bytes, reply);
  if (!made) {
    return fail(
        made.error().code,
        fmt::format("vault: cannot map the region ({}): {}", to_string(key), made.error().context));
  }
  mapped_.emplace(key, *made);
  return made;
}

result<vault_client::mapped_region> vault_client::map_host(std::size_t bytes,
                                                           const answer& reply) const {
  const auto& file = reply.fds.front();
  auto mapped = socket::shared_mapping::map(file, bytes, reply.head.address);
  if (!mapped && settings_.may_move) {
    mapped = socket::shared_mapping::map(file, bytes);
  }
  if (!mapped) {
    return mapped.error();
  }
  const auto memory = mapped->memory();
  if (bytes >= region_alignment) {
    // Advice only: it helps where the system allows huge pages for shared memory.
    madvise(memory.data(), bytes, MADV_HUGEPAGE);
  }
  return mapped_region{reply.head.region_id,
                       memory,
                       std::make_shared<socket::shared_mapping>(std::move(mapped).value())};
}

result<vault_client::mapped_region> vault_client::map_device(std::size_t bytes,
                                                             const answer& reply) const {
  VDIST_ASSIGN(
      auto mapped,
      devices_.mapper->map(reply.fds.front().get(), reply.head.device, bytes, reply.head.address));
  return mapped_region{reply.head.region_id, std::span(mapped.get(), bytes), std::move(mapped)};
}

result<void> vault_client::fill_zero(const region_key& key,
                                     memory_place place,
                                     std::span<std::byte> memory) const {
  VDIST_TRY(devices_.mapper->fill_zero(place.device, memory));
  VDIST_TRY(ask(request_for(operation::zeroed, key)));
  return {};
}

memory_place vault_client::place_of_key(const region_key& key) const {
  return devices_.mapper ? devices_.place_of(key) : host_memory;
}

result<region> vault_client::map(const region_key& key, std::size_t bytes) {
  auto request = request_for(operation::map, key);
  request.bytes = bytes;
  const auto place = place_of_key(key);
  request.device = place.device;
  const std::lock_guard lock(mutex_);
  VDIST_ASSIGN(const auto reply, ask(request));
  if (place_of(reply.head) != place) { // B-4
    return fail(errc::corrupt,
                fmt::format("vault: the reply is about other memory ({} wanted={} replied={})",
                            to_string(key),
                            to_string(place),
                            to_string(place_of(reply.head))));
  }
  VDIST_ASSIGN(const auto kept, keep(key, bytes, reply));
  const bool is_new = (reply.head.flags & reply_is_new) != 0;
  if (is_new && !place.is_host()) {
    VDIST_TRY(fill_zero(key, place, kept.memory));
  }
  return region{kept.memory, is_new, hash_of(reply.head), kept.hold};
}

result<void> vault_client::mark_ready(const region_key& key, std::uint64_t content_hash) {
  auto request = request_for(operation::mark_ready, key);
  request.content_hash = content_hash;
  const std::lock_guard lock(mutex_);
  VDIST_TRY(ask(request));
  return {};
}

std::optional<std::uint64_t> vault_client::ready_hash(const region_key& key) const {
  const std::lock_guard lock(mutex_);
  const auto reply = ask(request_for(operation::ready_hash, key));
  return reply ? hash_of(reply->head) : std::nullopt;
}

result<void> vault_client::release(const region_key& key) {
  std::unique_lock lock(mutex_);
  VDIST_TRY(ask(request_for(operation::release, key)));
  const auto released = mapped_.extract(key);
  lock.unlock(); // unmapping a large region takes a while
  return {};
}

void vault_client::forget(const region_key& key) {
  std::unique_lock lock(mutex_);
  const auto forgotten = mapped_.extract(key);
  lock.unlock(); // as in release()
}

std::size_t vault_client::total_bytes() const {
  const std::lock_guard lock(mutex_);
  static_cast<void>(ask({}));
  return total_bytes_;
}

std::size_t vault_client::limit_bytes() const {
  const std::lock_guard lock(mutex_);
  static_cast<void>(ask({}));
  return limit_bytes_;
}

} // namespace vdist::vault
