#include "actors/front_door/text_stream.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace vdist::actors {

using protocol::finish_reason;

result<std::shared_ptr<text_stream>> text_stream::make(const text_stream_config& config) {
  std::shared_ptr<text_stream> stream(
      new text_stream(config)); // shared: the router pushes, the reader reads
  VDIST_ASSIGN(stream->matcher_,
               text::stop_matcher::make(config.stop,
                                        config.include_stop ? text::stop_string_output::include
                                                            : text::stop_string_output::exclude));
  if (config.tokenizer) {
    stream->detokenizer_.emplace(config.tokenizer,
                                 config.skip_special_tokens ? text::special_tokens_output::skip
                                                            : text::special_tokens_output::keep,
                                 config.continues_prompt ? text::text_start::continues
                                                         : text::text_start::begins);
  }
  return stream;
}

void text_stream::push(const protocol::token_event& event) {
  std::shared_ptr<stream_watcher> told; // behind the lock, where it may also end
  {
    const std::lock_guard lock(mutex_);
    told = events_.empty() ? watcher_.lock() : nullptr;
    events_.push_back(event);
    if (event.token >= 0) {
      times_.last = std::chrono::steady_clock::now();
      times_.first = times_.first.value_or(*times_.last);
    }
  }
  has_events_.notify_one();
  if (told) {
    told->on_stream_ready();
  }
}

void text_stream::watch(std::weak_ptr<stream_watcher> watcher) {
  std::shared_ptr<stream_watcher> told;
  {
    const std::lock_guard lock(mutex_);
    watcher_ = std::move(watcher);
    told = events_.empty() ? nullptr : watcher_.lock();
  }
  if (told) {
    told->on_stream_ready();
  }
}

result<std::optional<text_chunk>> text_stream::next(duration timeout) {
  if (has_ended_) {
    return fail(errc::closed, "stream: it has ended");
  }
  std::deque<protocol::token_event> events;
  {
    std::unique_lock lock(mutex_);
    if (!has_events_.wait_for(lock, timeout, [this] { return !events_.empty(); })) {
      return std::optional<text_chunk>();
    }
    events.swap(events_);
  }
  return std::optional(read(events));
}

result<std::optional<text_chunk>> text_stream::take(std::size_t tokens_max) {
  if (has_ended_) {
    return fail(errc::closed, "stream: it has ended");
  }
  std::deque<protocol::token_event> events;
  {
    const std::lock_guard lock(mutex_);
    if (events_.size() <= tokens_max) {
      events.swap(events_);
    } else {
      const auto end = events_.begin() + static_cast<std::ptrdiff_t>(tokens_max);
      std::move(events_.begin(), end, std::back_inserter(events));
      events_.erase(events_.begin(), end);
    }
  }
  return events.empty() ? std::optional<text_chunk>() : std::optional(read(events));
}

text_chunk text_stream::read(const std::deque<protocol::token_event>& events) {
  text_chunk chunk;
  for (const auto& event : events) {
    add(event, chunk);
    if (chunk.reason != finish_reason::none) {
      has_ended_ = true;
      break;
    }
  }
  return chunk;
}

void text_stream::cancel() {
  is_cancelled_ = true; // before the message, which may be lost (O-7)
  if (cancel_) {
    cancel_();
  }
}

token_times text_stream::times() const {
  const std::lock_guard lock(mutex_);
  return times_;
}

void text_stream::add(const protocol::token_event& event, text_chunk& into) {
  if (event.token >= 0) {
    into.token_ids.push_back(event.token);
    if (config_.wants_logprobs) {
      into.logprobs.push_back(logprobs_of(event));
    }
    // A token that ended the sequence by its id is reported but is no part of the text.
    if (detokenizer_ && event.stop_token < 0) {
      add_text(detokenizer_->push(event.token), into);
    }
  }
  if (into.reason == finish_reason::none && event.reason != finish_reason::none) {
    if (detokenizer_) {
      add_text(detokenizer_->flush(), into);
      into.text += matcher_->flush();
    }
    if (into.reason == finish_reason::none) {
      into.reason = event.reason;
      into.message = event.message;
      into.stop_token = event.stop_token;
    }
  }
}

/// D-2.
void text_stream::add_text(std::string_view piece, text_chunk& into) {
  into.text += matcher_->push(piece);
  if (matcher_->match() && into.reason == finish_reason::none) {
    into.reason = finish_reason::stop;
    into.stop_string = config_.stop.at(*matcher_->match());
    is_satisfied_ = true;
    cancel();
  }
}

api::position_logprobs text_stream::logprobs_of(const protocol::token_event& event) const {
  const auto info = [this](token_id id, float logprob) {
    return api::token_info{
        .id = id,
        .text = config_.tokenizer ? std::string(config_.tokenizer->token_text(id)) : std::string(),
        .logprob = logprob};
  };
  api::position_logprobs position{.chosen = info(event.token, event.logprob), .top = {}};
  for (const auto& alternative : event.top) {
    position.top.push_back(info(alternative.token, alternative.logprob));
  }
  return position;
}

} // namespace vdist::actors
