// actors/front_door/live_feed.hpp — snapshots of one thing for any number of watchers, as server-sent events: one producer,
// who works only while somebody watches.
//
// P-1 A snapshot is produced once, by the feed's own thread, and told to all; no more than one in an interval. P-2 While
// nobody watches nothing is produced, and the thread sleeps. P-3 Who has not taken its last snapshot yet gets no other until
// it has, and then the newest: a slow watcher keeps one in memory and delays nobody. P-4 watchers_max is never exceeded.
// P-5 Who comes gets a snapshot at once: the last one if it is younger than an interval, else one that is made for it.
// P-6 stop() ends all streams, in order, with `end_data`; nobody is taken any more.
#pragma once

#include "transport/http/exchange.hpp"

#include "runtime/base/clock.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace vdist::actors {

struct live_feed_settings {
  std::chrono::milliseconds interval{250};
  std::size_t watchers_max = 64;
};

class live_feed {
public:
  /// Makes the data of one event; one line. Called by the feed's thread alone; may block, with a deadline.
  using producer = std::function<std::string()>;

  /// What a watcher is told last.
  static constexpr std::string_view end_data = R"({"end":true})";

  live_feed(live_feed_settings settings, producer produce, const clock& time);
  /// As stop().
  ~live_feed();
  live_feed(const live_feed&) = delete;
  live_feed& operator=(const live_feed&) = delete;

  /// Begins the exchange's stream. Any thread, does not block. False: there are too many, or it is stopped; then the
  /// exchange has no answer.
  [[nodiscard]] bool add(std::shared_ptr<http::exchange> with);

  /// P-6. Not from the producer. A second call does nothing.
  void stop();

  /// Any thread.
  [[nodiscard]] std::size_t watchers() const;
  /// Snapshots so far. Any thread.
  [[nodiscard]] std::uint64_t produced() const;

private:
  struct watcher {
    std::shared_ptr<http::exchange> with;
    std::uint64_t told = 0; // number of its last snapshot; 0: none
  };

  void run();
  void produce(std::unique_lock<std::mutex>& lock);
  void tell_all();
  void tell(watcher& one) const;
  [[nodiscard]] bool is_fresh() const;

  const live_feed_settings settings_;
  const producer produce_;
  const clock& time_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<watcher> watchers_;     // as all below: guarded by mutex_
  std::string event_;                 // the last snapshot, as it is sent
  std::uint64_t number_ = 0;          // of it; 0: there is none
  std::optional<time_point> made_at_; // or when it could not be made
  bool is_stopped_ = false;
  std::thread thread_;
};

} // namespace vdist::actors
