#include "vdist/inspection.hpp"

#include <utility>

#include "vdist/embedding/watch_state.hpp"

namespace vdist {
inline namespace v0 {

layer_watch::layer_watch(std::shared_ptr<embedding::watch_state> state) noexcept
    : state_(std::move(state)) {}

layer_watch::layer_watch(layer_watch&&) noexcept = default;

layer_watch& layer_watch::operator=(layer_watch&& other) noexcept {
  if (this != &other) {
    const layer_watch ended(std::exchange(state_, std::move(other.state_)));
  }
  return *this;
}

layer_watch::~layer_watch() {
  if (state_) {
    state_->end();
  }
}

expected<layer_row> layer_watch::next(std::chrono::nanoseconds timeout) {
  return state_->next(timeout);
}

std::uint64_t layer_watch::lost() const noexcept {
  return state_->lost();
}

} // namespace v0
} // namespace vdist
