// actors/front_door/http_metrics.hpp — what the front door measures of its requests beyond the HTTP server's own counters:
// answers by route and status, and how long bodies wait to be read.
// Any thread; relaxed atomics. Paths that are no route are counted together, so clients make no series.
#pragma once

#include "transport/http/statistics.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/metrics/bounds.hpp"
#include "runtime/metrics/counter.hpp"
#include "runtime/metrics/exposition.hpp"
#include "runtime/metrics/histogram.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::actors {

/// What others count.
struct front_door_sample {
  http::statistics server;
  std::size_t answers_under_way = 0;
  std::string_view version;
};

class http_metrics {
public:
  explicit http_metrics(std::vector<std::string> routes);

  /// `route`: index.
  void note_answer(std::size_t route, int status) noexcept;

  /// From the io thread to the pool.
  void note_wait(duration time) noexcept { wait_.observe(time); }

  void describe(const front_door_sample& of, metrics::exposition& page) const;

private:
  /// Those that the front door answers with; 0 is any other.
  static constexpr std::array statuses{
      200, 400, 401, 404, 405, 408, 409, 413, 415, 422, 429, 499, 500, 501, 503, 0};
  using by_status = std::array<metrics::counter, statuses.size()>;

  void describe_answers(metrics::exposition& page) const;

  std::vector<std::string> routes_;
  std::vector<by_status> answers_; // by route
  metrics::histogram wait_ = metrics::histogram::of_seconds(metrics::admission_bounds);
};

} // namespace vdist::actors
