#include "vdist/embedding/stream_state.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "vdist/embedding/engine_core.hpp"
#include "vdist/embedding/translate.hpp"

namespace vdist::embedding {

namespace {

constexpr std::chrono::hours longest_wait{24 * 365};

engine_error closed() {
  return {error_code::closed, "stream: its engine has been closed"};
}

engine_error read_by_handler() {
  return {error_code::invalid_argument, "stream: on_event() reads it"};
}

engine_error timed_out() {
  return {error_code::timed_out, "stream: nothing came in time"};
}

} // namespace

steady_time deadline_after(std::chrono::nanoseconds timeout) {
  return std::chrono::steady_clock::now()
         + std::min<std::chrono::nanoseconds>(timeout, longest_wait);
}

stream_state::stream_state(stream_parts parts)
    : parts_(std::move(parts)), sequences_(parts_.sequences.size()) {}

std::shared_ptr<stream_state> stream_state::make(stream_parts parts) {
  std::shared_ptr<stream_state> made(
      new stream_state(std::move(parts))); // shared: stream, event thread, watchers
  for (std::size_t index = 0; index < made->sequences_.size(); ++index) {
    auto& one = made->sequences_[index];
    one.owner = made.get();
    one.index = index;
    one.text = std::move(made->parts_.sequences[index]);
  }
  for (auto& one : made->sequences_) { // from here on the router's thread calls
    one.text->watch(std::shared_ptr<actors::stream_watcher>(made, &one));
  }
  return made;
}

stream_state::~stream_state() {
  if (const auto engine = parts_.engine.lock()) {
    engine->forget(*this);
  }
}

std::uint64_t stream_state::request_id(std::int32_t sequence) const noexcept {
  const bool is_there = sequence >= 0 && sequence < sequences();
  return is_there ? sequences_[static_cast<std::size_t>(sequence)].text->id().value : 0;
}

void stream_state::on_ready(std::size_t index) {
  {
    std::unique_lock lock(mutex_);
    ready_.push_back(index);
    if (handler_ || awaiter_ != nullptr) {
      ask_to_be_served(lock);
      return;
    }
  }
  came_.notify_all();
}

bool stream_state::has_something() const {
  return has_ended_ || is_closed_ || !ready_.empty();
}

/// Unlocks. The event thread may end this object at once: nothing of it is used behind.
void stream_state::ask_to_be_served(std::unique_lock<std::mutex>& lock) {
  const bool is_first = !std::exchange(is_queued_, true);
  auto self = shared_from_this();
  lock.unlock();
  if (is_first) {
    parts_.events->add(std::move(self));
  }
}

std::optional<token_event> stream_state::take(std::size_t index) {
  const std::lock_guard reading(reading_);
  auto& one = sequences_[index];
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || one.has_ended) { // S-1
      return std::nullopt;
    }
  }
  auto chunk = one.text->take(std::numeric_limits<std::size_t>::max());
  if (!chunk || !*chunk) {
    return std::nullopt; // somebody has taken it before
  }
  auto event = to_event(static_cast<std::int32_t>(index), std::move(**chunk));
  if (event.reason != finish_reason::none) {
    one.has_ended = true;
    const std::lock_guard lock(mutex_);
    has_ended_ = ++ended_count_ == sequences_.size();
    if (event.reason == finish_reason::failed && last_error_) {
      last_error_ = engine_error{error_code::internal, event.message};
    }
  }
  return event;
}

std::optional<stream_item> stream_state::try_next() {
  while (true) {
    std::size_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      if (has_ended_) {
        return stream_item(std::optional<token_event>());
      }
      if (is_closed_) {
        return stream_item(closed());
      }
      if (ready_.empty()) {
        return std::nullopt;
      }
      index = ready_.front();
      ready_.pop_front();
    }
    auto event = take(index);
    if (event
        && (!event->token_ids.empty() || !event->text.empty()
            || event->reason != finish_reason::none)) {
      return stream_item(std::move(event));
    }
  }
}

stream_item stream_state::note(stream_item item) {
  const std::lock_guard lock(mutex_);
  if (!item) {
    last_error_ = item.error();
  } else if (!last_error_ && last_error_.error().code == error_code::timed_out) {
    last_error_ = {}; // it came after all
  }
  return item;
}

stream_item stream_state::next(std::chrono::nanoseconds timeout) {
  const auto deadline = deadline_after(timeout);
  while (true) {
    std::unique_lock lock(mutex_);
    if (is_read_by_handler_) {
      return read_by_handler();
    }
    const bool has_come = came_.wait_until(lock, deadline, [this] { return has_something(); });
    lock.unlock();
    if (auto item = try_next()) {
      return note(std::move(*item));
    }
    if (!has_come) {
      return note(timed_out());
    }
  }
}

expected<void> stream_state::status() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void stream_state::cancel() noexcept {
  const std::lock_guard reading(reading_);
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) { // S-1
      return;
    }
  }
  for (auto& one : sequences_) {
    if (!one.has_ended) {
      one.text->cancel();
    }
  }
}

void stream_state::close() {
  const std::lock_guard reading(reading_);
  std::unique_lock lock(mutex_);
  is_closed_ = true;
  came_.notify_all();
  if (handler_ || awaiter_ != nullptr) {
    ask_to_be_served(lock);
  }
}

/// The last reference may be that of the event thread, so this waits only for what the handler uses.
void stream_state::abandon() {
  cancel();
  std::shared_ptr<stream_handler> ended; // destroyed behind the lock: its captures may own much
  std::unique_lock lock(mutex_);
  ended = std::exchange(handler_, nullptr);
  if (!parts_.events->is_this_thread()) {
    came_.wait(lock, [this] { return !is_calling_; });
  }
  lock.unlock();
}

expected<void> stream_state::on_event(stream_handler handler) {
  if (!handler) {
    return engine_error{error_code::invalid_argument, "stream: on_event: there is no handler"};
  }
  if (!parts_.events->start()) {
    return engine_error{error_code::resource_exhausted,
                        "stream: on_event: no thread can be started"};
  }
  std::unique_lock lock(mutex_);
  if (std::exchange(is_read_by_handler_, true)) {
    return engine_error{error_code::invalid_argument, "stream: on_event: it has a handler already"};
  }
  handler_ = std::make_shared<stream_handler>(std::move(handler)); // shared with the call under way
  if (is_closed_) { // the event thread may have ended
    const auto last = std::exchange(handler_, nullptr);
    lock.unlock();
    (*last)(note(*try_next()));
  } else if (has_something()) {
    ask_to_be_served(lock);
  }
  return {};
}

void stream_state::serve() {
  bool has_handler = false;
  {
    const std::lock_guard lock(mutex_);
    is_queued_ = false;
    has_handler = handler_ != nullptr;
  }
  has_handler ? serve_handler() : serve_awaiter();
}

/// One item, so that streams take turns.
void stream_state::serve_handler() {
  auto item = try_next();
  if (!item) {
    return;
  }
  const bool is_last = !*item || !**item;
  std::unique_lock lock(mutex_);
  auto called = is_last ? std::exchange(handler_, nullptr) : handler_;
  if (!called) { // abandoned
    return;
  }
  is_calling_ = true;
  lock.unlock();
  (*called)(note(std::move(*item)));
  called.reset();
  lock.lock();
  is_calling_ = false;
  came_.notify_all();
  if (handler_ && has_something()) {
    ask_to_be_served(lock);
  }
}

bool stream_state::suspend(stream::next_awaiter& awaiter,
                           std::coroutine_handle<> waiting,
                           std::chrono::nanoseconds timeout) {
  if (!parts_.events->start()) {
    awaiter.item_ =
        note(engine_error{error_code::resource_exhausted, "stream: no thread can be started"});
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    if (is_read_by_handler_) {
      awaiter.item_ = stream_item(read_by_handler());
      return false;
    }
  }
  const auto deadline = deadline_after(timeout);
  while (true) {
    if (auto item = try_next()) {
      awaiter.item_ = note(std::move(*item));
      return false;
    }
    if (timeout <= std::chrono::nanoseconds(0)) {
      awaiter.item_ = note(timed_out());
      return false;
    }
    const std::lock_guard lock(mutex_);
    if (has_something()) {
      continue;
    }
    awaiter_ = &awaiter;
    waiting_ = waiting;
    deadline_ = deadline;
    parts_.events->watch(deadline, *this);
    return true; // from here on the event thread may resume it, and end it
  }
}

void stream_state::forget(const stream::next_awaiter& awaiter) {
  const std::lock_guard lock(mutex_);
  if (awaiter_ == &awaiter) {
    awaiter_ = nullptr;
    parts_.events->forget(deadline_, *this);
  }
}

void stream_state::serve_awaiter() {
  while (true) {
    std::unique_lock lock(mutex_);
    if (awaiter_ == nullptr) {
      return;
    }
    const bool is_late = std::chrono::steady_clock::now() >= deadline_;
    if (!has_something() && !is_late) {
      return; // another sequence's news, taken with those before
    }
    auto* const awaiter = std::exchange(awaiter_, nullptr); // ours alone from here on
    const auto waiting = waiting_;
    const auto deadline = deadline_;
    lock.unlock();
    auto item = try_next();
    if (!item && is_late) {
      item = stream_item(timed_out());
    }
    if (item) {
      parts_.events->forget(deadline, *this);
      awaiter->item_ = note(std::move(*item));
      waiting.resume();
      return;
    }
    lock.lock();
    awaiter_ = awaiter; // nothing after all
  }
}

} // namespace vdist::embedding
