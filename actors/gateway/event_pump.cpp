#include "actors/gateway/event_pump.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>

namespace vdist::actors {

namespace {

/// Longest sleep (G-3); events end it at once.
constexpr std::chrono::milliseconds rest_max{100};

} // namespace

std::uint64_t
event_pump::add(std::unique_ptr<frame::frame_reader> reader, handler on_event, look on_look) {
  const std::lock_guard lock(mutex_);
  sources_[next_] = {std::move(reader), std::move(on_event), std::move(on_look)};
  bell_.ring();
  return next_++;
}

void event_pump::remove(std::uint64_t source) {
  const std::lock_guard lock(mutex_);
  const auto found = sources_.find(source);
  if (found != sources_.end()) {
    drain(found->second);
    sources_.erase(found);
  }
}

void event_pump::run() {
  progress_word word(progress_);
  while (!is_stopping_) {
    word.enter(work_phase::waiting);
    // Whatever ends the wait, the sources are looked at and the loop goes on.
    (void)waits_.wait(bell_,
                      [this] { return is_stopping_ || has_event(); },
                      {.deadline = waits_.now() + rest_max});
    word.enter(work_phase::computing);
    const std::lock_guard lock(mutex_);
    for (auto& [number, from] : sources_) {
      drain(from);
      if (from.on_look) {
        from.on_look();
      }
    }
  }
  word.enter(work_phase::idle);
}

void event_pump::stop() {
  is_stopping_ = true;
  bell_.ring();
}

bool event_pump::has_event() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(sources_.begin(), sources_.end(), [](const auto& entry) {
    return !entry.second.is_over && entry.second.reader->has_frame();
  });
}

void event_pump::drain(source& from) {
  while (!from.is_over && from.reader->has_frame()) {
    const auto frame = from.reader->read(time_point{});
    if (frame) {
      from.on_event(*frame);
      continue;
    }
    if (frame.error().code != errc::timed_out) {
      log::warn("worker events: {}", frame.error().context);
    }
    // `aborted`: the writer claims an epoch of which these rings know none, and keeps that frame in front for ever.
    if (frame.error().code == errc::closed || frame.error().code == errc::aborted) {
      from.is_over = true;
      return;
    }
  }
}

} // namespace vdist::actors
