#include "actors/supervisor/recovery_trace.hpp"

#include <utility>

namespace vdist::supervisor {

namespace {

/// M-2.
bool is_of_the_last(recovery_point point) {
  return point == recovery_point::quiesced || point == recovery_point::spawned
         || point == recovery_point::attached;
}

} // namespace

std::string_view to_string(recovery_point point) noexcept {
  switch (point) {
  case recovery_point::detected:
    return "detected";
  case recovery_point::fenced:
    return "fenced";
  case recovery_point::quiesced:
    return "quiesced";
  case recovery_point::spawned:
    return "spawned";
  case recovery_point::attached:
    return "attached";
  case recovery_point::begun:
    return "begun";
  case recovery_point::given_up:
    return "given up";
  }
  return "unknown";
}

recovery_trace::recovery_trace(recovery_observer observer) : observer_(std::move(observer)) {}

void recovery_trace::note(const recovery_mark& mark) {
  if (epochs_.empty() || epochs_.back().now < mark.now) {
    if (epochs_.size() == epochs_max) {
      epochs_.erase(epochs_.begin());
    }
    epochs_.push_back({.now = mark.now, .at = {}});
  }
  auto& known = epochs_.back().at[static_cast<std::size_t>(mark.what)];
  if (!known || is_of_the_last(mark.what)) {
    known = mark.at;
  }
  if (observer_) {
    observer_(mark);
  }
}

} // namespace vdist::supervisor
