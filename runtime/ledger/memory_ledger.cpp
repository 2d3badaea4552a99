#include "runtime/ledger/memory_ledger.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::ledger {

namespace {

error unknown(std::string_view operation, request_id id) {
  return fail(
      errc::not_found,
      fmt::format("{}: the ledger does not hold this request (request={})", operation, id.value));
}

error refuse_token(errc code, std::string_view cause, const committed_token& token) {
  return fail(
      code,
      fmt::format("commit: {} (request={} position={})", cause, token.id.value, token.position));
}

} // namespace

result<void> memory_ledger::accept(const protocol::request& request) {
  const auto room =
      request.prompt.size() + static_cast<std::uint64_t>(std::max(request.max_tokens, 0));
  const std::scoped_lock lock(mutex_);
  if (!request.generated.empty() || request.max_tokens < 1 || entries_.contains(request.id)) {
    return fail(errc::invalid_argument,
                fmt::format("accept: the id is known, or the request is not a fresh one "
                            "(request={} generated={} max_tokens={})",
                            request.id.value,
                            request.generated.size(),
                            request.max_tokens));
  }
  if (unfinished_ >= limits_.requests_max || room > limits_.tokens_max) {
    return fail(errc::resource_exhausted,
                fmt::format("accept: the ledger is full (request={} requests={} requests_max={} "
                            "tokens={} tokens_max={})",
                            request.id.value,
                            unfinished_,
                            limits_.requests_max,
                            room,
                            limits_.tokens_max));
  }
  while (tokens_reserved_ + room > limits_.tokens_max) {
    if (!forget_oldest()) {
      return fail(errc::resource_exhausted,
                  fmt::format("accept: no room for its tokens (request={} tokens={} reserved={} "
                              "tokens_max={})",
                              request.id.value,
                              room,
                              tokens_reserved_,
                              limits_.tokens_max));
    }
  }
  entries_.emplace(request.id, entry{request, protocol::finish_reason::none, room});
  ++unfinished_;
  tokens_reserved_ += room;
  return {};
}

result<void> memory_ledger::append(const committed_token& token) {
  const auto found = entries_.find(token.id);
  if (found == entries_.end()) {
    return unknown("commit", token.id);
  }
  auto& entry = found->second;
  auto& generated = entry.request.generated;
  const auto next = static_cast<std::int32_t>(generated.size());
  if (entry.reason != protocol::finish_reason::none) {
    return refuse_token(errc::stale, "the request has finished", token);
  }
  if (token.position < 0 || token.token < 0) {
    return refuse_token(errc::corrupt, "negative position or token", token);
  }
  if (token.position < next) {
    return refuse_token(errc::stale, "the token is committed already", token);
  }
  if (token.position > next || next >= entry.request.max_tokens) {
    return refuse_token(errc::corrupt, "a token is missing, or is beyond max_tokens", token);
  }
  generated.push_back(token.token);
  return {};
}

result<void> memory_ledger::check_end(const finished_request& end) const {
  const auto found = entries_.find(end.id);
  if (found == entries_.end()) {
    return unknown("finish", end.id);
  }
  if (found->second.reason != protocol::finish_reason::none) {
    return fail(errc::stale,
                fmt::format("finish: the request has finished (request={})", end.id.value));
  }
  if (end.reason == protocol::finish_reason::none) {
    return fail(errc::corrupt, fmt::format("finish: no reason given (request={})", end.id.value));
  }
  return {};
}

void memory_ledger::end(const finished_request& end) {
  auto& ended = entries_.at(end.id);
  ended.reason = end.reason;
  // Only what a client may ask for again is kept: the tokens.
  protocol::request kept;
  kept.id = ended.request.id;
  kept.arrival = ended.request.arrival;
  kept.max_tokens = ended.request.max_tokens;
  kept.generated = std::move(ended.request.generated);
  kept.generated.shrink_to_fit();
  ended.request = std::move(kept);
  tokens_reserved_ -= ended.tokens_reserved;
  ended.tokens_reserved = ended.request.generated.size();
  tokens_reserved_ += ended.tokens_reserved;
  finished_.push_back(end.id);
  --unfinished_;
  while (finished_.size() > limits_.finished_max) {
    forget_oldest();
  }
}

bool memory_ledger::forget_oldest() {
  if (finished_.empty()) {
    return false;
  }
  const auto oldest = entries_.find(finished_.front());
  tokens_reserved_ -= oldest->second.tokens_reserved;
  entries_.erase(oldest);
  finished_.pop_front();
  return true;
}

result<void> memory_ledger::commit(std::span<const committed_token> tokens,
                                   std::span<const finished_request> finished) {
  const std::scoped_lock lock(mutex_);
  result<void> outcome;
  std::size_t written = 0;
  while (written < tokens.size() && (outcome = append(tokens[written]))) {
    ++written;
  }
  for (std::size_t i = 0; i < finished.size() && outcome; ++i) {
    outcome = check_end(finished[i]);
    const auto is_same = [&id = finished[i].id](const finished_request& e) {
      return e.id == id;
    };
    if (outcome
        && std::any_of(
            finished.begin(), finished.begin() + static_cast<std::ptrdiff_t>(i), is_same)) {
      outcome =
          fail(errc::corrupt,
               fmt::format("commit: two ends of one request (request={})", finished[i].id.value));
    }
  }
  if (!outcome) {
    for (; written > 0; --written) { // L-2
      entries_.at(tokens[written - 1].id).request.generated.pop_back();
    }
    return outcome;
  }
  for (const auto& each : finished) {
    end(each);
  }
  tokens_committed_ += tokens.size();
  return {};
}

result<void> memory_ledger::finish(request_id id, protocol::finish_reason reason) {
  const finished_request one{id, reason};
  return commit({}, std::span(&one, 1));
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
  std::sort(open.begin(), open.end(), [](const auto& a, const auto& b) {
    return a.arrival != b.arrival ? a.arrival < b.arrival : a.id < b.id;
  });
  return open;
}

result<std::vector<token_id>> memory_ledger::tokens(request_id id, std::int32_t from) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return unknown("tokens", id);
  }
  const auto& generated = found->second.request.generated;
  if (from < 0 || static_cast<std::size_t>(from) > generated.size()) {
    return fail(errc::invalid_argument,
                fmt::format("tokens: position is beyond the end (request={} from={} committed={})",
                            id.value,
                            from,
                            generated.size()));
  }
  return std::vector<token_id>(generated.begin() + from, generated.end());
}

result<request_state> memory_ledger::state(request_id id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return unknown("state", id);
  }
  return request_state{static_cast<std::int32_t>(found->second.request.generated.size()),
                       found->second.reason};
}

ledger_stats memory_ledger::stats() const {
  const std::scoped_lock lock(mutex_);
  return {unfinished_,
          static_cast<std::uint32_t>(finished_.size()),
          tokens_reserved_,
          tokens_committed_};
}

} // namespace vdist::ledger
