// actors/front_door/generation_answer.hpp — the answer to one completion or chat: from the token streams of its choices to
// the client, as server-sent events or as one whole.
//
// G-1 A choice's text, tokens and end are told once and in order; whoever resumes gets what follows its event, byte for
// byte as it would have been. G-2 Nothing is taken from a stream while the client does not take what it was sent: a
// slow reader keeps one piece in memory besides the exchange's bound, and tokens wait in their stream. G-3 When the
// client has gone, sequences that have not ended are cancelled, or kept for a while if the client may come back.
// G-4 An answer ends once: complete, as an error (an event when the stream has begun), or cut when it is dropped.
// Made by any thread; then carried by its delivery lane.
#pragma once

#include "actors/front_door/delivery_lane.hpp"
#include "actors/front_door/serving_backend.hpp"
#include "actors/front_door/text_stream.hpp"

#include "transport/http/exchange.hpp"

#include "runtime/api/openai/chunk_writer.hpp"
#include "runtime/api/openai/request.hpp"
#include "runtime/api/openai/response.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vdist::actors {

/// What has been asked for.
struct answer_plan {
  bool is_chat = false;
  bool is_stream = false;
  api::openai::stream_options streaming;
  api::openai::response_head head;
  std::vector<http::header> headers; // besides the type of the content
  bool has_logprobs = false;
  std::vector<token_id> stop_token_ids; // that the request names
  std::vector<std::string> echoes;      // by choice: text in front of it; empty: none
  std::vector<std::uint32_t> resumed;   // by choice: what the client has (event_id.hpp) …
  bool is_resumed = false;              // … if it has anything
  bool may_return = false;              // the client named the request
  duration return_time{};               // G-3
  std::int64_t prompt_tokens = 0;       // of all prompts
  std::shared_ptr<const text::tokenizer>
      tokenizer; // null: texts of log probabilities stay as they are
};

class generation_answer final : public deliverable,
                                public stream_watcher,
                                public std::enable_shared_from_this<generation_answer> {
public:
  /// Begins the answer; `streams`: one per choice, unread. The lane owns it from now on.
  static void begin(std::shared_ptr<http::exchange> exchange,
                    answer_plan plan,
                    std::vector<std::shared_ptr<text_stream>> streams,
                    std::shared_ptr<delivery_lane> lane);

  [[nodiscard]] bool deliver() override;
  void drop() override;
  void on_stream_ready() override;

private:
  struct choice {
    std::shared_ptr<text_stream> stream;
    std::uint32_t told = 0;     // what the client has of an earlier answer, as in event_id.hpp
    std::size_t tokens = 0;     // taken
    std::size_t characters = 0; // of text, taken
    bool has_ended = false;
    // Of whole answers:
    std::string text;
    std::vector<api::position_logprobs> logprobs;
    protocol::finish_reason reason = protocol::finish_reason::none;
    token_id stop_token = -1;
    std::string stop_string;
  };

  generation_answer(std::shared_ptr<http::exchange> exchange,
                    answer_plan plan,
                    std::vector<std::shared_ptr<text_stream>> streams,
                    std::shared_ptr<delivery_lane> lane);

  [[nodiscard]] std::optional<text_chunk> take(choice& from);
  [[nodiscard]] bool deliver_stream();
  [[nodiscard]] bool deliver_whole();
  [[nodiscard]] bool write_choice(std::size_t index);
  void write_beginnings();
  void write_chunk(std::size_t index, const text_chunk& chunk);
  void write_end();
  [[nodiscard]] bool send();
  void keep_whole(choice& into, text_chunk chunk);
  void reply_whole();
  void fail_with(const text_chunk& cause);
  void leave();
  void name_tokens(std::vector<api::position_logprobs>& positions) const;
  [[nodiscard]] api::openai::choice_text text_of(std::size_t index,
                                                 std::string_view text,
                                                 token_id stop_token,
                                                 std::string_view stop) const;
  [[nodiscard]] api::openai::usage usage() const;
  [[nodiscard]] bool has_ended() const;

  const std::shared_ptr<http::exchange> exchange_; // shared with its connection
  const answer_plan plan_;
  const std::shared_ptr<delivery_lane>
      lane_; // shared: streams may tell us after the front door has gone
  const api::openai::chunk_writer writer_;
  std::vector<choice> choices_;
  std::vector<std::uint32_t> progress_; // by choice; what an event's id says
  std::string data_;                    // of one event; kept for its memory
  std::string piece_;                   // events that the exchange has not accepted yet
  bool has_begun_ = false;
  bool is_complete_ = false; // piece_ is the last one
};

} // namespace vdist::actors
