// runtime/ledger/ledger.hpp — the journal of accepted requests and committed tokens.
// Scheduler and router are crash-only: what they know is a function of this. The router accepts
// (its thread), step threads commit (theirs): every form of the ledger is thread-safe, and
// everything that crosses the interface is a plain value, so that the form in shared memory
// (shared_ledger.hpp) fits behind it as well as the one in plain memory (memory_ledger.hpp).
// I1 a request is accepted only after accept() succeeded. I2 a token is sent to a client only after
// commit() of it succeeded. I3 the tokens of a request are committed in order, without a gap, each
// exactly once. L-1 an accepted request can always be committed to its end: accept() sets the room
// aside. L-2 a batch is committed whole or not at all. L-7 what was sent can be sent again:
// replay() gives the very events that the scheduler made, log probabilities and ends included.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/request.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace vdist::ledger {

/// `logprob` and `top` are kept if the request asked for them, and as many as it asked for.
struct committed_token {
  request_id id;
  std::int32_t position = 0; // 0 for the first generated token
  token_id token = 0;
  float logprob = 0;
  std::span<const protocol::token_logprob> top; // the caller's, until commit() returns
};

struct finished_request {
  request_id id;
  protocol::finish_reason reason = protocol::finish_reason::none;
  bool comes_with_token = false; // the event of the last token is the end, too
  std::string_view message;      // the caller's, until commit() returns; cut at message_bytes_max
};

/// Of one token that are kept.
inline constexpr std::int32_t alternatives_max = 1 << 16;

/// Of the text of an end that is kept.
inline constexpr std::size_t message_bytes_max = 512;

/// What one step has to write; the step thread keeps one and reuses its memory. Refers to the events
/// that were appended, which stay where they are until it is committed.
struct commit_batch {
  std::vector<committed_token> tokens;
  std::vector<finished_request> finished;

  void clear();

  /// Takes over what the event says: its token, if it has one, and the end, if it is one.
  void append(const protocol::token_event& event);
};

/// Bounds of one ledger; accept() refuses with resource_exhausted beyond them.
struct ledger_limits {
  std::uint32_t requests_max = 65536;                // unfinished requests
  std::uint64_t tokens_max = std::uint64_t{1} << 27; // room_of, over all requests; 4 bytes each
  std::uint32_t finished_max = 4096;                 // finished requests kept for replay to clients
};

/// For a cluster that has so many requests under way at most. L-8 finished_max is not below that:
/// whatever ends while nobody can deliver it (router or control process are dead, and accept
/// nothing) is still there when a successor comes.
[[nodiscard]] ledger_limits limits_for(std::uint32_t accepted_max);

/// Words that a request keeps for each of its tokens besides the token: 0, or, if it asked for log
/// probabilities, that of the token, a count, and two for each alternative that it asked for.
[[nodiscard]] std::uint64_t extra_words_of(const protocol::request& request);

/// What a request is counted with against tokens_max until it ends: prompt, max_tokens times
/// 1 + extra_words_of, its lists of ids, and two for each bias. Afterwards its committed tokens
/// count, each with its extra words.
[[nodiscard]] std::uint64_t room_of(const protocol::request& request);

struct ledger_stats {
  std::uint32_t unfinished = 0;
  std::uint32_t finished = 0;         // kept at present
  std::uint64_t tokens_reserved = 0;  // counted against ledger_limits::tokens_max
  std::uint64_t tokens_committed = 0; // since the start
};

/// What the ledger knows of one request without its tokens.
struct request_state {
  std::int32_t committed = 0; // generated tokens
  protocol::finish_reason reason = protocol::finish_reason::none;
  std::uint8_t strikes = 0;    // as strike() says
  std::uint64_t body_hash = 0; // protocol::body_hash of what was accepted; 0 without a client key
};

/// One line of what the ledger holds: for people and tools.
struct ledger_entry {
  request_id id;
  std::uint64_t arrival = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;
  std::int32_t committed = 0;                                     // generated tokens
  protocol::finish_reason reason = protocol::finish_reason::none; // none: unfinished
  std::uint64_t client_key = 0;
  std::uint64_t body_hash = 0; // as in request_state
  std::uint8_t strikes = 0;
  time_point accepted; // of the clock that the ledger was given; time_point{} without one
  time_point finished; // time_point{} also while unfinished
};

class ledger {
public:
  virtual ~ledger() = default;

  /// I1. `generated` of the request must be empty. Finished requests give way when their room is
  /// needed, the oldest first; an accept that is refused forgets none. Errors: invalid_argument (the
  /// id or the client key is known), resource_exhausted.
  [[nodiscard]] virtual result<void> accept(const protocol::request& request) = 0;

  /// I2, I3: tokens first, then ends; one call and one lock per step. Errors, nothing written:
  /// stale (a token that is there already, or a request that has finished), corrupt (a gap, more
  /// tokens than were asked for), not_found.
  [[nodiscard]] virtual result<void> commit(std::span<const committed_token> tokens,
                                            std::span<const finished_request> finished) = 0;

  [[nodiscard]] result<void> commit(const commit_batch& batch) {
    return commit(batch.tokens, batch.finished);
  }

  /// Ends a request outside a step (refused by the scheduler, cancelled by the router). Errors as
  /// for commit.
  [[nodiscard]] virtual result<void>
  finish(request_id id, protocol::finish_reason reason, std::string_view message = {}) = 0;

  /// A worker died over steps that these were in: one more strike for each that is unfinished, 255 at
  /// most, also if it is named twice; the others are passed over. A committed token takes the strikes of its request away,
  /// nothing else does: they outlive scheduler, lane and control process.
  virtual void strike(std::span<const request_id> ids) = 0;

  /// 0 for a request that is not held.
  [[nodiscard]] std::uint8_t strikes(request_id id) const;

  /// Every accepted request without an end, in order of arrival, `generated` filled in: what a
  /// restarted scheduler or router takes up again.
  [[nodiscard]] virtual std::vector<protocol::request> unfinished() const = 0;

  /// The committed tokens from position `from` on, also of finished requests that are still kept.
  /// Errors: not_found, invalid_argument (from is beyond the end).
  [[nodiscard]] virtual result<std::vector<token_id>> tokens(request_id id,
                                                             std::int32_t from = 0) const = 0;

  /// L-7: the events of the tokens from position `from` on, and the end if there is one: in the
  /// event of the last token, if it came so and that is not before `from`, else as an event without a
  /// token. Log probabilities are 0 where they were not asked for. Errors: as tokens().
  [[nodiscard]] virtual result<std::vector<protocol::token_event>>
  replay(request_id id, std::int32_t from = 0) const = 0;

  /// The request that was accepted with this key and is held; nullopt: none, or the key is 0.
  [[nodiscard]] virtual std::optional<request_id> find(std::uint64_t client_key) const = 0;

  /// The highest id that was ever accepted, also if its request is forgotten; 0: none.
  [[nodiscard]] virtual request_id highest_id() const = 0;

  /// Error: not_found.
  [[nodiscard]] virtual result<request_state> state(request_id id) const = 0;

  [[nodiscard]] virtual ledger_stats stats() const = 0;

  [[nodiscard]] virtual const ledger_limits& limits() const = 0;

  /// What is held, finished requests included: in order of arrival, the first `max`.
  [[nodiscard]] virtual std::vector<ledger_entry> list(std::size_t max) const = 0;
};

} // namespace vdist::ledger
