// runtime/protocol/request.hpp — a request after the front door: token ids in, resolved parameters,
// nothing to parse. router → scheduler: request. scheduler → router: token_event, batched per step.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace vdist::protocol {

/// Why a request ended. `none`: it goes on.
enum class finish_reason : std::uint8_t {
  none = 0,
  stop = 1,
  length = 2,
  cancelled = 3,
  failed = 4
};

[[nodiscard]] std::string_view to_string(finish_reason reason) noexcept;

/// One accepted sequence. `generated` is empty at first and holds the committed tokens when a
/// request is taken up again (from the ledger, or on another replica): the continuation is then the
/// same as without the interruption.
struct request {
  request_id id;
  std::int32_t priority = 0;       // smaller runs first under policy "priority"
  std::uint64_t arrival = 0;       // order of acceptance, rising
  std::vector<token_id> prompt;    // at least one token
  std::vector<token_id> generated; // committed so far
  std::int32_t max_tokens = 16;    // generated tokens at most, >= 1
  bool ignore_eos = false;
  std::vector<token_id> eos_ids;        // end the request unless ignore_eos
  std::vector<token_id> stop_token_ids; // end the request always
  sampling_record
      sampling; // bias_count, suppressed_count and prompt_tokens are filled by the scheduler
  std::vector<std::pair<token_id, float>> logit_bias;
  std::uint64_t client_key = 0; // the client's own name for it, unique while the ledger knows the
                                // request; 0: none. Submitted again, it finds the first one.
};

/// One alternative of a position.
struct token_logprob {
  token_id token = 0;
  float logprob = 0;
};

/// One committed token of one request, or its end without a token.
struct token_event {
  request_id id;
  std::int32_t position = 0; // 0 for the first generated token; contiguous per request
  token_id token = -1;       // -1: no token in this event (end by cancel or failure)
  finish_reason reason = finish_reason::none;
  token_id stop_token = -1; // the id that ended the request, if one did
  float logprob = 0;
  std::vector<token_logprob> top; // falling log probability; empty unless asked for
  std::string message;            // text when reason is failed
};

} // namespace vdist::protocol
