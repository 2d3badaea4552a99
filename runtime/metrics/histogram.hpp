// runtime/metrics/histogram.hpp — how often a measured value fell between which bounds. Any thread observes, any reads.
// Values are whole numbers inside, nanoseconds or counts, so that a sum is exact and adding costs no loop.
//
// H-1 A value belongs to the first bucket whose bound is not below it (as Prometheus' `le`); one above the last bound to a
//     last bucket of its own. H-2 A snapshot's count is the sum of its buckets: buckets and count never disagree. Its sum
//     may be of some observations more or fewer. H-3 Nothing ever falls: a later snapshot has no smaller number.
// Cost: a search in the bounds and two relaxed additions, about 10 ns; no lock, no allocation after construction.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

namespace vdist::metrics {

/// What has been observed until some moment, in the unit of the bounds: seconds or counts.
struct histogram_snapshot {
  std::vector<double> bounds;        // rising
  std::vector<std::uint64_t> counts; // by bucket, not cumulative; one more than bounds
  double sum = 0;

  [[nodiscard]] std::uint64_t count() const {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  }

  /// Estimate of the value that a share `q` in [0, 1] of the observations does not exceed, as histogram_quantile() of
  /// Prometheus: linear within a bucket that begins at 0 or at the bound before; the last bound for what is above it.
  /// nullopt: nothing was observed.
  [[nodiscard]] std::optional<double> quantile(double q) const {
    const auto wanted = q * static_cast<double>(count());
    double below = 0;
    std::optional<double> found;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] == 0) {
        continue;
      }
      const auto here = static_cast<double>(counts[i]);
      const auto from = i == 0 ? 0.0 : bounds[i - 1];
      const auto to = i < bounds.size() ? bounds[i] : from;
      found = from + (to - from) * std::clamp((wanted - below) / here, 0.0, 1.0);
      below += here;
      if (below >= wanted) {
        break;
      }
    }
    return found;
  }

  /// What has been observed since `earlier`, a snapshot of the same histogram.
  [[nodiscard]] histogram_snapshot since(const histogram_snapshot& earlier) const {
    auto later = *this;
    for (std::size_t i = 0; i < later.counts.size(); ++i) {
      later.counts[i] -= earlier.counts[i];
    }
    later.sum -= earlier.sum;
    return later;
  }

  /// Adds another histogram of the same bounds: of another replica.
  void add(const histogram_snapshot& other) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      counts[i] += other.counts[i];
    }
    sum += other.sum;
  }
};

class histogram {
public:
  /// Bounds in seconds, rising; observe(nanoseconds).
  [[nodiscard]] static histogram of_seconds(std::span<const double> bounds) {
    return {bounds, nanoseconds_per_second};
  }

  /// Bounds of plain numbers, rising; observe(std::uint64_t).
  [[nodiscard]] static histogram of_counts(std::span<const double> bounds) { return {bounds, 1}; }

  /// Of a negative time, which only a clock that was set makes: 0.
  void observe(std::chrono::nanoseconds time) noexcept {
    observe(static_cast<std::uint64_t>(std::max<std::chrono::nanoseconds::rep>(time.count(), 0)));
  }

  /// Raw: a count, or nanoseconds.
  void observe(std::uint64_t value) noexcept {
    const auto bucket = std::lower_bound(raw_bounds_.begin(), raw_bounds_.end(), value);
    counts_[static_cast<std::size_t>(bucket - raw_bounds_.begin())].fetch_add(
        1, std::memory_order_relaxed);
    counts_[raw_bounds_.size() + 1].fetch_add(value, std::memory_order_relaxed);
  }

  [[nodiscard]] histogram_snapshot snapshot() const {
    histogram_snapshot now{.bounds = bounds_, .counts = {}, .sum = 0};
    for (std::size_t i = 0; i <= bounds_.size(); ++i) {
      now.counts.push_back(counts_[i].load(std::memory_order_relaxed));
    }
    const auto sum = counts_[bounds_.size() + 1].load(std::memory_order_relaxed);
    now.sum = static_cast<double>(sum) / per_unit_;
    return now;
  }

private:
  static constexpr double nanoseconds_per_second = 1e9;

  histogram(std::span<const double> bounds, double per_unit)
      : per_unit_(per_unit),
        bounds_(bounds.begin(), bounds.end()),
        counts_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds.size() + 2)) {
    for (const auto bound : bounds) {
      raw_bounds_.push_back(static_cast<std::uint64_t>(bound * per_unit + 0.5));
    }
  }

  double per_unit_; // raw values per unit of the bounds
  std::vector<double> bounds_;
  std::vector<std::uint64_t> raw_bounds_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_; // by bucket; the last one is the raw sum
};

} // namespace vdist::metrics
