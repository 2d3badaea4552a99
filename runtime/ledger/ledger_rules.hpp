// runtime/ledger/ledger_rules.hpp — what every form of the ledger refuses, and in which words;
// internal to runtime/ledger. Pure functions: the forms differ in where they keep things, never in
// what they accept.
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <string_view>

namespace vdist::ledger {

[[nodiscard]] error unknown_request(std::string_view operation, request_id id);

/// What is in use when a request asks for room.
struct ledger_load {
  std::uint32_t unfinished = 0;
  std::uint64_t tokens_unfinished = 0; // room_of the unfinished ones
};

/// invalid_argument: the id or the client key is known, or the request is not a fresh one.
[[nodiscard]] result<void> check_fresh(const protocol::request& request, bool is_known);

/// resource_exhausted: no room, even if every finished request gave way.
[[nodiscard]] result<void>
check_room(const protocol::request& request, const ledger_load& load, const ledger_limits& limits);

/// What is kept of the body beside a client key (request_state::body_hash).
[[nodiscard]] std::uint64_t kept_body_hash(const protocol::request& request);

/// I3: whether `token` is the next of a request in this state. Inline: asked for every token.
[[nodiscard]] inline bool
is_next(const committed_token& token, const request_state& state, std::int32_t max_tokens) {
  return state.reason == protocol::finish_reason::none && token.token >= 0
         && token.position == state.committed && state.committed < max_tokens;
}

/// Why a token that is not the next one is refused.
[[nodiscard]] error refuse_token(const committed_token& token, const request_state& state);

/// `reason` is what the request ended with before, if it did.
[[nodiscard]] result<void> check_end(const finished_request& end, protocol::finish_reason reason);

[[nodiscard]] error refuse_second_end(request_id id);

/// invalid_argument: `from` is beyond the committed tokens.
[[nodiscard]] result<void>
check_from(std::string_view operation, request_id id, std::int32_t from, std::int32_t committed);

/// The end of a request as the ledger keeps it; reason none: it goes on.
struct replayed_end {
  protocol::finish_reason reason = protocol::finish_reason::none;
  bool comes_with_token = false;
  std::string_view message;
  std::int32_t committed = 0;
  token_id last_token = -1; // -1: none was committed
};

/// L-7: adds the end, if there is one, to the events of the tokens.
void close_replay(request_id id,
                  const replayed_end& end,
                  std::vector<protocol::token_event>& events);

/// How many of a token's alternatives are kept; `extra_words` is not 0.
[[nodiscard]] inline std::span<const protocol::token_logprob>
kept_alternatives(const committed_token& token, std::uint64_t extra_words) {
  const auto asked = static_cast<std::size_t>((extra_words - 2) / 2);
  return token.top.first(token.top.size() < asked ? token.top.size() : asked);
}

/// Each id once.
[[nodiscard]] std::vector<request_id> distinct(std::span<const request_id> ids);

/// Strikes end at what their word holds.
[[nodiscard]] constexpr std::uint8_t one_more(std::uint8_t strikes) {
  return strikes == 0xff ? strikes : static_cast<std::uint8_t>(strikes + 1);
}

/// The part of a message that is kept: whole characters of UTF-8.
[[nodiscard]] std::string_view kept_message(std::string_view message);

/// Order of requests and entries: by arrival, then by id.
[[nodiscard]] inline bool arrives_before(const auto& a, const auto& b) {
  return a.arrival != b.arrival ? a.arrival < b.arrival : a.id < b.id;
}

} // namespace vdist::ledger
