#include "runtime/ledger/memory_ledger.hpp"

#include "runtime/ledger/ledger_rules.hpp"

#include <algorithm>

namespace vdist::ledger {

result<void> memory_ledger::accept(const protocol::request& request) {
  const auto room = room_of(request);
  const auto body_hash = kept_body_hash(request);
  const std::scoped_lock lock(mutex_);
  VDIST_TRY(
      check_fresh(request, entries_.contains(request.id) || keys_.contains(request.client_key)));
  VDIST_TRY(check_room(request, {unfinished_, tokens_unfinished_}, limits_));
  while (tokens_unfinished_ + tokens_finished_ + room > limits_.tokens_max) {
    forget_oldest();
  }
  entries_.emplace(request.id,
                   entry{.request = request,
                         .extra_words = extra_words_of(request),
                         .body_hash = body_hash,
                         .prompt_tokens = static_cast<std::int32_t>(request.prompt.size()),
                         .accepted = now()});
  if (request.client_key != 0) {
    keys_.emplace(request.client_key, request.id);
  }
  highest_id_ = std::max(highest_id_, request.id);
  ++unfinished_;
  tokens_unfinished_ += room;
  return {};
}

result<void> memory_ledger::append(const committed_token& token) {
  const auto found = entries_.find(token.id);
  if (found == entries_.end()) {
    return unknown_request("commit", token.id);
  }
  auto& entry = found->second;
  if (!is_next(token, entry.state(), entry.request.max_tokens)) {
    return refuse_token(token, entry.state());
  }
  entry.request.generated.push_back(token.token);
  if (entry.extra_words > 0) {
    const auto kept = kept_alternatives(token, entry.extra_words);
    entry.extras.push_back({token.logprob, {kept.begin(), kept.end()}});
  }
  return {};
}

result<void> memory_ledger::check_ends(std::span<const finished_request> finished) const {
  for (std::size_t i = 0; i < finished.size(); ++i) {
    const auto found = entries_.find(finished[i].id);
    if (found == entries_.end()) {
      return unknown_request("finish", finished[i].id);
    }
    VDIST_TRY(check_end(finished[i], found->second.reason));
    const auto before = finished.first(i);
    if (std::any_of(before.begin(), before.end(), [id = finished[i].id](const auto& other) {
          return other.id == id;
        })) {
      return refuse_second_end(finished[i].id);
    }
  }
  return {};
}

void memory_ledger::end(const finished_request& end) {
  auto& ended = entries_.at(end.id);
  tokens_unfinished_ -= room_of(ended.request);
  tokens_finished_ += ended.words();
  ended.reason = end.reason;
  ended.comes_with_token = end.comes_with_token;
  ended.message = kept_message(end.message);
  ended.finished = now();
  // Only what a client may ask for again is kept: the tokens.
  protocol::request kept;
  kept.id = ended.request.id;
  kept.arrival = ended.request.arrival;
  kept.client_key = ended.request.client_key;
  kept.max_tokens = ended.request.max_tokens;
  kept.generated = std::move(ended.request.generated);
  kept.generated.shrink_to_fit();
  ended.request = std::move(kept);
  finished_.push_back(end.id);
  --unfinished_;
  while (finished_.size() > limits_.finished_max) {
    forget_oldest();
  }
}

void memory_ledger::forget_oldest() {
  const auto oldest = entries_.find(finished_.front());
  tokens_finished_ -= oldest->second.words();
  if (oldest->second.request.client_key != 0) {
    keys_.erase(oldest->second.request.client_key);
  }
  entries_.erase(oldest);
  finished_.pop_front();
}

result<void> memory_ledger::commit(std::span<const committed_token> tokens,
                                   std::span<const finished_request> finished) {
  const std::scoped_lock lock(mutex_);
  result<void> outcome;
  std::size_t written = 0;
  while (written < tokens.size() && (outcome = append(tokens[written]))) {
    ++written;
  }
  if (outcome) {
    outcome = check_ends(finished);
  }
  if (!outcome) {
    for (; written > 0; --written) { // L-2
      auto& touched = entries_.at(tokens[written - 1].id);
      touched.request.generated.pop_back();
      if (touched.extra_words > 0) {
        touched.extras.pop_back();
      }
    }
    return outcome;
  }
  for (const auto& each : finished) {
    end(each);
  }
  tokens_committed_ += tokens.size();
  return {};
}

result<void>
memory_ledger::finish(request_id id, protocol::finish_reason reason, std::string_view message) {
  const finished_request one{.id = id, .reason = reason, .message = message};
  return commit({}, std::span(&one, 1));
}

void memory_ledger::strike(std::span<const request_id> ids) {
  const std::scoped_lock lock(mutex_);
  for (const auto id : distinct(ids)) {
    const auto found = entries_.find(id);
    if (found != entries_.end() && found->second.reason == protocol::finish_reason::none) {
      found->second.strikes = one_more(found->second.state().strikes);
      found->second.struck_at = found->second.request.generated.size();
    }
  }
}

std::vector<protocol::request> memory_ledger::unfinished() const {
  std::vector<protocol::request> open;
  {
    const std::scoped_lock lock(mutex_);
    open.reserve(unfinished_);
    for (const auto& [id, entry] : entries_) {
      if (entry.reason == protocol::finish_reason::none) {
        open.push_back(entry.request);
      }
    }
  }
  std::sort(
      open.begin(), open.end(), [](const auto& a, const auto& b) { return arrives_before(a, b); });
  return open;
}

result<std::vector<token_id>> memory_ledger::tokens(request_id id, std::int32_t from) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return unknown_request("tokens", id);
  }
  VDIST_TRY(check_from("tokens", id, from, found->second.state().committed));
  const auto& generated = found->second.request.generated;
  return std::vector<token_id>(generated.begin() + from, generated.end());
}

result<std::vector<protocol::token_event>> memory_ledger::replay(request_id id,
                                                                 std::int32_t from) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return unknown_request("replay", id);
  }
  const auto& entry = found->second;
  const auto committed = entry.state().committed;
  VDIST_TRY(check_from("replay", id, from, committed));
  std::vector<protocol::token_event> events;
  events.reserve(static_cast<std::size_t>(committed - from) + 1);
  for (auto position = from; position < committed; ++position) {
    const auto index = static_cast<std::size_t>(position);
    auto& event = events.emplace_back();
    event.id = id;
    event.position = position;
    event.token = entry.request.generated[index];
    if (entry.extra_words > 0) {
      event.logprob = entry.extras[index].logprob;
      event.top = entry.extras[index].top;
    }
  }
  close_replay(id,
               {.reason = entry.reason,
                .comes_with_token = entry.comes_with_token,
                .message = entry.message,
                .committed = committed,
                .last_token = committed > 0 ? entry.request.generated.back() : -1},
               events);
  return events;
}

std::optional<request_id> memory_ledger::find(std::uint64_t client_key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = keys_.find(client_key);
  return found == keys_.end() ? std::nullopt : std::optional(found->second);
}

request_id memory_ledger::highest_id() const {
  const std::scoped_lock lock(mutex_);
  return highest_id_;
}

result<request_state> memory_ledger::state(request_id id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return unknown_request("state", id);
  }
  return found->second.state();
}

ledger_stats memory_ledger::stats() const {
  const std::scoped_lock lock(mutex_);
  return {unfinished_,
          static_cast<std::uint32_t>(finished_.size()),
          tokens_unfinished_ + tokens_finished_,
          tokens_committed_};
}

std::vector<ledger_entry> memory_ledger::list(std::size_t max) const {
  std::vector<ledger_entry> all;
  {
    const std::scoped_lock lock(mutex_);
    all.reserve(entries_.size());
    for (const auto& [id, entry] : entries_) {
      all.push_back({.id = id,
                     .arrival = entry.request.arrival,
                     .prompt_tokens = entry.prompt_tokens,
                     .max_tokens = entry.request.max_tokens,
                     .committed = entry.state().committed,
                     .reason = entry.reason,
                     .client_key = entry.request.client_key,
                     .body_hash = entry.body_hash,
                     .strikes = entry.state().strikes,
                     .accepted = entry.accepted,
                     .finished = entry.finished});
    }
  }
  std::sort(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return arrives_before(a, b); });
  all.resize(std::min(max, all.size()));
  return all;
}

} // namespace vdist::ledger
