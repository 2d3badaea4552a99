// actors/front_door/text_stream.hpp — one sequence's tokens, from the router's thread to the reader's, as text.
// The router pushes events into a queue; the reader takes them, detokenizes and looks for stop strings on its own thread,
// so a slow reader costs nobody else time.
//
// D-1 next() returns every token once, in order, and the end exactly once; text never ends inside a character.
// D-2 A stop string ends the sequence here; the router is asked to cancel the rest, and what still comes is dropped.
// D-3 The queue is bounded by the request's max_tokens.
// D-4 A watcher is told when the queue has something after it had nothing, also what was there before it watched: who
// takes until nothing is left misses nothing.
// D-5 What a sequence gives after k tokens does not depend on how many were taken at a time.
// push(), is_cancelled() and is_satisfied() by the router's thread; everything else by one reader thread at a time.
#pragma once

#include "actors/router/token_sink.hpp"

#include "runtime/api/result_file.hpp"
#include "runtime/api/sampling_params.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/text/detokenizer.hpp"
#include "runtime/text/stop_matcher.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace vdist::actors {

/// What has been generated since the last call.
struct text_chunk {
  std::string text; // final text; may be empty while characters are incomplete
  std::vector<token_id> token_ids;
  std::vector<api::position_logprobs> logprobs; // one per token when asked for
  protocol::finish_reason reason =
      protocol::finish_reason::none; // not none: this is the last chunk
  std::string message;               // of a failure
  token_id stop_token = -1;          // the id that ended the sequence, if one did
  std::string stop_string;           // the text that did; empty: none
};

/// Who wants to know that a stream has something. Called by the router's thread, or by watch(): must not block.
class stream_watcher {
public:
  virtual ~stream_watcher() = default;
  virtual void on_stream_ready() = 0;
};

/// When a sequence's tokens arrived here; unset: none yet. Steady clock of the process.
struct token_times {
  std::optional<time_point> first;
  std::optional<time_point> last;
};

struct text_stream_config {
  std::shared_ptr<const text::tokenizer> tokenizer; // null: no text, token ids only
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool wants_logprobs = false;
  bool continues_prompt = true; // SentencePiece models keep the space in front of the first word
};

class text_stream final : public token_sink {
public:
  /// Error: invalid_argument (stop strings).
  [[nodiscard]] static result<std::shared_ptr<text_stream>> make(const text_stream_config& config);

  void push(const protocol::token_event& event) override;

  [[nodiscard]] bool is_cancelled() const override { return is_cancelled_; }

  [[nodiscard]] bool is_satisfied() const override { return is_satisfied_; }

  /// What to call when the reader wants no more (set once, before reading).
  void on_cancel(std::function<void()> cancel) { cancel_ = std::move(cancel); }

  /// What the ledger and the rows of a watched layer call the sequence (set once, before reading); 0: not said.
  void set_id(request_id id) { id_ = id; }

  [[nodiscard]] request_id id() const { return id_; }

  /// Waits for tokens until the deadline. nullopt: nothing new (timed out). After the last chunk:
  /// errc::closed.
  [[nodiscard]] result<std::optional<text_chunk>> next(duration timeout);

  /// The same without waiting, of at most `tokens_max` tokens, which is at least 1.
  [[nodiscard]] result<std::optional<text_chunk>> take(std::size_t tokens_max);

  /// D-4. Replaces the watcher; nobody is told any more once it has been destroyed.
  void watch(std::weak_ptr<stream_watcher> watcher);

  /// The reader wants no more; the end (cancelled) still comes.
  void cancel();

  [[nodiscard]] token_times times() const;

private:
  explicit text_stream(const text_stream_config& config) : config_(config) {}

  [[nodiscard]] text_chunk read(const std::deque<protocol::token_event>& events);
  void add(const protocol::token_event& event, text_chunk& into);
  void add_text(std::string_view piece, text_chunk& into);
  [[nodiscard]] api::position_logprobs logprobs_of(const protocol::token_event& event) const;

  text_stream_config config_;
  std::optional<text::detokenizer> detokenizer_;
  std::optional<text::stop_matcher> matcher_;
  std::function<void()> cancel_;
  request_id id_;
  std::atomic<bool> is_cancelled_{false};
  std::atomic<bool> is_satisfied_{false};
  bool has_ended_ = false; // the last chunk was returned

  mutable std::mutex mutex_;
  std::condition_variable has_events_;
  std::deque<protocol::token_event> events_; // guarded by mutex_
  std::weak_ptr<stream_watcher> watcher_;    // guarded by mutex_
  token_times times_;                        // guarded by mutex_
};

} // namespace vdist::actors
