#include "model/exec/layer_tap.hpp"

#include <algorithm>
#include <new>

namespace vdist::exec {

void layer_copy::begin_step() {
  order_.reset();
  if (tap_ == nullptr) {
    return;
  }
  const auto wanted = tap_->wanted();
  if (!wanted) {
    return;
  }
  const auto& layers = place_.layers;
  const bool is_mine = wanted->layer == embedding_output
                           ? place_.is_first_stage()
                           : wanted->layer >= layers.first && wanted->layer < layers.last;
  if (is_mine) {
    order_ = wanted;
    rows_ = 0;
  }
}

std::size_t layer_copy::layers_before() const noexcept {
  return static_cast<std::size_t>(order_->layer + 1 - place_.layers.first);
}

void layer_copy::copy(const float* stream, std::int32_t tokens) noexcept {
  const auto wanted = std::min(tokens, order_->rows_max);
  rows_ = has_room(wanted) ? wanted : 0;
  const auto floats = static_cast<std::size_t>(rows_) * static_cast<std::size_t>(width_);
  if (floats > 0) {
    queue_->copy_out(staging_.data(), stream, floats * sizeof(float));
  }
  mark_ = queue_->mark();
}

/// T-1: no memory for it, no rows. Rises to rows_max of the largest watch and stays.
bool layer_copy::has_room(std::int32_t rows) noexcept {
  if (rows <= staged_rows_) {
    return true;
  }
  try {
    staging_ = device_memory(); // before there is a second one
    staged_rows_ = 0;
    const auto bytes = static_cast<std::size_t>(order_->rows_max) * static_cast<std::size_t>(width_)
                       * sizeof(float);
    staging_ = device_memory(*queue_, bytes, memory_place::staging);
    staged_rows_ = order_->rows_max;
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

void layer_copy::hand_over(tapped_step step) const {
  step.layer = order_->layer;
  step.width = width_;
  step.rows = rows_;
  step.values = staging_.as<float>();
  tap_->take(step);
}

} // namespace vdist::exec
