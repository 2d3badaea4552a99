// runtime/metrics/request_metrics.hpp — everything that is measured of the requests of one replica, whoever brought them.
// Names, meanings and bounds are vLLM's where it has the metric. Written by the router's thread (what clients see) and by
// the step thread (what the scheduler does), read by anybody.
//
// M-1 Every counter rises only, as long as the process lives: lanes, schedulers and routers that are replaced go on with it.
// M-2 A token, and an end, is counted once: not again when it is replayed to a client or after a fault. What an earlier
//     process had committed is not counted here.
// M-3 A request that an earlier process accepted is measured from its acceptance. If that one had its first token, this one
//     measures its end (e2e) and the gaps between the tokens that come here, and nothing else of it.
#pragma once

#include "runtime/metrics/bounds.hpp"
#include "runtime/metrics/counter.hpp"
#include "runtime/metrics/histogram.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vdist::metrics {

/// Why a request ended, in vLLM's words. `stop`: by an id or a string. `aborted`: its client did not want it any more.
enum class finished_reason : std::uint8_t { stop, length, aborted, failed };

inline constexpr std::size_t finished_reasons = 4;

/// For labels.
[[nodiscard]] constexpr std::string_view to_string(finished_reason reason) noexcept {
  constexpr std::array<std::string_view, finished_reasons> names{
      "stop", "length", "abort", "error"};
  return names[static_cast<std::size_t>(reason)];
}

/// Why a request was not accepted.
enum class refused_reason : std::uint8_t {
  queue_full, // as many as there may be are under way
  closed,     // the cluster drains, or no replica is alive
  conflict,   // its key was given to another one
  no_room,    // in the ledger
};

inline constexpr std::size_t refused_reasons = 4;

/// For labels.
[[nodiscard]] constexpr std::string_view to_string(refused_reason reason) noexcept {
  constexpr std::array<std::string_view, refused_reasons> names{
      "queue_full", "closed", "conflict", "no_room"};
  return names[static_cast<std::size_t>(reason)];
}

/// Of a cluster, by refused_reason. Written by the router's thread.
using refusal_metrics = std::array<counter, refused_reasons>;

struct request_metrics {
  /// `max_model_len`: tokens of the longest sequence.
  explicit request_metrics(std::int32_t max_model_len)
      : prompt_tokens_of_request(histogram::of_counts(token_count_bounds(max_model_len))),
        generation_tokens_of_request(histogram::of_counts(token_count_bounds(max_model_len))) {}

  // By the router's thread. Times begin when it takes the request from its mailbox and end when a stream gets the token.
  counter accepted{0};
  std::atomic<std::int64_t> active{0};          // gauge: accepted, and not over
  std::atomic<std::int64_t> active_since_ns{0}; // when it rose from 0 the last time; steady clock
  std::array<counter, finished_reasons> finished{}; // by finished_reason
  counter prompt_tokens{0};     // of requests that have their first token, cached ones included
  counter generation_tokens{0}; // committed and delivered
  histogram time_to_first_token = histogram::of_seconds(first_token_bounds);
  histogram inter_token_latency = histogram::of_seconds(token_gap_bounds);
  histogram time_per_output_token =
      histogram::of_seconds(token_gap_bounds); // of a request: mean gap behind its first token
  histogram e2e_latency = histogram::of_seconds(request_time_bounds);
  histogram prompt_tokens_of_request;
  histogram generation_tokens_of_request;

  // By the step thread.
  histogram queue_time =
      histogram::of_seconds(request_time_bounds); // taken from the inbox … in its first plan
  histogram prefill_time = histogram::of_seconds(request_time_bounds); // … first token committed
  histogram decode_time = histogram::of_seconds(request_time_bounds);  // … end committed
  histogram inference_time = histogram::of_seconds(request_time_bounds); // in its first plan … end
  histogram iteration_tokens = histogram::of_counts(iteration_token_bounds); // computed, by step
  counter prefix_queries{0}; // tokens of admitted requests
  counter prefix_hits{0};    // of those, found in the prefix cache
  counter preemptions{0};
  counter surplus_tokens{0}; // sampled for requests that were over by then

  [[nodiscard]] counter& finished_for(finished_reason reason) {
    return finished[static_cast<std::size_t>(reason)];
  }

  [[nodiscard]] const counter& finished_for(finished_reason reason) const {
    return finished[static_cast<std::size_t>(reason)];
  }
};

} // namespace vdist::metrics
