// runtime/ledger/ledger.hpp — the journal of accepted requests and committed tokens.
// Scheduler and router are crash-only: what they know is a function of this. The router accepts
// (its thread), step threads commit (theirs): every form of the ledger is thread-safe, and
// everything that crosses the interface is a plain value, so that the form in shared memory
// (shared_ledger.hpp) fits behind it as well as the one in plain memory (memory_ledger.hpp).
// I1 a request is accepted only after accept() succeeded. I2 a token is sent to a client only after
// commit() of it succeeded. I3 the tokens of a request are committed in order, without a gap, each
// exactly once. L-1 an accepted request can always be committed to its end: accept() sets the room
// aside. L-2 a batch is committed whole or not at all.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/request.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vdist::ledger {

struct committed_token {
  request_id id;
  std::int32_t position = 0; // 0 for the first generated token
  token_id token = 0;
};

struct finished_request {
  request_id id;
  protocol::finish_reason reason = protocol::finish_reason::none;
};

/// What one step has to write; the step thread keeps one and reuses its memory.
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

/// What a request is counted with against tokens_max until it ends: prompt, max_tokens, its lists of
/// ids, and two for each bias. Afterwards its committed tokens count.
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
};

/// One line of what the ledger holds: for people and tools.
struct ledger_entry {
  request_id id;
  std::uint64_t arrival = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;
  std::int32_t committed = 0;                                     // generated tokens
  protocol::finish_reason reason = protocol::finish_reason::none; // none: unfinished
  time_point accepted; // of the clock that the ledger was given; time_point{} without one
  time_point finished; // time_point{} also while unfinished
};

class ledger {
public:
  virtual ~ledger() = default;

  /// I1. `generated` of the request must be empty. Finished requests give way when their room is
  /// needed, the oldest first; an accept that is refused forgets none. Errors: invalid_argument (the
  /// id is known), resource_exhausted.
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
  [[nodiscard]] virtual result<void> finish(request_id id, protocol::finish_reason reason) = 0;

  /// Every accepted request without an end, in order of arrival, `generated` filled in: what a
  /// restarted scheduler or router takes up again.
  [[nodiscard]] virtual std::vector<protocol::request> unfinished() const = 0;

  /// The committed tokens from position `from` on, also of finished requests that are still kept.
  /// Errors: not_found, invalid_argument (from is beyond the end).
  [[nodiscard]] virtual result<std::vector<token_id>> tokens(request_id id,
                                                             std::int32_t from = 0) const = 0;

  /// Error: not_found.
  [[nodiscard]] virtual result<request_state> state(request_id id) const = 0;

  [[nodiscard]] virtual ledger_stats stats() const = 0;

  /// What is held, finished requests included: in order of arrival, the first `max`.
  [[nodiscard]] virtual std::vector<ledger_entry> list(std::size_t max) const = 0;
};

} // namespace vdist::ledger
