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

/// invalid_argument: the id is known, or the request is not a fresh one.
[[nodiscard]] result<void> check_fresh(const protocol::request& request, bool is_known);

/// resource_exhausted: no room, even if every finished request gave way.
[[nodiscard]] result<void>
check_room(const protocol::request& request, const ledger_load& load, const ledger_limits& limits);

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
[[nodiscard]] result<void> check_from(request_id id, std::int32_t from, std::int32_t committed);

/// Order of requests and entries: by arrival, then by id.
[[nodiscard]] inline bool arrives_before(const auto& a, const auto& b) {
  return a.arrival != b.arrival ? a.arrival < b.arrival : a.id < b.id;
}

} // namespace vdist::ledger
