#include "runtime/ledger/ledger_rules.hpp"

#include "runtime/protocol/request_codec.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::ledger {

error unknown_request(std::string_view operation, request_id id) {
  return fail(
      errc::not_found,
      fmt::format("{}: the ledger does not hold this request (request={})", operation, id.value));
}

result<void> check_fresh(const protocol::request& request, bool is_known) {
  if (is_known || !request.generated.empty() || request.max_tokens < 1) {
    return fail(errc::invalid_argument,
                fmt::format("accept: the id or key is known, or the request is not a fresh one "
                            "(request={} client_key={} generated={} max_tokens={})",
                            request.id.value,
                            request.client_key,
                            request.generated.size(),
                            request.max_tokens));
  }
  return {};
}

result<void>
check_room(const protocol::request& request, const ledger_load& load, const ledger_limits& limits) {
  const auto room = room_of(request);
  if (load.unfinished >= limits.requests_max || room > limits.tokens_max
      || load.tokens_unfinished > limits.tokens_max - room) {
    return fail(errc::resource_exhausted,
                fmt::format("accept: the ledger is full (request={} requests={} requests_max={} "
                            "tokens={} reserved={} tokens_max={})",
                            request.id.value,
                            load.unfinished,
                            limits.requests_max,
                            room,
                            load.tokens_unfinished,
                            limits.tokens_max));
  }
  return {};
}

std::uint64_t kept_body_hash(const protocol::request& request) {
  return request.client_key != 0 ? protocol::body_hash(request) : 0;
}

error refuse_token(const committed_token& token, const request_state& state) {
  const auto refuse = [&token](errc code, std::string_view cause) {
    return fail(
        code,
        fmt::format("commit: {} (request={} position={})", cause, token.id.value, token.position));
  };
  if (state.reason != protocol::finish_reason::none) {
    return refuse(errc::stale, "the request has finished");
  }
  if (token.position < 0 || token.token < 0) {
    return refuse(errc::corrupt, "negative position or token");
  }
  if (token.position < state.committed) {
    return refuse(errc::stale, "the token is committed already");
  }
  return refuse(errc::corrupt, "a token is missing, or is beyond max_tokens");
}

result<void> check_end(const finished_request& end, protocol::finish_reason reason) {
  if (reason != protocol::finish_reason::none) {
    return fail(errc::stale,
                fmt::format("finish: the request has finished (request={})", end.id.value));
  }
  if (end.reason == protocol::finish_reason::none) {
    return fail(errc::corrupt, fmt::format("finish: no reason given (request={})", end.id.value));
  }
  return {};
}

error refuse_second_end(request_id id) {
  return fail(errc::corrupt, fmt::format("commit: two ends of one request (request={})", id.value));
}

result<void>
check_from(std::string_view operation, request_id id, std::int32_t from, std::int32_t committed) {
  if (from < 0 || from > committed) {
    return fail(errc::invalid_argument,
                fmt::format("{}: position is beyond the end (request={} from={} committed={})",
                            operation,
                            id.value,
                            from,
                            committed));
  }
  return {};
}

void close_replay(request_id id,
                  const replayed_end& end,
                  std::vector<protocol::token_event>& events) {
  if (end.reason == protocol::finish_reason::none) {
    return;
  }
  if (events.empty() || !end.comes_with_token) {
    events.push_back({.id = id, .position = end.committed});
  }
  auto& last = events.back();
  last.reason = end.reason;
  // Only a token that is in the request's lists of ids ends it so.
  last.stop_token = end.reason == protocol::finish_reason::stop ? end.last_token : -1;
  last.message = end.message;
}

std::vector<request_id> distinct(std::span<const request_id> ids) {
  std::vector<request_id> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

std::string_view kept_message(std::string_view message) {
  auto size = std::min(message.size(), message_bytes_max);
  const auto is_inside_character = [message](std::size_t at) {
    return at < message.size() && (static_cast<unsigned char>(message[at]) & 0xc0U) == 0x80U;
  };
  while (size > 0 && is_inside_character(size)) {
    --size;
  }
  return message.substr(0, size);
}

} // namespace vdist::ledger
