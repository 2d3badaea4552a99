#include "tests/bench/serve/answer_reader.hpp"

#include "tests/bench/serve/chunk_facts.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

namespace vdist::bench::serve {

namespace {

using nlohmann::json;

constexpr std::size_t whole_bytes_max = std::size_t{64} << 20U;
constexpr std::size_t error_characters_max = 200;
constexpr std::string_view stream_end = "[DONE]";

const json* find(const json& from, const char* key) {
  if (!from.is_object()) {
    return nullptr;
  }
  const auto found = from.find(key);
  return found == from.end() || found->is_null() ? nullptr : &*found;
}

std::int64_t count_at(const json& from, const char* key, std::int64_t otherwise) {
  const auto* value = find(from, key);
  return value != nullptr && value->is_number_integer() ? value->get<std::int64_t>() : otherwise;
}

std::string error_of(const json& body) {
  const auto* error = find(body, "error");
  const auto* message = find(error != nullptr ? *error : body, "message");
  auto text = message != nullptr && message->is_string() ? message->get<std::string>()
              : error != nullptr                         ? error->dump()
                                                         : std::string();
  text.resize(std::min(text.size(), error_characters_max));
  return text;
}

} // namespace

std::string_view to_string(outcome how) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(outcome::count_of_outcomes)>
      names{"ok",
            "refused",
            "http_error",
            "stream_error",
            "cut",
            "malformed",
            "timed_out",
            "not_connected",
            "interrupted"};
  const auto index = static_cast<std::size_t>(how);
  return index < names.size() ? names[index] : "unknown";
}

void answer_reader::begin(int status, bool is_event_stream) {
  figures_.status = status;
  is_stream_ = is_event_stream;
}

void answer_reader::take(std::string_view body, time_point now) {
  if (!is_stream_) {
    body_.append(body.substr(0, whole_bytes_max - std::min(whole_bytes_max, body_.size())));
    figures_.last = now;
    return;
  }
  const bool is_legal =
      events_.feed(body, [this, now](std::string_view data) { take_event(data, now); });
  if (!is_legal && !std::exchange(has_failed_, true)) {
    figures_.how = outcome::malformed;
    figures_.error = "an event is too large";
  }
}

void answer_reader::take_event(std::string_view data, time_point now) {
  if (is_done_ || has_failed_) {
    return;
  }
  if (data == stream_end) {
    is_done_ = true;
    return;
  }
  const auto chunk = read_chunk(data);
  if (!chunk) {
    has_failed_ = true;
    figures_.how = outcome::malformed;
    figures_.error = "an event is no JSON object";
    return;
  }
  if (chunk->has_error) {
    has_failed_ = true;
    figures_.how = outcome::stream_error;
    figures_.error = error_of(json::parse(data, nullptr, false));
    return;
  }
  if (chunk->has_usage) {
    figures_.input_tokens = std::max(figures_.input_tokens, chunk->prompt_tokens);
    const auto more = chunk->completion_tokens - tokens_told_;
    if (more <= 0) {
      return;
    }
    tokens_told_ = chunk->completion_tokens;
    if (chunk->has_choice) {
      take_tokens(more, now);
    }
  } else if (chunk->has_choice && chunk->has_text) {
    take_tokens(1, now);
  }
}

void answer_reader::take_tokens(std::int64_t count, time_point now) {
  if (!figures_.first) {
    figures_.first = now;
  } else {
    figures_.gaps.push_back(
        {std::chrono::duration<double, std::milli>(now - *figures_.last).count(), count});
  }
  figures_.last = now;
  ++figures_.events;
}

void answer_reader::take_whole() {
  const auto body = json::parse(body_, nullptr, false);
  constexpr int status_ok = 200;
  constexpr int status_refused = 429;
  if (figures_.status != status_ok) {
    figures_.how = figures_.status == status_refused ? outcome::refused : outcome::http_error;
    figures_.error = error_of(body);
    return;
  }
  const auto* choices = find(body, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty()) {
    figures_.how = outcome::malformed;
    figures_.error = "the answer has no choices";
    return;
  }
  figures_.how = outcome::ok;
  if (const auto* usage = find(body, "usage")) {
    tokens_told_ = count_at(*usage, "completion_tokens", 0);
    figures_.input_tokens = count_at(*usage, "prompt_tokens", -1);
  }
}

answer_figures answer_reader::finish() {
  if (!is_stream_) {
    take_whole();
  } else if (!has_failed_) {
    figures_.how = is_done_ ? outcome::ok : outcome::cut;
  }
  figures_.output_tokens = tokens_told_ > 0 ? tokens_told_ : figures_.events;
  return std::move(figures_);
}

answer_figures answer_reader::give_up(outcome why) {
  if (!has_failed_) {
    figures_.how = why;
  }
  figures_.output_tokens = tokens_told_ > 0 ? tokens_told_ : figures_.events;
  return std::move(figures_);
}

} // namespace vdist::bench::serve
