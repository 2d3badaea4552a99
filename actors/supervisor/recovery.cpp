#include "actors/supervisor/recovery.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::supervisor {

std::string_view to_string(slot_state state) noexcept {
  switch (state) {
  case slot_state::loading:
    return "loading";
  case slot_state::idle:
    return "idle";
  case slot_state::running:
    return "running";
  case slot_state::quiescing:
    return "quiescing";
  case slot_state::dying:
    return "dying";
  }
  return "unknown";
}

recovery::recovery(const recovery_config& config)
    : config_(config), epoch_(1), slots_(static_cast<std::size_t>(config.slots)) {}

void recovery::start(time_point now) {
  for (std::int32_t slot = 0; slot < config_.slots; ++slot) {
    spawn(slot, now);
  }
}

void recovery::loaded(std::int32_t slot, incarnation worker) {
  if (!is_current(slot, worker)
      || slots_[static_cast<std::size_t>(slot)].state != slot_state::loading) {
    return;
  }
  slots_[static_cast<std::size_t>(slot)].state = slot_state::idle;
  begin_when_all_idle();
}

void recovery::died(std::int32_t slot, incarnation worker, time_point now) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  if (!is_current(slot, worker) || record.is_dead || state_ == recovery_state::failed) {
    return;
  }
  record.is_dead = true;
  record.state = slot_state::dying;
  record.since = now;
  record.deaths.push_back(now);
  fence(now);
  if (is_over_intensity(record.deaths, now)) {
    fail(fmt::format(
        "worker slot {} died {} times within {} s",
        slot,
        record.deaths.size(),
        std::chrono::duration_cast<std::chrono::seconds>(config_.restart_window).count()));
  }
}

void recovery::gone(std::int32_t slot, incarnation worker, time_point now) {
  // The two tidings travel by different ways: a thread that has ended may be heard of before its
  // actor's death.
  died(slot, worker, now);
  if (!is_current(slot, worker) || state_ == recovery_state::failed) {
    return;
  }
  ++restarts_;
  spawn(slot, now);
}

void recovery::quiesced(std::int32_t slot, incarnation worker, epoch at) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  if (!is_current(slot, worker) || record.state != slot_state::quiescing || at != epoch_) {
    return;
  }
  record.state = slot_state::idle;
  begin_when_all_idle();
}

void recovery::step_failed(epoch at, time_point now) {
  if (state_ == recovery_state::running && at == epoch_) {
    fence(now);
    count_control_fault(now, "a step failed");
  }
}

void recovery::peer_late(epoch at, time_point now) {
  if (state_ == recovery_state::running && at == epoch_) {
    fence(now);
  }
}

void recovery::executor_died(time_point now) {
  if (state_ == recovery_state::failed) {
    return;
  }
  if (state_ == recovery_state::running) {
    fence(now);
  }
  count_control_fault(now, "the executor died");
}

void recovery::tick(time_point now) {
  for (std::int32_t slot = 0; slot < config_.slots && state_ != recovery_state::failed; ++slot) {
    check_deadline(slot, now);
  }
}

std::vector<action> recovery::take_actions() {
  return std::exchange(actions_, {});
}

void recovery::spawn(std::int32_t slot, time_point now) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  record.state = slot_state::loading;
  record.worker = record.worker.next();
  record.since = now;
  record.is_dead = false;
  record.kill_sent = false;
  actions_.push_back({.what = action::kind::spawn, .slot = slot, .worker = record.worker});
}

/// the fence first, then every running survivor is asked to stop. Survivors that were asked
/// already under a lower epoch are asked again, because their answer must name the newest one.
void recovery::fence(time_point now) {
  if (state_ == recovery_state::starting || state_ == recovery_state::failed) {
    return; // no epoch has begun: nobody waits for anybody
  }
  state_ = recovery_state::quiesce;
  epoch_ = epoch_.next();
  actions_.push_back({.what = action::kind::raise_fence, .now = epoch_});
  for (std::int32_t slot = 0; slot < config_.slots; ++slot) {
    auto& record = slots_[static_cast<std::size_t>(slot)];
    if (record.state == slot_state::running) {
      record.state = slot_state::quiescing;
      record.since = now;
    }
    if (record.state == slot_state::quiescing) {
      actions_.push_back(
          {.what = action::kind::prepare, .slot = slot, .worker = record.worker, .now = epoch_});
    }
  }
}

void recovery::begin_when_all_idle() {
  const auto is_idle = [](const slot_record& record) {
    return record.state == slot_state::idle;
  };
  if (state_ == recovery_state::failed || !std::all_of(slots_.begin(), slots_.end(), is_idle)) {
    return;
  }
  for (auto& record : slots_) {
    record.state = slot_state::running;
  }
  state_ = recovery_state::running;
  actions_.push_back({.what = action::kind::begin, .now = epoch_});
}

void recovery::fail(std::string reason) {
  state_ = recovery_state::failed;
  actions_.push_back({.what = action::kind::give_up, .now = epoch_, .reason = std::move(reason)});
}

bool recovery::is_current(std::int32_t slot, incarnation worker) const {
  return slots_[static_cast<std::size_t>(slot)].worker == worker;
}

bool recovery::is_over_intensity(std::vector<time_point>& faults, time_point now) const {
  std::erase_if(faults, [this, now](time_point at) { return now - at > config_.restart_window; });
  return static_cast<std::int32_t>(faults.size()) > config_.max_restarts;
}

///
void recovery::count_control_fault(time_point now, const char* what) {
  control_faults_.push_back(now);
  if (is_over_intensity(control_faults_, now)) {
    fail(fmt::format(
        "{}, {} such faults within {} s",
        what,
        control_faults_.size(),
        std::chrono::duration_cast<std::chrono::seconds>(config_.restart_window).count()));
  }
}

void recovery::check_deadline(std::int32_t slot, time_point now) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  const auto waited = now - record.since;
  const bool is_late = (record.state == slot_state::quiescing && waited > config_.quiesce_deadline)
                       || (record.state == slot_state::loading && waited > config_.load_deadline);
  if (is_late && !record.kill_sent) {
    record.kill_sent = true;
    actions_.push_back({.what = action::kind::kill, .slot = slot, .worker = record.worker});
  }
  if (record.state == slot_state::dying && waited > config_.gone_deadline) {
    fail(fmt::format("the thread of worker slot {} does not end", slot));
  }
}

} // namespace vdist::supervisor
