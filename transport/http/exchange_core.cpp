#include "transport/http/exchange_core.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <iterator>
#include <utility>

namespace vdist::http {

namespace {

constexpr refusal no_answer{500, "the request had no answer"};
constexpr refusal bad_answer{500, "the answer was not one that can be sent"};

/// a callback of the producer's, whose exceptions end here.
void run(const std::function<void()>& call) noexcept {
  try {
    if (call) {
      call();
    }
  } catch (const std::exception& cause) {
    log::error("http callback: exception (what={})", cause.what());
  } catch (...) {
    log::error("http callback: unknown exception");
  }
}

bool can_be_sent(int status, const std::vector<header>& headers) {
  return status >= 200 && status <= 599 && std::all_of(headers.begin(), headers.end(), is_legal);
}

} // namespace

exchange_core::exchange_core(std::shared_ptr<service> shared,
                             http::request asked,
                             answer_context context,
                             std::function<void()> wake)
    : shared_(std::move(shared)),
      asked_(std::move(asked)),
      context_(std::move(context)),
      wake_(std::move(wake)) {}

exchange_core::~exchange_core() {
  shared_->bodies_bytes.fetch_sub(asked_.body.size());
}

void exchange_core::wake_locked() {
  if (!is_woken_ && wake_) {
    is_woken_ = true;
    wake_();
  }
}

void exchange_core::count_locked(int status) {
  shared_->counts.answer(status);
  if (on_answer_) {
    std::exchange(on_answer_, nullptr)(status);
  }
}

exchange_core::released exchange_core::end_locked() {
  stage_ = stage::ended;
  return {std::exchange(on_drained_, nullptr), std::exchange(on_gone_, nullptr)};
}

std::function<void()> exchange_core::drained_locked() {
  const bool is_drained = on_drained_ && backlog_ <= shared_->config.bounds.output_low_bytes;
  return is_drained ? std::exchange(on_drained_, nullptr) : nullptr;
}

bool exchange_core::reply(response answer) {
  if (!can_be_sent(answer.status, answer.headers)) {
    answer = shared_->answer_to(bad_answer, refused_by::count_of_reasons);
  }
  released after;
  const std::lock_guard lock(mutex_);
  if (stage_ != stage::open) {
    return false;
  }
  after = end_locked();
  keeps_alive_ = context_.keeps_alive && !shared_->is_draining.load();
  count_locked(answer.status);
  if (!is_detached_) {
    append_answer(waiting_, answer, context_, keeps_alive_);
    backlog_ += waiting_.size();
    wake_locked();
  }
  return true;
}

bool exchange_core::start_stream(int status, std::vector<header> headers) {
  if (!can_be_sent(status, headers)) {
    reply(shared_->answer_to(bad_answer, refused_by::count_of_reasons));
    return false;
  }
  const std::lock_guard lock(mutex_);
  if (stage_ != stage::open) {
    return false;
  }
  stage_ = stage::streaming;
  is_chunked_ = !context_.is_http_1_0;
  has_body_ = has_body(status) && !context_.is_head;
  keeps_alive_ = is_chunked_ && context_.keeps_alive && !shared_->is_draining.load();
  count_locked(status);
  if (!is_detached_) {
    append_head(waiting_,
                status,
                headers,
                context_,
                is_chunked_ ? body_form::chunked : body_form::until_close,
                0,
                keeps_alive_);
    backlog_ += waiting_.size();
    wake_locked();
  }
  return true;
}

write_outcome exchange_core::write(std::string_view piece) {
  const std::lock_guard lock(mutex_);
  if (stage_ != stage::streaming) {
    return write_outcome::ended;
  }
  if (is_gone_) {
    return write_outcome::gone;
  }
  if (piece.empty() || !has_body_) {
    return write_outcome::accepted; // an empty chunk would be the last one
  }
  if (backlog_ >= shared_->config.bounds.output_high_bytes) {
    return write_outcome::full;
  }
  const auto before = waiting_.size();
  if (is_chunked_) {
    fmt::format_to(std::back_inserter(waiting_), "{:x}\r\n", piece.size());
  }
  waiting_ += piece;
  if (is_chunked_) {
    waiting_ += "\r\n";
  }
  backlog_ += waiting_.size() - before;
  wake_locked();
  return write_outcome::accepted;
}

void exchange_core::finish() {
  released after;
  const std::lock_guard lock(mutex_);
  if (stage_ != stage::streaming) {
    return;
  }
  after = end_locked();
  is_cut_ = is_gone_; // writes may have been refused: it must not look complete
  if (is_chunked_ && has_body_ && !is_cut_) {
    constexpr std::string_view last_chunk = "0\r\n\r\n";
    waiting_ += last_chunk;
    backlog_ += last_chunk.size();
  }
  wake_locked();
}

void exchange_core::abandon() {
  {
    released after;
    const std::lock_guard lock(mutex_);
    if (stage_ == stage::ended) {
      return;
    }
    if (stage_ == stage::streaming) {
      after = end_locked();
      is_cut_ = true;
      wake_locked();
      return;
    }
  }
  reply(shared_->answer_to(no_answer, refused_by::count_of_reasons));
}

std::size_t exchange_core::backlog_bytes() const {
  const std::lock_guard lock(mutex_);
  return backlog_;
}

void exchange_core::on_drained(std::function<void()> call) {
  const std::lock_guard lock(mutex_);
  if (stage_ == stage::ended || is_gone_) {
    return; // `call` is destroyed behind the lock, as a parameter
  }
  on_drained_.swap(call);
  if (backlog_ <= shared_->config.bounds.output_low_bytes) {
    wake_locked();
  }
}

void exchange_core::on_answer(std::function<void(int)> call) {
  const std::lock_guard lock(mutex_);
  if (stage_ == stage::open) {
    on_answer_ = std::move(call);
  }
}

void exchange_core::on_gone(std::function<void()> call) {
  {
    const std::lock_guard lock(mutex_);
    if (stage_ == stage::ended) {
      return;
    }
    if (!is_gone_) {
      on_gone_.swap(call);
      return;
    }
  }
  run(call);
}

bool exchange_core::is_gone() const {
  const std::lock_guard lock(mutex_);
  return is_gone_;
}

void exchange_core::woken() {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    is_woken_ = false;
    call = drained_locked();
  }
  run(call);
}

exchange_core::taken exchange_core::take(std::string& out) {
  const std::lock_guard lock(mutex_);
  out.swap(waiting_);
  return {.has_ended = stage_ == stage::ended,
          .is_cut = is_cut_,
          .is_chunked = is_chunked_,
          .keeps_alive = keeps_alive_};
}

void exchange_core::sent(std::size_t bytes) {
  std::function<void()> call;
  {
    const std::lock_guard lock(mutex_);
    backlog_ -= std::min(backlog_, bytes);
    call = drained_locked();
  }
  run(call);
}

void exchange_core::client_vanished() {
  std::function<void()> drained;
  std::function<void()> gone;
  {
    const std::lock_guard lock(mutex_);
    if (is_gone_ || stage_ == stage::ended) {
      return;
    }
    is_gone_ = true;
    drained.swap(on_drained_);
    gone.swap(on_gone_);
  }
  shared_->counts.add(shared_->counts.vanished);
  run(gone);
}

void exchange_core::detach() {
  client_vanished();
  std::string unsent;
  std::function<void()> wake;
  const std::lock_guard lock(mutex_);
  is_detached_ = true;
  is_gone_ = true;
  wake.swap(wake_);
  unsent.swap(waiting_);
  backlog_ = 0;
}

exchange::exchange(std::shared_ptr<exchange_core> core) noexcept : core_(std::move(core)) {}

exchange::~exchange() {
  core_->abandon();
}

const http::request& exchange::request() const noexcept {
  return core_->request();
}

bool exchange::reply(response answer) {
  return core_->reply(std::move(answer));
}

bool exchange::start_stream(int status, std::vector<header> headers) {
  return core_->start_stream(status, std::move(headers));
}

write_outcome exchange::write(std::string_view piece) {
  return core_->write(piece);
}

void exchange::finish() {
  core_->finish();
}

std::size_t exchange::backlog_bytes() const {
  return core_->backlog_bytes();
}

void exchange::on_drained(std::function<void()> call) {
  core_->on_drained(std::move(call));
}

void exchange::on_answer(std::function<void(int)> call) {
  core_->on_answer(std::move(call));
}

void exchange::on_gone(std::function<void()> call) {
  core_->on_gone(std::move(call));
}

bool exchange::is_gone() const {
  return core_->is_gone();
}

} // namespace vdist::http
