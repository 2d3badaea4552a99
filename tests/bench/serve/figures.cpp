#include "tests/bench/serve/figures.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

namespace vdist::bench::serve {

namespace {

double ms_between(time_point from, time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// Of one ok request.
struct request_times {
  double e2el = 0;
  std::optional<double> ttft;
  std::optional<double> tpot;
};

request_times times_of(const request_record& one) {
  request_times made{.e2el = ms_between(one.due, one.ended), .ttft = {}, .tpot = {}};
  const auto& answer = one.answer;
  if (answer.first) {
    made.ttft = ms_between(one.due, *answer.first);
    if (answer.output_tokens > 1 && answer.last) {
      made.tpot =
          ms_between(*answer.first, *answer.last) / static_cast<double>(answer.output_tokens - 1);
    }
  }
  return made;
}

/// A single token has no time per output token, and keeps that goal.
bool keeps(const goals& wanted, const request_times& times, std::int64_t tokens) {
  const auto is_kept = [](const std::optional<double>& goal, const std::optional<double>& time) {
    return !goal || (time && *time <= *goal);
  };
  const bool is_single = tokens <= 1 && times.ttft;
  return is_kept(wanted.ttft, times.ttft) && is_kept(wanted.e2el, times.e2el)
         && (is_single || is_kept(wanted.tpot, times.tpot));
}

struct samples {
  std::vector<double> ttft;
  std::vector<double> tpot;
  std::vector<double> itl;
  std::vector<double> e2el;
  std::vector<double> added;
  std::vector<double> lag;
};

void add_gaps(const answer_figures& answer, double pace_ms, samples& into, figures& made) {
  made.events += answer.events;
  for (const auto& gap : answer.gaps) {
    made.events_with_more += gap.tokens > 1 ? 1 : 0;
    const auto tokens = static_cast<double>(gap.tokens);
    into.itl.insert(into.itl.end(), static_cast<std::size_t>(gap.tokens), gap.ms / tokens);
    into.added.push_back(gap.ms - tokens * pace_ms);
  }
}

void add_ok(const request_record& one,
            const figures_options& options,
            samples& into,
            figures& made) {
  const auto times = times_of(one);
  into.e2el.push_back(times.e2el);
  if (times.ttft) {
    into.ttft.push_back(*times.ttft);
  }
  if (times.tpot) {
    into.tpot.push_back(*times.tpot);
  }
  add_gaps(one.answer, options.pace_ms.value_or(0), into, made);
  made.input_tokens += one.answer.input_tokens >= 0 ? one.answer.input_tokens : one.input_tokens;
  made.output_tokens += one.answer.output_tokens;
  if (made.good && keeps(options.wanted, times, one.answer.output_tokens)) {
    ++*made.good;
  }
}

std::string cause_of(const answer_figures& answer) {
  auto cause = std::string(to_string(answer.how));
  if (answer.status != 0) {
    cause += fmt::format(" {}", answer.status);
  }
  return answer.error.empty() ? cause : fmt::format("{}: {}", cause, answer.error);
}

/// Causes beyond are counted together: a server may put something new into every message.
constexpr std::size_t causes_max = 20;

void add_cause(const answer_figures& answer, figures& made) {
  auto cause = cause_of(answer);
  if (made.by_cause.size() >= causes_max && !made.by_cause.contains(cause)) {
    cause = "others";
  }
  ++made.by_cause[cause];
}

std::optional<double> positive_number(std::string_view text) {
  double value = 0;
  const auto [end, cause] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_legal =
      cause == std::errc() && end == text.data() + text.size() && value > 0 && std::isfinite(value);
  return is_legal ? std::optional(value) : std::nullopt;
}

} // namespace

double percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) {
    return 0;
  }
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(at), sorted.size() - 1);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

spread spread_of(std::vector<double> samples) {
  if (samples.empty()) {
    return {};
  }
  std::sort(samples.begin(), samples.end());
  const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {.n = samples.size(),
          .mean = sum / static_cast<double>(samples.size()),
          .p50 = percentile(samples, 0.50),
          .p90 = percentile(samples, 0.90),
          .p99 = percentile(samples, 0.99),
          .max = samples.back()};
}

result<goals> parse_goals(std::string_view text) {
  goals made;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    const auto one = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const auto colon = std::min(one.find(':'), one.size());
    const auto name = one.substr(0, colon);
    const auto value = positive_number(one.substr(std::min(colon + 1, one.size())));
    auto* goal = name == "ttft"   ? &made.ttft
                 : name == "tpot" ? &made.tpot
                 : name == "e2el" ? &made.e2el
                                  : nullptr;
    if (goal == nullptr || !value) {
      return fail(errc::invalid_argument,
                  fmt::format("goodput: it takes ttft:MS, tpot:MS and e2el:MS, separated by commas "
                              "(got={})",
                              one));
    }
    *goal = value;
  }
  return made;
}

figures figures_of(const load_record& record, const figures_options& options) {
  figures made;
  samples all;
  made.requests = record.requests.size();
  made.in_flight_peak = record.in_flight_peak;
  made.idle_opened = record.idle_opened;
  made.idle_lost = record.idle_lost;
  if (options.wanted.has_any()) {
    made.good = 0;
  }
  auto last = record.started;
  for (const auto& one : record.requests) {
    last = std::max(last, one.ended);
    ++made.by_outcome.at(static_cast<std::size_t>(one.answer.how));
    ++made.by_status[one.answer.status];
    all.lag.push_back(ms_between(one.due, one.begun));
    if (one.answer.how == outcome::ok) {
      add_ok(one, options, all, made);
    } else {
      add_cause(one.answer, made);
    }
  }
  made.seconds = ms_between(record.started, record.requests.empty() ? record.ended : last) / 1e3;
  if (options.pace_ms) {
    made.added_itl = spread_of(std::move(all.added));
  }
  made.ttft = spread_of(std::move(all.ttft));
  made.tpot = spread_of(std::move(all.tpot));
  made.itl = spread_of(std::move(all.itl));
  made.e2el = spread_of(std::move(all.e2el));
  made.send_lag = spread_of(std::move(all.lag));
  return made;
}

} // namespace vdist::bench::serve
