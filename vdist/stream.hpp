// vdist/stream.hpp — what an engine generates for one request, token by token. Three ways to read, one per stream:
//
//   for (auto& event : *stream) { … }                   // blocks; then stream->status() says how it ended
//   while (auto item = stream->next(5s)) { … }          // blocks, with a deadline of its own; empty item: the end
//   stream->on_event([](stream_item item) { … });       // calls back on the engine's event thread
//   stream_item item = co_await stream->async_next(5s); // resumes on the engine's event thread
//
// T-1 Every token comes once and in order, and each sequence has one last event (its reason is not `none`): also when
//     workers die and come back in between, with the same tokens.
// T-2 A stream may outlive its engine. From the moment that the engine begins to close, whoever waits and whoever asks gets
//     `closed`, unless the stream has ended before; what was generated and not read by then is gone.
// T-3 A stream that is destroyed cancels what is left of its request.
// T-4 A slow reader costs bounded memory (max_tokens) and delays nobody.
//
// Threads: a stream has one reader at a time; cancel() may be called by any thread, also while the reader waits. The event
// thread is one per engine, shared by all its callbacks and coroutines: what they do until they return or suspend delays the
// others, so hand long work to threads of your own.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>

#include "vdist/expected.hpp"
#include "vdist/request.hpp"

namespace vdist {

namespace embedding { // not for users
class engine_core;
class stream_state;
} // namespace embedding

inline namespace v0 {

/// An event; empty: the stream has ended, all its sequences had their last event. Errors: timed_out (nothing came in time,
/// ask again), closed (T-2), invalid_argument (on_event() reads the stream).
using stream_item = expected<std::optional<token_event>>;

class stream {
public:
  class iterator;
  class next_awaiter;

  stream(stream&&) noexcept;            // the moved-from stream may be destroyed or assigned to
  stream& operator=(stream&&) noexcept; // as the destructor, then takes over
  /// T-3. A callback that runs on the event thread has returned when this does, unless it is what destroys the stream. Waits
  /// for nothing else.
  ~stream();

  /// Tokens of the prompt. Any thread.
  [[nodiscard]] std::int32_t prompt_tokens() const noexcept;
  /// n of the request. Any thread.
  [[nodiscard]] std::int32_t sequences() const noexcept;

  /// What the engine calls a sequence, 0 … n-1, for as long as there is this engine: layer_row::request_id. 0: there is no such
  /// sequence. Any thread.
  [[nodiscard]] std::uint64_t request_id(std::int32_t sequence) const noexcept;

  /// Waits for the next event, at most this long. By the reader.
  [[nodiscard]] stream_item next(std::chrono::nanoseconds timeout);

  /// Ends the request early: a last event `cancelled` follows for each sequence that has not ended. Any thread, any number of
  /// times; never blocks.
  void cancel() noexcept;

  /// From now on `handler` is called for every event on the engine's event thread, never two at a time for a stream; last with
  /// an empty item or an error, after which it is destroyed; at once and on the caller's thread when the engine has been
  /// closed before. It may cancel or destroy the stream; it must not throw (that ends the process). By the reader, once; from
  /// then on next() and async_next() are refused. Errors: invalid_argument (twice), resource_exhausted (no thread).
  [[nodiscard]] expected<void> on_event(std::function<void(stream_item item)> handler);

  /// `co_await stream.async_next(timeout)` gives what next() would, without blocking a thread. If something is there already
  /// the coroutine goes on at once, on its thread; else it resumes on the engine's event thread. By the reader. The stream
  /// lives until then; a coroutine that is destroyed while it waits waits no more, if the event thread does not resume it
  /// just then.
  [[nodiscard]] next_awaiter async_next(std::chrono::nanoseconds timeout);

  /// Input iterators over the events, as next(generate_request::event_timeout). The range ends with the stream or with the
  /// first error; status() says which. By the reader.
  [[nodiscard]] iterator begin();

  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// How reading went so far: an error that reading ended with, in whichever way, else the message of the first sequence
  /// that failed (as `internal`). A timed_out is forgotten when something came after it. By the reader.
  [[nodiscard]] expected<void> status() const;

  /// Reads to the end, at most until all of `timeout` has passed. By the reader. Error: as next(); what was read is lost then.
  [[nodiscard]] expected<generation> collect(std::chrono::nanoseconds timeout);

private:
  friend class embedding::engine_core;
  explicit stream(std::shared_ptr<embedding::stream_state> state) noexcept;

  std::shared_ptr<embedding::stream_state> state_; // null: moved from
};

/// One event at a time; copies share their place.
class stream::iterator {
public:
  using iterator_concept = std::input_iterator_tag;
  using iterator_category = std::input_iterator_tag;
  using value_type = token_event;
  using difference_type = std::ptrdiff_t;
  using pointer = token_event*;
  using reference = token_event&;

  iterator() = default;

  [[nodiscard]] token_event& operator*() const noexcept { return *event_; }

  [[nodiscard]] token_event* operator->() const noexcept { return event_.get(); }

  iterator& operator++();

  void operator++(int) { ++*this; }

  [[nodiscard]] friend bool operator==(const iterator& one, std::default_sentinel_t) noexcept {
    return one.event_ == nullptr;
  }

private:
  friend class stream;
  explicit iterator(stream& from);

  stream* from_ = nullptr;
  std::shared_ptr<token_event> event_; // null: the end
};

/// Of async_next(); to be awaited at once and once.
class stream::next_awaiter {
public:
  next_awaiter(const next_awaiter&) = delete;
  next_awaiter& operator=(const next_awaiter&) = delete;
  ~next_awaiter();

  [[nodiscard]] bool await_ready();
  /// False: something has come in between, the coroutine goes on without a detour.
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> waiting);
  [[nodiscard]] stream_item await_resume();

private:
  friend class stream;
  friend class embedding::stream_state;
  next_awaiter(std::shared_ptr<embedding::stream_state> state,
               std::chrono::nanoseconds timeout) noexcept;

  std::shared_ptr<embedding::stream_state> state_;
  std::chrono::nanoseconds timeout_;
  std::optional<stream_item> item_;
};

} // namespace v0
} // namespace vdist
