#include "transport/vault/vault_server.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <utility>

namespace vdist::vault {

namespace {

/// For send and receive: do it now or not at all (H-2).
constexpr time_point at_once = time_point{};
/// The pages of a large region take their time to be freed, but not asleep.
constexpr int busy_factor = 12;

region_limits limits_of(const vault_server_settings& settings, memory_place place) {
  region_limits limits{.count = settings.regions_max};
  const auto bytes = place.is_host() ? settings.limit_bytes : settings.device_limit_bytes;
  limits.bytes = bytes == 0 ? limits.bytes : bytes;
  limits.page_bytes = place.is_host() ? limits.page_bytes : region_alignment;
  return limits;
}

result<void> wait_for_any(std::vector<pollfd>& sources) {
  // The one wait without a deadline: the kernel ends it when a peer, the parent included, is gone.
  while (poll(sources.data(), sources.size(), -1) < 0) {
    if (errno != EINTR) {
      return fail(errc::io_failed, fmt::format("vault server: poll: {}", std::strerror(errno)));
    }
  }
  return {};
}

} // namespace

vault_server::vault_server(socket::unique_fd control,
                           const clock& time,
                           const vault_server_settings& settings,
                           device_memory_source devices)
    : settings_(settings),
      progress_(settings.progress),
      clock_(time),
      control_(std::move(control), time),
      devices_(std::move(devices)),
      host_window_(settings.window_base, settings.window_bytes, region_alignment),
      devices_window_(
          settings.devices_window_base, settings.devices_window_bytes, device_address_granule) {}

result<void> vault_server::run() {
  std::vector<pollfd> sources;
  while (true) {
    sources.assign(1, {.fd = control_.fd(), .events = POLLIN, .revents = 0});
    for (const auto& client : clients_) {
      sources.push_back({.fd = client.link.fd(), .events = POLLIN, .revents = 0});
    }
    progress_.enter(work_phase::waiting);
    VDIST_TRY(wait_for_any(sources));
    progress_.enter(work_phase::computing,
                    {.budget = settings_.stall * busy_factor, .standstill = settings_.stall});
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      if (sources[i + 1].revents == 0) {
        continue;
      }
      const auto served = serve(clients_[i]);
      clients_[i].has_ended = !served;
      if (!served && served.error().code != errc::closed) {
        log::error("vault server: client disconnected: {}", served.error().context);
      }
    }
    let_go();
    if (sources.front().revents != 0) {
      VDIST_ASSIGN(const bool goes_on, listen_to_parent());
      if (!goes_on) {
        return {};
      }
    }
    VDIST_TRY(told_);
  }
}

/// Clients that have ended.
void vault_server::let_go() {
  for (const auto& each : clients_) {
    if (each.has_ended) {
      tell({.what = record_kind::client_gone, .client = each.id});
    }
  }
  std::erase_if(clients_, [](const client& each) { return each.has_ended; });
}

result<bool> vault_server::listen_to_parent() {
  auto received = control_.receive(at_once);
  if (!received) {
    const auto code = received.error().code;
    if (code == errc::io_failed) {
      return fail(code, "vault server: control socket: " + received.error().context);
    }
    if (code != errc::closed && code != errc::timed_out) {
      log::error("vault server: no client added: {}", received.error().context);
    }
    return code != errc::closed;
  }
  if (const auto record = parse_record(received->bytes)) {
    VDIST_TRY(take_over(*record, *received));
  } else {
    add_client(*received);
  }
  return true;
}

void vault_server::add_client(socket::message& message) {
  const auto request = parse_request(message.bytes);
  if (is_kept_ || !request || request->wanted != operation::add_client || message.fds.size() != 1) {
    log::error("vault server: no client added: malformed message of the parent");
  } else if (clients_.size() >= settings_.clients_max) {
    log::error("vault server: no client added: too many (limit={})", settings_.clients_max);
  } else {
    clients_.push_back({.link = socket::message_socket(std::move(message.fds.front()), clock_),
                        .id = next_client_id_++});
  }
}

/// H-7. The first record makes this a vault that is kept.
result<void> vault_server::take_over(const record_message& record, socket::message& message) {
  const bool has_file = record.what == record_kind::region || record.what == record_kind::client;
  bool is_sound =
      (is_kept_ != (record.what == record_kind::begin)) && message.fds.size() == has_file;
  if (is_sound && record.what == record_kind::begin) {
    is_kept_ = true;
    next_region_id_ = std::max(record.region_id, next_region_id_);
    host_window_.search_from(record.address);
    devices_window_.search_from(record.bytes);
  } else if (is_sound && record.what == record_kind::region) {
    is_sound = restore(record, message);
  } else if (is_sound && record.what == record_kind::client) {
    adopt_client(record, message);
  } else if (is_sound && record.what == record_kind::end) {
    if (settings_.points != nullptr && settings_.points->is_armed()) {
      VDIST_TRY(failure_of(settings_.points->reach("vault.take_over", {}), "vault.take_over"));
    }
    tell({.what = record_kind::begun});
  } else {
    is_sound = false;
  }
  return is_sound ? result<void>()
                  : fail(errc::corrupt,
                         fmt::format("vault server: a record that makes no sense (kind={} {})",
                                     static_cast<int>(record.what),
                                     to_string(key_of(record))));
}

bool vault_server::restore(const record_message& record, socket::message& message) {
  const auto place = place_of(record);
  const auto mapped_bytes = whole_pages(record.bytes, limits_of(settings_, place).page_bytes);
  const auto ready_hash = record.flag != 0 ? std::optional(record.ready_hash) : std::nullopt;
  next_region_id_ = std::max(next_region_id_, record.region_id + 1);
  return window_of(place).take_at(record.address, mapped_bytes)
         && table_at(place).restore(key_of(record),
                                    {.bytes = record.bytes,
                                     .mapped_bytes = mapped_bytes,
                                     .ready_hash = ready_hash,
                                     .memory = {.file = std::move(message.fds.front()),
                                                .address = record.address,
                                                .id = record.region_id,
                                                .zeroing_client = record.zeroing_client}});
}

/// One that another server has served is told that this one has taken over (B-5).
void vault_server::adopt_client(const record_message& record, socket::message& message) {
  if (clients_.size() >= settings_.clients_max) {
    log::error("vault server: no client added: too many (limit={})", settings_.clients_max);
    tell({.what = record_kind::client_gone, .client = record.client});
    return;
  }
  clients_.push_back({.link = socket::message_socket(std::move(message.fds.front()), clock_),
                      .id = record.client,
                      .done = record.sequence});
  if (record.flag != 0) {
    const auto& link = clients_.back().link;
    clients_.back().has_ended =
        !link.send(encode_reply({.flags = reply_ask_again}, {}), {}, at_once);
  }
}

result<void> vault_server::serve(client& from) {
  auto received = from.link.receive(at_once);
  if (!received) {
    return received.error().code == errc::timed_out ? result<void>{} : received.error();
  }
  VDIST_ASSIGN(const auto request, parse_request(received->bytes));
  if (!received->fds.empty() || request.wanted == operation::add_client) {
    return fail(errc::corrupt, "vault: a client sends no descriptors and adds no clients"); // B-2
  }
  if (is_kept_ && std::exchange(from.served, request.sequence) == request.sequence) {
    return {}; // B-5: it is answered already
  }
  const answer reply = reply_to(from, request);
  if (!told_) {
    return told_; // H-7: nobody hears of what could not be told
  }
  const auto files = std::span(&reply.file, reply.file < 0 ? 0 : 1);
  return from.link.send(encode_reply(reply.head, reply.text), files, at_once);
}

vault_server::answer vault_server::reply_to(client& from, const request_message& request) {
  answer reply;
  if (const auto done = carry_out(from, request, reply); !done) {
    reply = {.head = {.code = done.error().code}, .text = done.error().context};
  }
  reply.head.sequence = request.sequence;
  reply.head.total_bytes = usage().bytes;
  reply.head.limit_bytes = limits_of(settings_, host_memory).bytes;
  return reply;
}

result<void> vault_server::carry_out(client& from, const request_message& request, answer& reply) {
  const auto key = key_of(request);
  if (is_done(from, request) && request.wanted != operation::map) {
    return {}; // B-5: what a map() found has to be told again, all others have nothing to tell
  }
  switch (request.wanted) {
  case operation::map:
    return map(from, request, reply);
  case operation::mark_ready:
    VDIST_TRY(table_at(place_holding(key)).mark_ready(key, request.content_hash));
    tell_region(from, request, false);
    return {};
  case operation::ready_hash:
    if (const auto hash = table_at(place_holding(key)).ready_hash(key)) {
      reply.head.flags = reply_has_ready_hash;
      reply.head.ready_hash = *hash;
    }
    return {};
  case operation::release:
    return release(from, request);
  case operation::zeroed:
    VDIST_TRY(end_zeroing(from, key));
    tell_region(from, request, false);
    return {};
  case operation::usage:
  case operation::add_client: // refused before
    return {};
  }
  return {};
}

void vault_server::tell_region(client& from, const request_message& request, bool is_new) {
  const auto key = key_of(request);
  const auto place = place_holding(key);
  const auto* held = table_at(place).find(key);
  from.done = request.sequence;
  tell({.what = record_kind::region,
        .client = from.id,
        .sequence = request.sequence,
        .region_id = held->memory.id,
        .address = held->memory.address,
        .bytes = held->bytes,
        .ready_hash = held->ready_hash.value_or(0),
        .zeroing_client = held->memory.zeroing_client,
        .rank = request.rank,
        .index = request.index,
        .kind = request.kind,
        .flag = static_cast<std::uint8_t>(held->ready_hash.has_value()),
        .device = place.device},
       is_new ? held->memory.file.get() : -1);
}

void vault_server::tell(record_message record, int file) {
  if (is_kept_ && told_) {
    told_ = control_.send(std::as_bytes(std::span(&record, 1)),
                          std::span(&file, file < 0 ? 0 : 1),
                          clock_.now() + settings_.tell_deadline);
  }
}

result<void> vault_server::map(client& from, const request_message& request, answer& reply) {
  const auto key = key_of(request);
  if (settings_.points != nullptr && settings_.points->is_armed()) {
    VDIST_TRY(
        failure_of(settings_.points->reach("vault.map", {.rank = key.rank.value}), "vault.map"));
  }
  const auto place = place_of(request);
  const auto held_at = place_holding(key);
  const bool is_held = table_at(held_at).holds(key);
  if (is_held && held_at != place) { // H-4
    return fail(errc::invalid_argument,
                fmt::format("vault: the region exists in other memory ({} wanted={} held={})",
                            to_string(key),
                            to_string(place),
                            to_string(held_at)));
  }
  if (const auto all = usage(); !is_held && all.count >= settings_.regions_max) {
    return too_many_regions(key, all.count, settings_.regions_max);
  }
  const auto make = [this, &from, place](std::size_t mapped_bytes) {
    return make_region(from, place, mapped_bytes);
  };
  auto& table = table_at(place);
  VDIST_ASSIGN(const auto found, table.map(key, request.bytes, make));
  VDIST_ASSIGN(const bool is_to_zero, has_to_zero(from, key, *table.memory_of(key)));
  if (found.is_new || is_to_zero) {
    tell_region(from, request, found.is_new);
  }
  const bool is_asked_again = is_done(from, request); // V-2
  const auto& held = *found.held;
  reply.head.region_id = held.memory.id;
  reply.head.address = held.memory.address;
  reply.head.device = place.device;
  reply.head.ready_hash = held.ready_hash.value_or(0);
  reply.head.flags = (found.is_new || is_to_zero || is_asked_again ? reply_is_new : 0U)
                     | (held.ready_hash ? reply_has_ready_hash : 0U);
  reply.file = held.memory.file.get();
  return {};
}

result<bool>
vault_server::has_to_zero(const client& from, const region_key& key, region_memory& memory) const {
  if (memory.zeroing_client == 0) {
    return false;
  }
  const bool is_others = std::any_of(clients_.begin(), clients_.end(), [&](const client& each) {
    return each.id == memory.zeroing_client && each.id != from.id && !each.has_ended;
  });
  if (is_others) {
    return fail(errc::queue_full,
                fmt::format("vault: another process is filling the region with zeros ({})",
                            to_string(key)));
  }
  memory.zeroing_client = from.id;
  return true;
}

result<void> vault_server::end_zeroing(const client& from, const region_key& key) {
  auto* memory = table_at(place_holding(key)).memory_of(key);
  if (memory == nullptr) {
    return no_such_region(key, "fill with zeros");
  }
  if (memory->zeroing_client != from.id) {
    return fail(errc::stale,
                fmt::format("vault: the region is not this client's to fill ({})", to_string(key)));
  }
  memory->zeroing_client = 0;
  return {};
}

result<vault_server::region_memory>
vault_server::make_region(const client& from, memory_place place, std::size_t mapped_bytes) {
  if (!place.is_host() && !devices_) {
    return fail(errc::unsupported, "this vault has no memory of devices");
  }
  VDIST_ASSIGN(auto file,
               place.is_host() ? socket::make_shared_file("vdist-region", mapped_bytes)
                               : devices_(place.device, mapped_bytes));
  auto& window = window_of(place);
  const auto address = window.take(mapped_bytes);
  if (!address) {
    return fail(errc::resource_exhausted,
                fmt::format("no addresses left (longest_free={})", window.longest_free()));
  }
  return region_memory{.file = std::move(file),
                       .address = *address,
                       .id = next_region_id_++,
                       .zeroing_client = place.is_host() ? 0 : from.id};
}

result<void> vault_server::release(client& from, const request_message& request) {
  const auto key = key_of(request);
  const auto place = place_holding(key);
  VDIST_ASSIGN(const auto released, table_at(place).release(key));
  window_of(place).give(released.memory.address, released.mapped_bytes);
  from.done = request.sequence;
  tell({.what = record_kind::released,
        .client = from.id,
        .sequence = request.sequence,
        .region_id = released.memory.id,
        .rank = request.rank,
        .index = request.index,
        .kind = request.kind,
        .device = place.device});
  return {};
}

vault_server::region_memory_table& vault_server::table_at(memory_place place) {
  return tables_.try_emplace(place, limits_of(settings_, place)).first->second;
}

memory_place vault_server::place_holding(const region_key& key) const {
  for (const auto& [place, table] : tables_) {
    if (table.holds(key)) {
      return place;
    }
  }
  return host_memory;
}

region_usage vault_server::usage() const {
  region_usage all;
  for (const auto& [place, table] : tables_) {
    all.bytes += table.usage().bytes;
    all.count += table.usage().count;
  }
  return all;
}

address_window& vault_server::window_of(memory_place place) {
  return place.is_host() ? host_window_ : devices_window_;
}

result<socket::unique_fd> open_vault_client(const socket::message_socket& control,
                                            time_point deadline) {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  const request_message request{.wanted = operation::add_client};
  const int server_end = ends.first.get();
  VDIST_TRY(
      control.send(std::as_bytes(std::span(&request, 1)), std::span(&server_end, 1), deadline));
  return std::move(ends.second);
}

} // namespace vdist::vault
