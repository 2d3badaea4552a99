#include "transport/vault/vault_keeper.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::vault {

namespace {

/// For receive: what is there (N-3).
constexpr time_point at_once = time_point{};

error makes_no_sense(const record_message& record) {
  return fail(errc::corrupt,
              fmt::format("vault keeper: a record that makes no sense (kind={} {})",
                          static_cast<int>(record.what),
                          to_string(key_of(record))));
}

} // namespace

void vault_keeper::forget() {
  control_.reset();
  given_ = 0;
  regions_.clear();
  clients_.clear();
  host_end_ = 0;
  devices_end_ = 0;
}

result<void> vault_keeper::tell(record_message record,
                                const socket::unique_fd* file,
                                time_point deadline) const {
  const int given = file == nullptr ? -1 : file->get();
  const auto told = control_->send(
      std::as_bytes(std::span(&record, 1)), std::span(&given, file == nullptr ? 0 : 1), deadline);
  return told || told.error().code == errc::closed ? result<void>() : told;
}

result<void> vault_keeper::tell_client(std::uint64_t id,
                                       const kept_client& client,
                                       bool is_known,
                                       time_point deadline) const {
  return tell({.what = record_kind::client,
               .client = id,
               .sequence = client.done,
               .flag = static_cast<std::uint8_t>(is_known)},
              &client.link,
              deadline);
}

result<void> vault_keeper::hand_over(socket::unique_fd control, time_point deadline) {
  control_.emplace(std::move(control), clock_);
  given_ += regions_.empty() ? 0 : 1;
  VDIST_TRY(tell({.what = record_kind::begin,
                  .region_id = next_region_,
                  .address = host_end_,
                  .bytes = devices_end_},
                 nullptr,
                 deadline));
  for (const auto& [key, region] : regions_) {
    VDIST_TRY(tell(region.known, &region.memory, deadline));
  }
  for (const auto& [id, client] : clients_) {
    VDIST_TRY(tell_client(id, client, true, deadline));
  }
  return tell({.what = record_kind::end}, nullptr, deadline);
}

result<socket::unique_fd> vault_keeper::new_client(time_point deadline) {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  const auto id = next_client_++;
  const auto& kept = clients_.emplace(id, kept_client{.link = std::move(ends.first)}).first->second;
  if (control_) {
    VDIST_TRY(tell_client(id, kept, false, deadline));
  }
  return std::move(ends.second);
}

result<void> vault_keeper::listen() {
  while (control_) {
    const auto heard = hear_one();
    if (heard) {
      continue;
    }
    const auto code = heard.error().code;
    if (code == errc::timed_out) {
      return {};
    }
    control_.reset(); // after an error the vault ends, too
    if (code != errc::closed) {
      given_ = given_max;
      return heard;
    }
  }
  return {};
}

result<void> vault_keeper::hear_one() {
  VDIST_ASSIGN(auto message, control_->receive(at_once));
  VDIST_ASSIGN(const auto record, parse_record(message.bytes));
  return take_in(record, message);
}

result<void> vault_keeper::take_in(const record_message& record, socket::message& message) {
  const auto key = key_of(record);
  const auto held = regions_.find(key);
  if (const auto cause = clients_.find(record.client);
      cause != clients_.end() && record.what != record_kind::client_gone) {
    cause->second.done = record.sequence;
  }
  switch (record.what) {
  case record_kind::begun:
    given_ = 0;
    return {};
  case record_kind::client_gone:
    clients_.erase(record.client);
    return {};
  case record_kind::released:
    if (held == regions_.end() || held->second.known.region_id != record.region_id) {
      return makes_no_sense(record);
    }
    regions_.erase(held);
    return {};
  case record_kind::region:
    break;
  case record_kind::begin:
  case record_kind::end:
  case record_kind::client:
    return makes_no_sense(record);
  }
  if (message.fds.size() != (held == regions_.end() ? 1U : 0U)) {
    return makes_no_sense(record);
  }
  if (held != regions_.end()) {
    held->second.known = record;
    return {};
  }
  regions_.emplace(key, kept_region{.known = record, .memory = std::move(message.fds.front())});
  next_region_ = std::max(next_region_, record.region_id + 1);
  (place_of(record).is_host() ? host_end_ : devices_end_) = record.address + record.bytes;
  return {};
}

} // namespace vdist::vault
