#include "actors/front_door/generation_answer.hpp"

#include "actors/front_door/event_id.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/whole_response.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace vdist::actors {

namespace {

namespace openai = api::openai;
using protocol::finish_reason;

/// Taken of one stream at a time: bounds a piece.
constexpr std::size_t chunk_tokens_max = 256;

openai::api_error error_of(const text_chunk& end, bool was_named) {
  if (end.reason == finish_reason::failed) {
    return openai::of_engine(fail(errc::internal, "request: " + end.message));
  }
  auto cancelled =
      openai::of_engine(fail(errc::cancelled, "request: it was cancelled before its end"));
  if (was_named) { // to try it again would find the same
    cancelled.status = 409;
    cancelled.message += "; send it under another Idempotency-Key";
  }
  return cancelled;
}

} // namespace

generation_answer::generation_answer(std::shared_ptr<http::exchange> exchange,
                                     answer_plan plan,
                                     std::vector<std::shared_ptr<text_stream>> streams,
                                     std::shared_ptr<delivery_lane> lane)
    : exchange_(std::move(exchange)),
      plan_(std::move(plan)),
      lane_(std::move(lane)),
      writer_(plan_.is_chat ? openai::chunk_writer::kind::chat
                            : openai::chunk_writer::kind::completion,
              plan_.head,
              plan_.streaming),
      choices_(streams.size()),
      progress_(streams.size()) {
  for (std::size_t i = 0; i < streams.size(); ++i) {
    choices_[i].stream = std::move(streams[i]);
    choices_[i].told = plan_.is_resumed ? plan_.resumed.at(i) : 0;
  }
}

void generation_answer::begin(std::shared_ptr<http::exchange> exchange,
                              answer_plan plan,
                              std::vector<std::shared_ptr<text_stream>> streams,
                              std::shared_ptr<delivery_lane> lane) {
  const std::shared_ptr<generation_answer> made(new generation_answer(
      std::move(exchange), std::move(plan), std::move(streams), std::move(lane)));
  if (made->plan_.is_stream) {
    auto headers = made->plan_.headers;
    headers.push_back({"content-type", "text/event-stream; charset=utf-8"});
    headers.push_back({"cache-control", "no-cache"});
    headers.push_back({"x-accel-buffering", "no"}); // proxies pass each event on
    made->exchange_->start_stream(200, std::move(headers));
  }
  made->lane_->add(made);
  made->exchange_->on_gone([weak = made->weak_from_this()] {
    if (const auto answer = weak.lock()) {
      answer->on_stream_ready();
    }
  });
  for (const auto& one : made->choices_) {
    one.stream->watch(std::weak_ptr<stream_watcher>(made));
  }
}

void generation_answer::on_stream_ready() {
  lane_->wake(shared_from_this());
}

bool generation_answer::deliver() {
  if (exchange_->is_gone()) {
    leave();
    return true;
  }
  return plan_.is_stream ? deliver_stream() : deliver_whole();
}

void generation_answer::drop() {
  for (const auto& one : choices_) {
    if (!one.has_ended) {
      cancel_unless_ended(*one.stream);
    }
  }
  if (!plan_.is_stream) {
    http::response answer{
        .status = 503, .headers = {{"content-type", "application/json"}}, .body = {}};
    openai::append_error(answer.body,
                         openai::of_engine(fail(errc::closed, "server: it is closing")));
    exchange_->reply(std::move(answer));
  }
}

/// The next of a choice that the client does not have. nullopt: nothing now.
std::optional<text_chunk> generation_answer::take(choice& from) {
  while (!from.has_ended) {
    const bool is_known = from.tokens < from.told;
    const auto most = is_known ? std::min<std::size_t>(chunk_tokens_max, from.told - from.tokens)
                               : chunk_tokens_max;
    auto taken = from.stream->take(most);
    if (!taken || !*taken) {
      return std::nullopt;
    }
    auto chunk = std::move(**taken);
    from.tokens += chunk.token_ids.size();
    from.has_ended = chunk.reason != finish_reason::none;
    if (!is_known) {
      return chunk;
    }
    from.characters += api::count_characters(chunk.text);
    chunk.text.clear();
    chunk.logprobs.clear();
    if (from.has_ended && from.told <= from.tokens) {
      return chunk; // its end is not known
    }
  }
  return std::nullopt;
}

bool generation_answer::deliver_stream() {
  if (!piece_.empty() && !send()) {
    return false;
  }
  if (!has_begun_) {
    has_begun_ = true;
    write_beginnings();
    if (!send()) {
      return false;
    }
  }
  for (std::size_t i = 0; i < choices_.size() && !is_complete_; ++i) {
    if (!write_choice(i)) {
      return false;
    }
  }
  if (!is_complete_ && has_ended()) {
    write_end();
    if (!send()) {
      return false;
    }
  }
  if (!is_complete_) {
    return false;
  }
  exchange_->finish();
  return true;
}

/// All that a choice has now. False: the client must take something first.
bool generation_answer::write_choice(std::size_t index) {
  while (const auto chunk = take(choices_[index])) {
    if (chunk->reason == finish_reason::failed || chunk->reason == finish_reason::cancelled) {
      fail_with(*chunk);
      return send();
    }
    write_chunk(index, *chunk);
    if (!send()) {
      return false;
    }
  }
  return true;
}

/// What stands in front of the first token. Only the last of these events has an id: who has it, has all.
void generation_answer::write_beginnings() {
  if (plan_.is_resumed) {
    return;
  }
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    data_.clear();
    if (plan_.is_chat) {
      writer_.begin(data_, static_cast<std::int32_t>(i), usage());
    } else if (!plan_.echoes.empty()) {
      writer_.add(data_, text_of(i, plan_.echoes[i], -1, {}), usage());
      choices_[i].characters += api::count_characters(plan_.echoes[i]);
    }
    if (data_.empty()) {
      continue;
    }
    if (i + 1 == choices_.size()) {
      append_event(piece_, progress_, data_);
    } else {
      append_event(piece_, data_);
    }
  }
}

void generation_answer::write_chunk(std::size_t index, const text_chunk& chunk) {
  auto& from = choices_[index];
  progress_[index] = static_cast<std::uint32_t>(from.tokens) + (from.has_ended ? 1 : 0);
  if (chunk.text.empty() && chunk.logprobs.empty() && !from.has_ended) {
    return; // characters are incomplete
  }
  auto positions = chunk.logprobs;
  name_tokens(positions);
  auto text = text_of(index, chunk.text, chunk.stop_token, chunk.stop_string);
  if (plan_.has_logprobs) {
    text.logprobs = positions;
  }
  text.reason = chunk.reason;
  data_.clear();
  writer_.add(data_, text, usage());
  append_event(piece_, progress_, data_);
  from.characters += api::count_characters(chunk.text);
}

void generation_answer::write_end() {
  data_.clear();
  writer_.finish(data_, usage());
  if (!data_.empty()) {
    append_event(piece_, data_);
  }
  append_event(piece_, openai::stream_end);
  is_complete_ = true;
}

/// G-2. False: not now; somebody will wake us.
bool generation_answer::send() {
  switch (exchange_->write(piece_)) {
  case http::write_outcome::accepted:
    piece_.clear();
    return true;
  case http::write_outcome::full:
    exchange_->on_drained([weak = weak_from_this()] {
      if (const auto answer = weak.lock()) {
        answer->on_stream_ready();
      }
    });
    return false;
  case http::write_outcome::gone: // on_gone() wakes us
  case http::write_outcome::ended:
    break;
  }
  return false;
}

bool generation_answer::deliver_whole() {
  for (auto& one : choices_) {
    while (auto chunk = take(one)) {
      if (chunk->reason == finish_reason::failed || chunk->reason == finish_reason::cancelled) {
        fail_with(*chunk);
        return true;
      }
      keep_whole(one, std::move(*chunk));
    }
  }
  if (!has_ended()) {
    return false;
  }
  reply_whole();
  return true;
}

void generation_answer::keep_whole(choice& into, text_chunk chunk) {
  name_tokens(chunk.logprobs);
  into.text += chunk.text;
  into.logprobs.insert(into.logprobs.end(),
                       std::make_move_iterator(chunk.logprobs.begin()),
                       std::make_move_iterator(chunk.logprobs.end()));
  into.reason = chunk.reason;
  into.stop_token = chunk.stop_token;
  into.stop_string = std::move(chunk.stop_string);
}

void generation_answer::reply_whole() {
  std::vector<openai::choice_text> all;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    auto& one = choices_[i];
    if (!plan_.echoes.empty()) {
      one.text.insert(0, plan_.echoes[i]);
    }
    all.push_back(text_of(i, one.text, one.stop_token, one.stop_string));
    all.back().text_offset = 0;
    all.back().reason = one.reason;
    if (plan_.has_logprobs) {
      all.back().logprobs = one.logprobs;
    }
  }
  http::response answer{.status = 200, .headers = plan_.headers, .body = {}};
  answer.headers.push_back({"content-type", "application/json"});
  (plan_.is_chat ? openai::append_chat
                 : openai::append_completion)(answer.body, plan_.head, all, usage());
  exchange_->reply(std::move(answer));
}

/// G-4. The other sequences are left as if the client had gone: one of them may have a reader that has come back.
void generation_answer::fail_with(const text_chunk& cause) {
  const auto told = error_of(cause, plan_.may_return);
  leave();
  data_.clear();
  openai::append_error(data_, told);
  is_complete_ = true;
  if (plan_.is_stream) {
    append_event(piece_, data_);
    return;
  }
  http::response answer{.status = told.status, .headers = plan_.headers, .body = data_};
  answer.headers.push_back({"content-type", "application/json"});
  exchange_->reply(std::move(answer));
}

/// G-3.
void generation_answer::leave() {
  std::vector<std::shared_ptr<text_stream>> left;
  for (auto& one : choices_) {
    if (!std::exchange(one.has_ended, true)) {
      left.push_back(one.stream);
    }
  }
  if (left.empty()) {
    return;
  }
  if (plan_.may_return) {
    lane_->keep(std::move(left), plan_.return_time);
    return;
  }
  for (const auto& stream : left) {
    cancel_unless_ended(*stream);
  }
}

/// Clients expect text, where a vocabulary has a form of its own ("Ġthe").
void generation_answer::name_tokens(std::vector<api::position_logprobs>& positions) const {
  if (!plan_.tokenizer) {
    return;
  }
  const auto name = [this](api::token_info& one) {
    one.text = plan_.tokenizer->decode(std::span(&one.id, 1), text::special_tokens_output::keep);
  };
  for (auto& position : positions) {
    name(position.chosen);
    std::for_each(position.top.begin(), position.top.end(), name);
  }
}

openai::choice_text generation_answer::text_of(std::size_t index,
                                               std::string_view text,
                                               token_id stop_token,
                                               std::string_view stop) const {
  openai::choice_text made{.index = static_cast<std::int32_t>(index),
                           .text = text,
                           .logprobs = std::nullopt,
                           .stopped_by = {},
                           .text_offset = choices_[index].characters};
  const auto& named = plan_.stop_token_ids;
  if (!stop.empty()) {
    made.stopped_by = stop;
  } else if (std::find(named.begin(), named.end(), stop_token) != named.end()) {
    made.stopped_by = stop_token;
  }
  return made;
}

openai::usage generation_answer::usage() const {
  openai::usage spent{.prompt_tokens = plan_.prompt_tokens};
  for (const auto& one : choices_) {
    spent.completion_tokens += static_cast<std::int64_t>(one.tokens);
  }
  return spent;
}

bool generation_answer::has_ended() const {
  return std::all_of(
      choices_.begin(), choices_.end(), [](const auto& one) { return one.has_ended; });
}

} // namespace vdist::actors
