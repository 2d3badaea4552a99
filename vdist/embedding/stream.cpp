#include "vdist/stream.hpp"

#include <utility>

#include "vdist/embedding/stream_state.hpp"

namespace vdist {
inline namespace v0 {

stream::stream(std::shared_ptr<embedding::stream_state> state) noexcept
    : state_(std::move(state)) {}

stream::stream(stream&&) noexcept = default;

stream& stream::operator=(stream&& other) noexcept {
  if (this != &other) {
    const stream ended(std::exchange(state_, std::move(other.state_)));
  }
  return *this;
}

stream::~stream() {
  if (state_) {
    state_->abandon();
  }
}

std::int32_t stream::prompt_tokens() const noexcept {
  return state_->prompt_tokens();
}

std::int32_t stream::sequences() const noexcept {
  return state_->sequences();
}

std::uint64_t stream::request_id(std::int32_t sequence) const noexcept {
  return state_->request_id(sequence);
}

stream_item stream::next(std::chrono::nanoseconds timeout) {
  return state_->next(timeout);
}

void stream::cancel() noexcept {
  state_->cancel();
}

expected<void> stream::on_event(std::function<void(stream_item)> handler) {
  return state_->on_event(std::move(handler));
}

stream::next_awaiter stream::async_next(std::chrono::nanoseconds timeout) {
  return next_awaiter(state_, timeout);
}

stream::iterator stream::begin() {
  return iterator(*this);
}

expected<void> stream::status() const {
  return state_->status();
}

expected<generation> stream::collect(std::chrono::nanoseconds timeout) {
  const auto deadline = embedding::deadline_after(timeout);
  generation all{.prompt_tokens = prompt_tokens(),
                 .sequences = std::vector<completion>(static_cast<std::size_t>(sequences()))};
  while (true) {
    auto item = next(deadline - std::chrono::steady_clock::now());
    if (!item) {
      return std::move(item).error();
    }
    if (!*item) {
      return all;
    }
    auto& event = **item;
    auto& into = all.sequences.at(static_cast<std::size_t>(event.sequence));
    into.text += event.text;
    into.token_ids.insert(into.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    std::move(event.logprobs.begin(), event.logprobs.end(), std::back_inserter(into.logprobs));
    into.reason = event.reason;
    into.message = std::move(event.message);
  }
}

stream::iterator::iterator(stream& from) : from_(&from) {
  ++*this;
}

stream::iterator& stream::iterator::operator++() {
  auto item = from_->next(from_->state_->event_timeout());
  event_ = item && *item ? std::make_shared<token_event>(std::move(**item)) : nullptr;
  return *this;
}

stream::next_awaiter::next_awaiter(std::shared_ptr<embedding::stream_state> state,
                                   std::chrono::nanoseconds timeout) noexcept
    : state_(std::move(state)), timeout_(timeout) {}

stream::next_awaiter::~next_awaiter() {
  state_->forget(*this);
}

bool stream::next_awaiter::await_ready() {
  return false; // await_suspend() looks once, with what it needs to wait
}

bool stream::next_awaiter::await_suspend(std::coroutine_handle<> waiting) {
  return state_->suspend(*this, waiting, timeout_);
}

stream_item stream::next_awaiter::await_resume() {
  return std::move(*item_);
}

} // namespace v0
} // namespace vdist
