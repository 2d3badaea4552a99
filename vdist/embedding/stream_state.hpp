// vdist/embedding/stream_state.hpp — what a vdist::stream is made of: the n sequences of a request, from the router's thread
// to whoever reads, in whichever way. Detokenizing is the reader's work (text_stream.hpp).
//
// S-1 Once close() has returned nothing of the engine is touched any more: neither by the reader nor by cancel().
// S-2 The router's thread never waits here: what it calls takes one short lock and wakes.
// S-3 A sequence is in `ready_` when it may have something; one look takes all that there is.
#pragma once

#include "actors/front_door/text_stream.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "vdist/embedding/event_thread.hpp"
#include "vdist/stream.hpp"

namespace vdist::embedding {

class engine_core;

using stream_handler = std::function<void(stream_item)>;

struct stream_parts {
  std::int32_t prompt_tokens = 0;
  std::chrono::milliseconds event_timeout{};
  std::vector<std::shared_ptr<actors::text_stream>> sequences; // at least one
  std::shared_ptr<event_thread> events;
  std::weak_ptr<engine_core> engine;
};

class stream_state : public std::enable_shared_from_this<stream_state> {
public:
  /// Begins to listen to its sequences.
  [[nodiscard]] static std::shared_ptr<stream_state> make(stream_parts parts);
  ~stream_state();
  stream_state(const stream_state&) = delete;
  stream_state& operator=(const stream_state&) = delete;

  [[nodiscard]] std::int32_t prompt_tokens() const { return parts_.prompt_tokens; }

  [[nodiscard]] std::int32_t sequences() const {
    return static_cast<std::int32_t>(sequences_.size());
  }

  /// 0: there is no such sequence. Any thread.
  [[nodiscard]] std::uint64_t request_id(std::int32_t sequence) const noexcept;

  [[nodiscard]] std::chrono::milliseconds event_timeout() const { return parts_.event_timeout; }

  [[nodiscard]] stream_item next(std::chrono::nanoseconds timeout);
  [[nodiscard]] expected<void> on_event(stream_handler handler);
  [[nodiscard]] expected<void> status() const;

  /// What there is now; nullopt: nothing yet.
  [[nodiscard]] std::optional<stream_item> try_next();
  /// False: it goes on at once, its item is set.
  [[nodiscard]] bool suspend(stream::next_awaiter& awaiter,
                             std::coroutine_handle<> waiting,
                             std::chrono::nanoseconds timeout);
  void forget(const stream::next_awaiter& awaiter);

  /// Any thread.
  void cancel() noexcept;
  /// The stream is destroyed: T-3.
  void abandon();
  /// The engine closes: S-1, T-2.
  void close();
  /// On the event thread only.
  void serve();

private:
  /// Tells which sequence it is about.
  struct sequence final : actors::stream_watcher {
    stream_state* owner = nullptr;
    std::size_t index = 0;
    std::shared_ptr<actors::text_stream> text;
    bool has_ended = false; // guarded by reading_

    void on_stream_ready() override { owner->on_ready(index); }
  };

  explicit stream_state(stream_parts parts);
  void on_ready(std::size_t index);
  [[nodiscard]] std::optional<token_event> take(std::size_t index);
  [[nodiscard]] bool has_something() const; // under mutex_
  void ask_to_be_served(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] stream_item note(stream_item item);
  void serve_handler();
  void serve_awaiter();

  stream_parts parts_;
  std::vector<sequence> sequences_; // never resized

  std::mutex reading_;          // held while a sequence is looked at or cancelled; before mutex_
  std::size_t ended_count_ = 0; // guarded by reading_

  mutable std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::size_t> ready_; // S-3; guarded by mutex_, as all below
  bool has_ended_ = false;
  bool is_closed_ = false;
  bool is_queued_ = false;                  // serve() will be called
  bool is_calling_ = false;                 // the handler runs
  bool is_read_by_handler_ = false;         // for ever
  std::shared_ptr<stream_handler> handler_; // null: none, or it has had its last call
  stream::next_awaiter* awaiter_ = nullptr;
  std::coroutine_handle<> waiting_;
  steady_time deadline_; // of the awaiter
  expected<void> last_error_;
};

/// Now + timeout; far in the future when that cannot be said.
[[nodiscard]] steady_time deadline_after(std::chrono::nanoseconds timeout);

} // namespace vdist::embedding
