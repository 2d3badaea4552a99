// model/hub/retry.hpp — how often, and after which wait, something that failed is tried again.
#pragma once

#include "runtime/base/result.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace vdist::hub {

struct retry_settings {
  std::int32_t tries = 5;                   // at least 1
  std::chrono::milliseconds backoff{1'000}; // before the second try, doubled for each further
  std::chrono::milliseconds backoff_max{30'000};
};

/// Whether the same request may succeed a little later.
[[nodiscard]] inline bool is_transient(errc code) {
  return code == errc::timed_out || code == errc::closed || code == errc::queue_full;
}

/// Waits, or returns errc::cancelled as soon as the stop is requested.
[[nodiscard]] inline result<void> pause(std::stop_token stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
  return stop.stop_requested() ? fail(errc::cancelled, "fetch: cancelled") : result<void>();
}

/// Counts tries that failed one after the other. One thread.
class retry_budget {
public:
  retry_budget(const retry_settings& settings, std::stop_token stop)
      : settings_(settings), stop_(std::move(stop)) {}

  /// Something was reached: failures count from here on.
  void renew() { failures_ = 0; }

  /// After a failure: waits and returns success if there is another try, else the failure.
  [[nodiscard]] result<void> spend(const error& failure) {
    if (!is_transient(failure.code) || ++failures_ >= settings_.tries) {
      return failure;
    }
    const auto doubled = settings_.backoff * (std::int64_t{1} << std::min(failures_ - 1, 20));
    return pause(stop_, std::min<std::chrono::milliseconds>(doubled, settings_.backoff_max));
  }

private:
  retry_settings settings_;
  std::stop_token stop_;
  std::int32_t failures_ = 0;
};

/// Calls `work` until it succeeds, fails for good or the budget is spent.
template <class Work>
auto with_retries(const retry_settings& settings, const std::stop_token& stop, const Work& work)
    -> decltype(work()) {
  retry_budget budget(settings, stop);
  while (true) {
    auto outcome = work();
    if (outcome) {
      return outcome;
    }
    VDIST_TRY(budget.spend(outcome.error()));
  }
}

} // namespace vdist::hub
