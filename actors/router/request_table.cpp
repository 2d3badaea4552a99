#include "actors/router/request_table.hpp"

#include <algorithm>
#include <utility>

namespace vdist::actors {

request_table::request_table(std::int32_t replicas)
    : active_(static_cast<std::size_t>(replicas)),
      usable_(static_cast<std::size_t>(replicas), true),
      ended_(static_cast<std::size_t>(replicas), false),
      draining_(static_cast<std::size_t>(replicas)) {}

std::optional<std::int32_t> request_table::choose_replica() const {
  std::optional<std::size_t> best;
  for (std::size_t replica = 0; replica < active_.size(); ++replica) {
    const auto rank_of = [this](std::size_t one) {
      return std::pair(draining_[one] ? 1 : 0, active_[one]);
    };
    if (usable_[replica] && (!best || rank_of(replica) < rank_of(*best))) {
      best = replica;
    }
  }
  return best ? std::optional(static_cast<std::int32_t>(*best)) : std::nullopt;
}

void request_table::set_usable(std::int32_t replica, bool is_usable) {
  usable_.at(static_cast<std::size_t>(replica)) = is_usable && !has_ended(replica);
}

void request_table::set_ended(std::int32_t replica) {
  ended_.at(static_cast<std::size_t>(replica)) = true;
  set_usable(replica, false);
}

request_table::entry& request_table::add(request_id id, entry value) {
  ++active_.at(static_cast<std::size_t>(value.replica));
  ++accepted_;
  orphans_ += value.sink ? 0U : 1U;
  return entries_.insert_or_assign(id, std::move(value)).first->second;
}

request_table::entry* request_table::find(request_id id) {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

void request_table::move(request_id id, std::int32_t replica) {
  if (auto* found = find(id)) {
    --active_.at(static_cast<std::size_t>(found->replica));
    ++active_.at(static_cast<std::size_t>(replica));
    found->replica = replica;
  }
}

std::shared_ptr<token_sink> request_table::attach(request_id id, std::shared_ptr<token_sink> sink) {
  auto& found = entries_.at(id);
  if (found.sink == sink) {
    return nullptr;
  }
  orphans_ -= found.sink ? 0U : 1U;
  found.delivered = 0;
  return std::exchange(found.sink, std::move(sink));
}

delivery request_table::deliver(const protocol::token_event& event) {
  auto* found = find(event.id);
  if (found == nullptr) {
    return delivery::repeated;
  }
  const bool has_token = event.token >= 0;
  const bool is_end = event.reason != protocol::finish_reason::none;
  // An end without a token comes once, at whatever position: with it the entry goes.
  if (event.position > found->delivered || (!has_token && event.position != found->delivered)) {
    return delivery::gap;
  }
  if (event.position < found->delivered) {
    return delivery::repeated;
  }
  found->delivered += has_token ? 1 : 0;
  if (found->sink) {
    found->sink->push(event);
  } else {
    ++delivered_to_nobody_;
  }
  if (!is_end) {
    return delivery::taken;
  }
  --active_.at(static_cast<std::size_t>(found->replica));
  ++finished_;
  orphans_ -= found->sink ? 0U : 1U;
  entries_.erase(event.id);
  return delivery::ended;
}

std::vector<request_id> request_table::requests_of(std::int32_t replica) const {
  std::vector<request_id> ids;
  for (const auto& [id, value] : entries_) {
    if (value.replica == replica) {
      ids.push_back(id);
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

} // namespace vdist::actors
