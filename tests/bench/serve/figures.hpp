// tests/bench/serve/figures.hpp — from the records of a load run to its figures; pure arithmetic.
// Times are milliseconds. Of ok requests only: TTFT from the request's time (load_run.hpp, L-2) to its first token, E2EL to its
// end, TPOT = (last - first token) / (output tokens - 1), ITL between tokens: an event that brings k tokens after g ms is k
// times g / k. Added ITL, where the pace of the device is known: g - k * pace, once per event.
// F-1 Percentiles are numpy's default: linear between the two nearest samples. F-2 Every request is counted in exactly one
// outcome. F-3 Goodput counts requests that keep every goal; a goal that cannot be measured is not kept.
#pragma once

#include "tests/bench/serve/load_run.hpp"

#include "runtime/base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::bench::serve {

struct spread {
  std::size_t n = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};

/// Of sorted samples, `share` in [0, 1]; 0 of none.
[[nodiscard]] double percentile(const std::vector<double>& sorted, double share);

[[nodiscard]] spread spread_of(std::vector<double> samples);

/// What a request must keep to be good, in ms.
struct goals {
  std::optional<double> ttft;
  std::optional<double> tpot;
  std::optional<double> e2el;

  [[nodiscard]] bool has_any() const { return ttft || tpot || e2el; }
};

/// "ttft:500,tpot:50,e2el:3000", or nothing. Error: invalid_argument.
[[nodiscard]] result<goals> parse_goals(std::string_view text);

struct figures {
  double seconds = 0; // from the start to the end of the last answer
  std::size_t requests = 0;
  std::array<std::size_t, static_cast<std::size_t>(outcome::count_of_outcomes)> by_outcome{};
  std::map<int, std::size_t> by_status;        // 0: none came
  std::map<std::string, std::size_t> by_cause; // of what is not ok: "http_error 500: message"
  std::int64_t input_tokens = 0; // of ok requests, as the server says, else as planned
  std::int64_t output_tokens = 0;
  std::int64_t events = 0;
  std::int64_t events_with_more = 0; // that brought more than one token
  std::size_t in_flight_peak = 0;
  std::size_t idle_opened = 0;
  std::size_t idle_lost = 0;
  std::optional<std::size_t> good; // F-3
  spread ttft;
  spread tpot;
  spread itl;
  spread e2el;
  spread
      send_lag; // from due to begun, of all requests: the generator's own lateness, and want of connections
  std::optional<spread> added_itl;

  [[nodiscard]] std::size_t count(outcome how) const {
    return by_outcome.at(static_cast<std::size_t>(how));
  }

  /// Neither ok nor refused.
  [[nodiscard]] std::size_t failed() const {
    return requests - count(outcome::ok) - count(outcome::refused);
  }

  [[nodiscard]] double per_second(double amount) const {
    return seconds > 0 ? amount / seconds : 0;
  }
};

struct figures_options {
  goals wanted;
  std::optional<double> pace_ms; // of the device: a token of one sequence
};

[[nodiscard]] figures figures_of(const load_record& record, const figures_options& options);

} // namespace vdist::bench::serve
