#include "runtime/ledger/shared_ledger.hpp"

#include "runtime/ledger/ledger_rules.hpp"
#include "runtime/protocol/request_codec.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdist::ledger {

using protocol::finish_reason;

result<void> shared_ledger::accept(const protocol::request& request) {
  const auto room = room_of(request);
  const auto body_hash = kept_body_hash(request);
  const std::scoped_lock lock(mutex_);
  VDIST_TRY(check_fresh(request,
                        index_.find(request.id) != no_slot || keys_.contains(request.client_key)));
  VDIST_TRY(check_room(request, {unfinished_, tokens_unfinished_}, region_.limits()));
  make_room(room);
  const auto slot = take_slot();
  write_request(slot, request, body_hash);
  touched_.assign(1, slot);
  highest_id_ = std::max(highest_id_, request.id);
  reach("ledger.accept", {.requests = std::span(&request.id.value, 1)});
  publish();
  index_.insert(request.id, slot);
  if (request.client_key != 0) {
    keys_.emplace(request.client_key, slot);
  }
  ++unfinished_;
  tokens_unfinished_ += room;
  return {};
}

void shared_ledger::make_room(std::uint64_t room) {
  touched_.clear();
  while (tokens_unfinished_ + tokens_finished_ + room > region_.limits().tokens_max) {
    forget_oldest();
  }
  if (!touched_.empty()) {
    publish(); // L-4
    release_unused();
  }
}

std::uint32_t shared_ledger::take_slot() {
  if (!free_slots_.empty()) {
    const auto slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  const auto slot = static_cast<std::uint32_t>(slots_.size());
  VDIST_CHECK(slot < region_.layout().entries, "L-1: there is an entry for every request");
  for (auto& state : region_.entry(slot).states) {
    state.is_used.set(0);
    state.version.set(0);
  }
  region_.header().entries_used.set(slot + 1);
  slots_.emplace_back();
  return slot;
}

void shared_ledger::write_request(std::uint32_t slot,
                                  const protocol::request& request,
                                  std::uint64_t body_hash) {
  protocol::encode(request, bytes_);
  const auto request_bytes = static_cast<std::uint32_t>(bytes_.size());
  bytes_.resize(words_of(bytes_.size()) * sizeof(std::int32_t));
  auto& state = slots_[slot];
  const auto current = state.current;
  state = {.max_tokens = request.max_tokens,
           .extra_words = static_cast<std::uint32_t>(extra_words_of(request)),
           .is_used = true,
           .current = current,
           .id = request.id,
           .room = room_of(request),
           .client_key = request.client_key,
           .body_hash = body_hash,
           .request = blocks_.write(bytes_)};
  auto& entry = region_.entry(slot);
  entry.id.set(request.id.value);
  entry.arrival.set(request.arrival);
  entry.accepted_version.set(version_ + 1);
  entry.accepted.set(now().time_since_epoch().count());
  entry.room.set(state.room);
  entry.prompt_tokens.set(static_cast<std::int32_t>(request.prompt.size()));
  entry.max_tokens.set(request.max_tokens);
  entry.request_bytes.set(request_bytes);
  entry.request_head.set(state.request.head);
  entry.extra_words.set(state.extra_words);
  entry.client_key.set(request.client_key);
  entry.body_hash.set(body_hash);
}

/// The other state holds until publish(): in which order this one is written does not matter.
void shared_ledger::write_state(std::uint32_t slot) {
  auto& from = slots_[slot];
  if (from.version == version_ + 1) {
    return; // touched twice
  }
  from.version = version_ + 1;
  from.current ^= 1U;
  auto& to = region_.entry(slot).states[from.current];
  to.version.set(from.version);
  to.end_order.set(from.end_order);
  to.finished.set(from.finished.time_since_epoch().count());
  to.committed.set(from.committed);
  to.reason.set(from.reason);
  to.is_used.set(from.is_used ? 1 : 0);
  to.strikes.set(from.strikes);
  to.comes_with_token.set(from.comes_with_token ? 1 : 0);
}

void shared_ledger::publish() {
  for (const auto slot : touched_) {
    write_state(slot);
  }
  auto& header = region_.header();
  auto& totals = header.totals[copy_totals(header, version_).current ^ 1U];
  totals.version.set(version_ + 1);
  totals.tokens_committed.set(tokens_committed_);
  totals.highest_id.set(highest_id_.value);
  header.published.set(++version_); // L-2, L-3: now it is there
}

/// L-4: what the version that was just published no longer refers to.
void shared_ledger::release_unused() {
  for (const auto slot : touched_) {
    auto& state = slots_[slot];
    if (state.reason == finish_reason::none) {
      continue;
    }
    blocks_.release(state.request);
    state.request = {};
    if (!state.is_used) {
      blocks_.release(state.tokens);
      blocks_.release(state.extras);
      blocks_.release(state.message);
      index_.erase(state.id);
      if (state.client_key != 0) {
        keys_.erase(state.client_key);
      }
      const auto current = state.current;
      state = {.version = version_, .current = current};
      free_slots_.push_back(slot);
    }
  }
}

result<void> shared_ledger::commit(std::span<const committed_token> tokens,
                                   std::span<const finished_request> finished) {
  const std::scoped_lock lock(mutex_);
  touched_.clear();
  if (auto outcome = stage(tokens, finished); !outcome) {
    unstage(tokens.size());
    return outcome;
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    append(touched_[i], tokens[i]);
  }
  tokens_committed_ += tokens.size();
  for (std::size_t i = 0; i < finished.size(); ++i) {
    end(touched_[tokens.size() + i], finished[i]);
  }
  while (finished_ > region_.limits().finished_max) {
    forget_oldest();
  }
  reach("ledger.commit", {});
  publish();
  if (!finished.empty()) {
    release_unused();
  }
  return {};
}

void shared_ledger::reach(std::string_view point, const failpoint_context& at) const {
  if (points_ != nullptr) {
    VDIST_FAILPOINT(*points_, point, at);
  }
}

void shared_ledger::append(std::uint32_t slot, const committed_token& token) {
  auto& state = slots_[slot];
  state.strikes = 0;
  blocks_.append(state.tokens, static_cast<std::uint64_t>(token.position), token.token);
  if (state.extra_words > 0) {
    append_extras(slot, token);
  }
  if (token.position == 0) { // meaningless until the token is published
    region_.entry(slot).tokens_head.set(state.tokens.head);
    region_.entry(slot).extras_head.set(state.extras.head);
  }
}

void shared_ledger::append_extras(std::uint32_t slot, const committed_token& token) {
  auto& state = slots_[slot];
  auto at = static_cast<std::uint64_t>(token.position) * state.extra_words;
  const auto put = [this, &state, &at](std::int32_t word) {
    blocks_.append(state.extras, at++, word);
  };
  const auto kept = kept_alternatives(token, state.extra_words);
  put(std::bit_cast<std::int32_t>(token.logprob));
  put(static_cast<std::int32_t>(kept.size()));
  for (const auto& alternative : kept) {
    put(alternative.token);
    put(std::bit_cast<std::int32_t>(alternative.logprob));
  }
  for (auto left = state.extra_words - 2 - 2 * kept.size(); left > 0; --left) {
    put(0);
  }
}

/// Checks the batch and counts it in memory of this process; touched_ becomes the slots of tokens
/// and ends.
result<void> shared_ledger::stage(std::span<const committed_token> tokens,
                                  std::span<const finished_request> finished) {
  for (const auto& token : tokens) {
    const auto slot = index_.find(token.id);
    if (slot == no_slot) {
      return unknown_request("commit", token.id);
    }
    auto& state = slots_[slot];
    if (!is_next(token, state.state(), state.max_tokens)) {
      return refuse_token(token, state.state());
    }
    ++state.committed;
    touched_.push_back(slot);
  }
  for (const auto& end : finished) {
    const auto slot = index_.find(end.id);
    if (slot == no_slot) {
      return unknown_request("finish", end.id);
    }
    const auto first_end = touched_.begin() + static_cast<std::ptrdiff_t>(tokens.size());
    if (slots_[slot].reason != finish_reason::none
        && std::find(first_end, touched_.end(), slot) != touched_.end()) {
      return refuse_second_end(end.id);
    }
    VDIST_TRY(check_end(end, slots_[slot].reason));
    slots_[slot].reason = end.reason;
    touched_.push_back(slot);
  }
  return {};
}

void shared_ledger::unstage(std::size_t tokens) {
  for (std::size_t i = 0; i < touched_.size(); ++i) {
    auto& state = slots_[touched_[i]];
    if (i < tokens) {
      --state.committed;
    } else {
      state.reason = finish_reason::none;
    }
  }
}

void shared_ledger::end(std::uint32_t slot, const finished_request& how) {
  auto& state = slots_[slot];
  const auto text = kept_message(how.message);
  if (!text.empty()) {
    bytes_.assign(words_of(text.size()) * sizeof(std::int32_t), std::byte{0});
    std::memcpy(bytes_.data(), text.data(), text.size());
    state.message = blocks_.write(bytes_);
  }
  auto& entry = region_.entry(slot);
  entry.message_bytes.set(static_cast<std::uint32_t>(text.size()));
  entry.message_head.set(state.message.head);
  state.comes_with_token = how.comes_with_token;
  state.end_order = ++end_order_;
  state.finished = now();
  append_finished(slot);
  --unfinished_;
  tokens_unfinished_ -= state.room;
  tokens_finished_ += state.words();
}

void shared_ledger::append_finished(std::uint32_t slot) {
  (last_finished_ == no_slot ? first_finished_ : slots_[last_finished_].next_finished) = slot;
  last_finished_ = slot;
  ++finished_;
}

void shared_ledger::forget_oldest() {
  const auto slot = first_finished_;
  auto& state = slots_[slot];
  first_finished_ = state.next_finished;
  last_finished_ = first_finished_ == no_slot ? no_slot : last_finished_;
  --finished_;
  tokens_finished_ -= state.words();
  state.is_used = false;
  touched_.push_back(slot);
}

result<void> shared_ledger::finish(request_id id, finish_reason reason, std::string_view message) {
  const finished_request one{.id = id, .reason = reason, .message = message};
  return commit({}, std::span(&one, 1));
}

void shared_ledger::strike(std::span<const request_id> ids) {
  const std::scoped_lock lock(mutex_);
  touched_.clear();
  for (const auto id : distinct(ids)) {
    const auto slot = index_.find(id);
    if (slot != no_slot && slots_[slot].reason == finish_reason::none) {
      slots_[slot].strikes = one_more(slots_[slot].strikes);
      touched_.push_back(slot);
    }
  }
  if (!touched_.empty()) {
    publish();
  }
}

std::vector<token_id> shared_ledger::read_tokens(const slot_state& slot, std::int32_t from) const {
  std::vector<token_id> tokens(static_cast<std::size_t>(slot.committed - from));
  const bool is_read =
      read_chain(region_, slot.tokens.head, static_cast<std::uint64_t>(from), tokens);
  VDIST_CHECK(is_read, "L-5: what was checked or written by this process stays in the region");
  return tokens;
}

protocol::request shared_ledger::read_request(std::uint32_t slot) const {
  const std::uint32_t bytes = region_.entry(slot).request_bytes.get();
  std::vector<std::int32_t> words(words_of(bytes));
  const bool is_read = read_chain(region_, slots_[slot].request.head, 0, words);
  VDIST_CHECK(is_read, "L-5: what was checked or written by this process stays in the region");
  auto request = protocol::decode_request(std::as_bytes(std::span(words)).first(bytes));
  VDIST_CHECK(request.has_value(), "L-5: an accepted request can be read");
  request->generated = read_tokens(slots_[slot], 0);
  return std::move(request).value();
}

std::vector<protocol::request> shared_ledger::unfinished() const {
  std::vector<protocol::request> open;
  {
    const std::scoped_lock lock(mutex_);
    open.reserve(unfinished_);
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].is_used && slots_[slot].reason == finish_reason::none) {
        open.push_back(read_request(slot));
      }
    }
  }
  std::sort(
      open.begin(), open.end(), [](const auto& a, const auto& b) { return arrives_before(a, b); });
  return open;
}

result<std::vector<token_id>> shared_ledger::tokens(request_id id, std::int32_t from) const {
  const std::scoped_lock lock(mutex_);
  const auto slot = index_.find(id);
  if (slot == no_slot) {
    return unknown_request("tokens", id);
  }
  VDIST_TRY(check_from("tokens", id, from, slots_[slot].committed));
  return read_tokens(slots_[slot], from);
}

result<std::vector<protocol::token_event>> shared_ledger::replay(request_id id,
                                                                 std::int32_t from) const {
  const std::scoped_lock lock(mutex_);
  const auto slot = index_.find(id);
  if (slot == no_slot) {
    return unknown_request("replay", id);
  }
  VDIST_TRY(check_from("replay", id, from, slots_[slot].committed));
  auto events = read_events(region_, copy_entry(region_.entry(slot), version_), from);
  VDIST_CHECK(events.has_value(), "L-5: what was checked or written by this process stays there");
  return std::move(*events);
}

std::optional<request_id> shared_ledger::find(std::uint64_t client_key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = keys_.find(client_key);
  return found == keys_.end() ? std::nullopt : std::optional(slots_[found->second].id);
}

request_id shared_ledger::highest_id() const {
  const std::scoped_lock lock(mutex_);
  return highest_id_;
}

result<request_state> shared_ledger::state(request_id id) const {
  const std::scoped_lock lock(mutex_);
  const auto slot = index_.find(id);
  if (slot == no_slot) {
    return unknown_request("state", id);
  }
  return slots_[slot].state();
}

ledger_stats shared_ledger::stats() const {
  const std::scoped_lock lock(mutex_);
  return {unfinished_, finished_, tokens_unfinished_ + tokens_finished_, tokens_committed_};
}

std::vector<ledger_entry> shared_ledger::list(std::size_t max) const {
  std::vector<ledger_entry> all;
  {
    const std::scoped_lock lock(mutex_);
    all.reserve(std::size_t{unfinished_} + finished_);
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].is_used) {
        all.push_back(to_ledger_entry(copy_entry(region_.entry(slot), version_)));
      }
    }
  }
  std::sort(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return arrives_before(a, b); });
  all.resize(std::min(max, all.size()));
  return all;
}

} // namespace vdist::ledger
