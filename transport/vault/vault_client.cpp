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

bool is_in_window(std::uint64_t address, std::size_t bytes) {
  return address >= region_window_base && address % region_alignment == 0
         && address - region_window_base <= region_window_bytes
         && bytes <= region_window_bytes - (address - region_window_base);
}

bool overlap(std::uint64_t address, std::size_t bytes, std::span<const std::byte> other) {
  const auto begin = reinterpret_cast<std::uintptr_t>(other.data());
  return address < begin + other.size() && begin < address + bytes;
}

} // namespace

vault_client::vault_client(socket::unique_fd server,
                           const clock& time,
                           const vault_client_settings& settings)
    : settings_(settings), clock_(time), server_(std::move(server), time) {}

result<vault_client::answer> vault_client::await_reply(std::uint64_t sequence,
                                                       time_point deadline) const {
  while (true) {
    VDIST_ASSIGN(auto received, server_.receive(deadline));
    VDIST_ASSIGN(auto reply, parse_reply(received.bytes));
    if (reply.head.sequence < sequence) {
      continue; // B-3
    }
    if (reply.head.sequence > sequence) {
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
  VDIST_TRY(server_.send(std::as_bytes(std::span(&request, 1)), {}, deadline));
  return await_reply(request.sequence, deadline);
}

result<vault_client::mapped_region>
vault_client::keep(const region_key& key, std::size_t bytes, const answer& reply) {
  const auto known = mapped_.find(key);
  if (known != mapped_.end() && known->second.id == reply.head.region_id) {
    return known->second; // L-1
  }
  if (reply.fds.size() != 1 || !is_in_window(reply.head.address, bytes)) {
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
    return each.first == key || overlap(reply.head.address, bytes, each.second.mapping->memory());
  });
  auto mapping = socket::shared_mapping::map(reply.fds.front(), bytes, reply.head.address);
  if (!mapping && settings_.may_move) {
    mapping = socket::shared_mapping::map(reply.fds.front(), bytes);
  }
  if (!mapping) {
    return fail(mapping.error().code,
                fmt::format("vault: cannot map the region ({}): {}",
                            to_string(key),
                            mapping.error().context));
  }
  if (bytes >= region_alignment) {
    // Advice only: it helps where the system allows huge pages for shared memory.
    madvise(mapping->memory().data(), bytes, MADV_HUGEPAGE);
  }
  const mapped_region made{reply.head.region_id,
                           std::make_shared<socket::shared_mapping>(std::move(mapping).value())};
  mapped_.emplace(key, made);
  return made;
}

result<region> vault_client::map(const region_key& key, std::size_t bytes) {
  auto request = request_for(operation::map, key);
  request.bytes = bytes;
  const std::lock_guard lock(mutex_);
  VDIST_ASSIGN(const auto reply, ask(request));
  VDIST_ASSIGN(const auto kept, keep(key, bytes, reply));
  return region{kept.mapping->memory(),
                (reply.head.flags & reply_is_new) != 0,
                hash_of(reply.head),
                kept.mapping};
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
