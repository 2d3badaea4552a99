#include "actors/executor/step_inbox.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::actors {

void step_commands::clear() {
  requests.clear();
  cancels.clear();
  begin.reset();
  lifted.reset();
}

/// True: its first copy had not been taken yet, and is replaced (I-1). Needs mutex_.
bool step_inbox::replace(const std::shared_ptr<const protocol::request>& request) {
  if (newest_ < request->id) {
    return false;
  }
  const auto found =
      std::find_if(arrived_.requests.begin(),
                   arrived_.requests.end(),
                   [&request](const auto& other) { return other->id == request->id; });
  if (found == arrived_.requests.end()) {
    return false;
  }
  *found = request;
  return true;
}

result<void> step_inbox::add(std::shared_ptr<const protocol::request> request) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || replace(request)) {
      return {};
    }
    if (arrived_.requests.size() >= requests_max_) {
      return fail(errc::queue_full, fmt::format("step inbox: full (limit={})", requests_max_));
    }
    newest_ = std::max(newest_, request->id);
    arrived_.requests.push_back(std::move(request));
    has_any_ = true;
  }
  door_.ring();
  return {};
}

void step_inbox::cancel(request_id id) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) {
      return;
    }
    arrived_.cancels.push_back(id);
    has_any_ = true;
  }
  door_.ring();
}

void step_inbox::begin(begin_epoch message) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || message.now < begun_) {
      return;
    }
    begun_ = message.now;
    if (arrived_.begin) {
      message.death = std::move(arrived_.begin->death);
    }
    arrived_.begin = std::move(message);
    arrived_.lifted.reset(); // of the epoch before, if at all
    has_any_ = true;
  }
  door_.ring();
}

void step_inbox::lift(epoch now) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || now != begun_) {
      return;
    }
    arrived_.lifted = now;
    has_any_ = true;
  }
  door_.ring();
}

void step_inbox::stop() {
  {
    const std::lock_guard lock(mutex_);
    has_any_ = true;
  }
  door_.ring();
}

std::uint32_t step_inbox::reset() {
  const std::lock_guard lock(mutex_);
  arrived_.clear();
  newest_ = {};
  has_any_ = false;
  return ++reader_;
}

void step_inbox::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  arrived_ = {};
  newest_ = {};
}

void step_inbox::take(step_commands& out, std::uint32_t reader) {
  out.clear();
  if (!has_any_.load()) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (reader != reader_) {
    return;
  }
  std::swap(arrived_, out);
  newest_ = {};
  has_any_ = false;
}

void step_inbox::wait(const frame::wait_policy& waits, time_point deadline) {
  // Whatever ends the wait, the caller looks at the inbox next.
  static_cast<void>(waits.wait(door_, [this] { return has_any_.load(); }, {.deadline = deadline}));
}

} // namespace vdist::actors
