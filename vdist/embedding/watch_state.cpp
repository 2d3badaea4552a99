#include "vdist/embedding/watch_state.hpp"

#include <utility>

#include "vdist/embedding/engine_core.hpp"
#include "vdist/embedding/stream_state.hpp"
#include "vdist/embedding/translate.hpp"

namespace vdist::embedding {

namespace {

engine_error closed() {
  return {error_code::closed, "watch layer: its engine has been closed"};
}

} // namespace

watch_state::watch_state(std::unique_ptr<actors::layer_watch> watch,
                         std::weak_ptr<engine_core> engine)
    : engine_(std::move(engine)), watch_(std::move(watch)) {}

expected<layer_row> watch_state::next(std::chrono::nanoseconds timeout) {
  const auto deadline = deadline_after(timeout);
  const std::lock_guard reading(reading_);
  if (!watch_) {
    return closed();
  }
  auto row = watch_->next(deadline - std::chrono::steady_clock::now());
  if (!row) {
    const std::lock_guard lock(mutex_);
    return is_refused_ ? closed() : to_public(row.error());
  }
  if (!*row) {
    return engine_error{error_code::timed_out, "watch layer: no row came in time"};
  }
  return to_public(std::move(**row));
}

std::uint64_t watch_state::lost() const noexcept {
  const std::lock_guard lock(mutex_);
  return is_refused_ ? lost_ : watch_->lost();
}

void watch_state::refuse() noexcept {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(is_refused_, true)) {
    watch_->close();
    lost_ = watch_->lost();
  }
}

void watch_state::end() noexcept {
  refuse(); // who reads lets go of the lock
  {
    const std::lock_guard reading(reading_);
    // Destroyed with `reading_` held: another end() returns behind it (W-2).
    std::unique_ptr<actors::layer_watch> ended;
    const std::lock_guard lock(mutex_);
    ended = std::move(watch_);
  }
  if (const auto engine = engine_.lock()) {
    engine->forget(*this);
  }
}

} // namespace vdist::embedding
