// actors/gateway/event_pump.hpp — one thread that reads the events of all worker processes of a
// replica and hands each to its owner.
// G-1 Events of a source are handed over in order, one at a time, on the pump's thread or, the last
//     ones, on the thread that removes the source.
// G-3 Every source is looked at ten times a second or more often, also when it says nothing.
#pragma once

#include "transport/frame/bell.hpp"
#include "transport/frame/channel.hpp"
#include "transport/frame/wait_policy.hpp"

#include "runtime/base/progress_word.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace vdist::actors {

class event_pump {
public:
  using handler = std::function<void(const frame::frame_view&)>;
  using look = std::function<void()>;

  /// `bell` is rung after every event of any source; borrowed.
  event_pump(frame::bell& bell, const frame::wait_policy& waits) : bell_(bell), waits_(waits) {}

  /// From now on the reader belongs to the pump. Neither function may block or call the pump; `on_look` (G-3) may be empty.
  /// Any thread.
  [[nodiscard]] std::uint64_t
  add(std::unique_ptr<frame::frame_reader> reader, handler on_event, look on_look = {});

  /// Hands over what has arrived, then forgets the source. Any thread but the handler's.
  void remove(std::uint64_t source);

  /// The loop; returns after stop().
  void run();

  void stop();

  /// Whether the loop works or waits; any thread.
  [[nodiscard]] const progress_cell& progress() const { return progress_; }

private:
  struct source {
    std::unique_ptr<frame::frame_reader> reader;
    handler on_event;
    look on_look;
    bool is_over = false; // closed: nothing will come any more
  };

  [[nodiscard]] bool has_event() const;
  static void drain(source& from);

  frame::bell& bell_;
  frame::wait_policy waits_;
  mutable std::mutex mutex_;
  std::map<std::uint64_t, source> sources_; // guarded by mutex_
  std::uint64_t next_ = 1;                  // guarded by mutex_
  std::atomic<bool> is_stopping_{false};
  progress_cell progress_;
};

} // namespace vdist::actors
