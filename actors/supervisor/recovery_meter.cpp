#include "actors/supervisor/recovery_meter.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace vdist::supervisor {

namespace {

using metrics::recovery_phase;

/// The parts that a mark ends, in order.
constexpr std::array<std::pair<recovery_point, recovery_phase>, 5> parts{
    {{recovery_point::fenced, recovery_phase::fence},
     {recovery_point::quiesced, recovery_phase::quiesce},
     {recovery_point::spawned, recovery_phase::respawn},
     {recovery_point::attached, recovery_phase::rebuild},
     {recovery_point::begun, recovery_phase::restore}}};

std::int64_t ns_of(time_point at) {
  return std::chrono::nanoseconds(at.time_since_epoch()).count();
}

time_point at_ns(std::int64_t ns) {
  return time_point(std::chrono::duration_cast<duration>(std::chrono::nanoseconds(ns)));
}

} // namespace

void recovery_meter::note(const recovery_mark& mark, std::optional<time_point> busy_since) {
  const std::lock_guard lock(mutex_);
  if (mark.what == recovery_point::detected) {
    on_detected(mark, busy_since);
  }
  if (!open_) { // of a start
    return;
  }
  auto& known = open_->marks.at[static_cast<std::size_t>(mark.what)];
  if (!known || mark.what != recovery_point::detected) { // of what every worker does the last (M-2)
    known = mark.at;
  }
  if (mark.what == recovery_point::begun) {
    on_begun(mark);
  } else if (mark.what == recovery_point::given_up) {
    open_.reset();
    awaits_tokens_ = false;
  } else {
    open_->tokens_seen_ns = last_tokens_ns_.load(std::memory_order_relaxed);
    open_->last_tokens = std::max(open_->last_tokens, at_ns(open_->tokens_seen_ns));
  }
}

/// B-1, B-3.
void recovery_meter::on_detected(const recovery_mark& mark, std::optional<time_point> busy_since) {
  if (open_ && !open_->has_begun && open_->marks.now == mark.now) {
    return; // one more fault before its fence
  }
  awaits_tokens_ = false;
  const auto last_ns = last_tokens_ns_.load(std::memory_order_relaxed);
  if (!open_ || !open_->is_busy) {
    open_.emplace();
    open_->is_busy = busy_since.has_value();
    if (busy_since) {
      open_->last_tokens = std::max(at_ns(last_ns), *busy_since);
      into_.of(recovery_phase::detection).observe(mark.at - open_->last_tokens);
    }
  }
  open_->has_begun = false;
  open_->marks = {.now = mark.now, .at = {}};
}

void recovery_meter::on_begun(const recovery_mark& mark) {
  metrics::count(into_.recoveries);
  auto from = *open_->marks.of(recovery_point::detected);
  for (const auto& [point, phase] : parts) { // B-2
    if (const auto at = open_->marks.of(point)) {
      into_.of(phase).observe(*at - from);
      from = std::max(from, *at);
    }
  }
  if (!open_->is_busy) {
    open_.reset();
    return;
  }
  open_->has_begun = true;
  awaits_tokens_ = true;
  const auto last_ns = last_tokens_ns_.load();
  if (last_ns > open_->tokens_seen_ns) { // they were faster than this mark
    close(std::max(at_ns(last_ns), mark.at));
  } else {
    open_->last_tokens = std::max(open_->last_tokens, at_ns(last_ns));
  }
}

void recovery_meter::note_tokens(time_point now) {
  last_tokens_ns_ = ns_of(now);
  if (!awaits_tokens_) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (open_ && open_->has_begun) {
    close(now);
  }
}

/// mutex_ is held.
void recovery_meter::close(time_point first_tokens) {
  into_.of(recovery_phase::first_token)
      .observe(first_tokens - *open_->marks.of(recovery_point::begun));
  into_.of(recovery_phase::stall).observe(first_tokens - open_->last_tokens);
  open_.reset();
  awaits_tokens_ = false;
}

} // namespace vdist::supervisor
