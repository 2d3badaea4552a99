// actors/front_door/delivery_lane.hpp — one thread that carries tokens from streams to clients: of all answers, each when it
// has something to carry. Nobody waits for it, and it waits for no client.
// L-1 An answer that is woken is carried after that, at least once, however often it is woken. L-2 deliver() of an
// answer is called by one thread at a time. L-3 an answer lives until it is over; what is left when the lane stops is
// dropped by its drop(). L-4 streams whose client may come back are kept until their time is over, then cancelled.
#pragma once

#include "actors/front_door/text_stream.hpp"

#include "runtime/base/clock.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

namespace vdist::actors {

/// An answer under way.
class deliverable {
public:
  virtual ~deliverable() = default;

  /// Carries what there is without waiting. True: it is over.
  [[nodiscard]] virtual bool deliver() = 0;

  /// It will not be carried any more; its sequences are nobody's.
  virtual void drop() = 0;

private:
  friend class delivery_lane;
  bool is_waiting_ = false; // in the lane's queue; guarded by its mutex
};

class delivery_lane {
public:
  /// `clock` measures L-4; borrowed.
  explicit delivery_lane(const clock& time);
  /// As stop().
  ~delivery_lane();
  delivery_lane(const delivery_lane&) = delete;
  delivery_lane& operator=(const delivery_lane&) = delete;

  /// Takes it in and wakes it. A lane that has stopped drops it.
  void add(std::shared_ptr<deliverable> answer);

  /// L-1. Any thread; does not block. Ignored when it is over.
  void wake(const std::shared_ptr<deliverable>& answer);

  /// L-4. Nobody reads these streams any more.
  void keep(std::vector<std::shared_ptr<text_stream>> streams, duration time);

  /// L-3; streams that are kept are cancelled. Not from the lane's own thread.
  void stop();

  /// Answers that are not over.
  [[nodiscard]] std::size_t size() const;

private:
  struct kept {
    time_point until;
    std::vector<std::shared_ptr<text_stream>> streams;
  };

  void run();
  void carry(const std::shared_ptr<deliverable>& answer);
  /// False: none was.
  bool cancel_overdue(std::unique_lock<std::mutex>& lock);

  const clock& time_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_set<std::shared_ptr<deliverable>> alive_; // as all below: guarded by mutex_
  std::deque<std::shared_ptr<deliverable>> waiting_;
  std::vector<kept> kept_;
  bool is_stopped_ = false;
  std::thread thread_;
};

/// Cancels what has not ended. Reads the stream to know it: a stream that another one has replaced has ended.
void cancel_unless_ended(text_stream& stream);

} // namespace vdist::actors
