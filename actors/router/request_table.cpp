#include "actors/router/request_table.hpp"

#include <algorithm>
#include <utility>

namespace vdist::actors {

request_table::request_table(sched::replica_choice choice)
    : choice_(std::move(choice)),
      standings_(choice_.sequences().size()),
      usable_(standings_.size(), true),
      ended_(standings_.size(), false),
      draining_(standings_.size()) {}

std::optional<request_table::choice>
request_table::choose_replica(std::span<const token_id> prompt,
                              std::span<const std::int32_t> among) {
  using sched::standing;
  for (std::size_t replica = 0; replica < standings_.size(); ++replica) {
    const bool is_meant =
        among.empty() || std::ranges::count(among, static_cast<std::int32_t>(replica)) > 0;
    const auto draining = among.empty() ? standing::draining : standing::absent;
    standings_[replica] = !usable_[replica] || !is_meant ? standing::absent
                          : draining_[replica]           ? draining
                                                         : standing::usable;
  }
  return choice_.choose(prompt, standings_);
}

void request_table::set_usable(std::int32_t replica, bool is_usable) {
  usable_.at(static_cast<std::size_t>(replica)) = is_usable && !has_ended(replica);
}

void request_table::set_ended(std::int32_t replica) {
  ended_.at(static_cast<std::size_t>(replica)) = true;
  set_usable(replica, false);
}

request_table::entry& request_table::add(request_id id, entry value) {
  choice_.give(value.replica, value.prefill);
  ++accepted_;
  orphans_ += value.sink ? 0U : 1U;
  if (meter_) {
    const auto now = meter_->now();
    if (value.times.accepted == time_point()) {
      value.times.accepted = now;
    }
    meter_->entered(value.replica, value.times.accepted, now);
  }
  return entries_.insert_or_assign(id, std::move(value)).first->second;
}

request_table::entry* request_table::find(request_id id) {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

void request_table::move(request_id id, std::int32_t replica, std::int64_t prefill) {
  if (auto* found = find(id)) {
    choice_.take(found->replica, found->prefill);
    choice_.give(replica, prefill);
    if (meter_) {
      meter_->moved(found->replica, replica, meter_->now());
    }
    found->replica = replica;
    found->prefill = prefill;
  }
}

void request_table::note_refusal(errc why) {
  if (meter_) {
    meter_->refused(why);
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

delivery request_table::deliver(const protocol::token_event& event, time_point now) {
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
  if (has_token && event.position == found->reached) { // else it is told again
    ++found->reached;
    choice_.begin(found->replica, std::exchange(found->prefill, 0));
  }
  if (meter_) {
    meter_->delivered(found->times, *found->request, found->replica, event, found->sink.get(), now);
  }
  if (found->sink) {
    found->sink->push(event);
  } else {
    ++delivered_to_nobody_;
  }
  if (!is_end) {
    return delivery::taken;
  }
  choice_.take(found->replica, found->prefill);
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
