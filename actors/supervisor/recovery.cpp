#include "actors/supervisor/recovery.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <type_traits>
#include <utility>

namespace vdist::supervisor {

namespace {

std::int64_t seconds_of(duration d) {
  return std::chrono::duration_cast<std::chrono::seconds>(d).count();
}

/// An incarnation is there that can still be told to end.
bool is_occupied(slot_state state) {
  return state == slot_state::loading || state == slot_state::idle || state == slot_state::running
         || state == slot_state::quiescing || state == slot_state::retiring;
}

bool has_deadline(slot_state state) {
  return state == slot_state::loading || state == slot_state::quiescing
         || state == slot_state::retiring || state == slot_state::dying
         || state == slot_state::resting;
}

/// Plain values without padding.
template <class T>
void append(std::string& bytes, const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

} // namespace

std::string_view to_string(recovery_state state) noexcept {
  switch (state) {
  case recovery_state::starting:
    return "starting";
  case recovery_state::running:
    return "running";
  case recovery_state::fence:
    return "fence";
  case recovery_state::quiesce:
    return "quiesce";
  case recovery_state::plan:
    return "plan";
  case recovery_state::rebuild:
    return "rebuild";
  case recovery_state::restore:
    return "restore";
  case recovery_state::failed:
    return "failed";
  }
  return "unknown";
}

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
  case slot_state::retiring:
    return "retiring";
  case slot_state::dying:
    return "dying";
  case slot_state::resting:
    return "resting";
  case slot_state::absent:
    return "absent";
  }
  return "unknown";
}

duration quiesce_deadline_of(duration step_deadline) noexcept {
  constexpr int steps_on_a_device = 2;
  constexpr std::chrono::seconds margin(5); // to be told, and to say that it has left
  return std::max(recovery_config().quiesce_deadline, steps_on_a_device * step_deadline + margin);
}

recovery::recovery(const recovery_config& config, recovery_observer observer)
    : config_(config),
      slots_(static_cast<std::size_t>(config.slots)),
      trace_(std::move(observer)) {}

void recovery::start(time_point now, const group_state& from) {
  VDIST_CHECK(from.slots.empty() || from.slots.size() == slots_.size(),
              "R-9: a group is taken over with all its slots");
  epoch_ = from.first;
  const bool is_somebody_there =
      std::any_of(from.slots.begin(), from.slots.end(), [](const slot_start& found) {
        return found.what != slot_start::kind::absent;
      });
  if (is_somebody_there) { // R-1, also for those who wait in an epoch of our predecessor
    phase_ = phase::mending;
    note(recovery_point::detected, -1, now);
    actions_.push_back({.what = action::kind::raise_fence, .now = epoch_});
  }
  for (std::int32_t slot = 0; slot < config_.slots; ++slot) {
    const auto index = static_cast<std::size_t>(slot);
    take_over(slot, from.slots.empty() ? slot_start{} : from.slots[index], now);
  }
}

///
void recovery::take_over(std::int32_t slot, const slot_start& found, time_point now) {
  slots_[static_cast<std::size_t>(slot)].worker = found.worker;
  for (const auto late : found.late) {
    late_.push_back({.slot = slot, .worker = late, .due = now + config_.gone_deadline});
  }
  switch (found.what) {
  case slot_start::kind::absent:
    spawn(slot);
    wait_until(slot, slot_state::loading, now + config_.load_deadline);
    return;
  case slot_start::kind::dying:
    wait_until(slot, slot_state::dying, now + config_.gone_deadline);
    return;
  case slot_start::kind::loading:
    wait_until(slot, slot_state::quiescing, now + config_.load_deadline);
    break;
  case slot_start::kind::living:
    wait_until(slot, slot_state::quiescing, now + config_.quiesce_deadline);
    break;
  }
  push(action::kind::adopt, slot);
  push(action::kind::prepare, slot);
}

void recovery::loaded(std::int32_t slot, incarnation worker, time_point now) {
  if (auto* record = answering(slot, worker, slot_state::loading)) {
    record->state = slot_state::idle;
    note(recovery_point::attached, slot, now);
    begin_when_all_idle();
  }
}

void recovery::quiesced(std::int32_t slot, incarnation worker, epoch at, time_point now) {
  auto* record = answering(slot, worker, slot_state::quiescing);
  if (record == nullptr || at != epoch_) {
    return;
  }
  note(recovery_point::quiesced, slot, now);
  if (record->is_leaving) {
    push(action::kind::retire, slot);
    wait_until(slot, slot_state::retiring, now + config_.retire_deadline);
    return;
  }
  record->state = slot_state::idle;
  begin_when_all_idle();
}

void recovery::died(std::int32_t slot, incarnation worker, time_point now) {
  if (!is_alive(slot, worker)) {
    return;
  }
  auto& record = slots_[static_cast<std::size_t>(slot)];
  const bool is_by_order = record.state == slot_state::retiring;
  const bool is_over_step =
      !record.is_wanted
      && (record.state == slot_state::running || record.state == slot_state::quiescing);
  wait_until(slot, slot_state::dying, now + config_.gone_deadline);
  if (phase_ == phase::failed || is_by_order) { // it had left, nobody waits for it
    return;
  }
  record.is_leaving = false;
  record.deaths.push_back({now, is_over_step ? blame::untold : blame::own});
  if (is_over_step) {
    note_step_death(slot);
  }
  fence(slot, now);
  if (is_over_intensity(record.deaths, now)) {
    fail(fmt::format("worker slot {} died {} times within {} s",
                     slot,
                     record.deaths.size(),
                     seconds_of(config_.restart_window)),
         slot);
  }
}

void recovery::halted(std::int32_t slot, incarnation worker, time_point now) {
  died(slot, worker, now); // as in gone()
  const auto& record = slots_[static_cast<std::size_t>(slot)];
  if (record.worker != worker || record.state != slot_state::dying) {
    return;
  }
  if (phase_ != phase::failed) {
    late_.push_back(
        {.slot = slot, .worker = worker, .worked_in = record.worked_in, .due = record.due});
  }
  replace_dead(slot, now);
}

void recovery::gone(std::int32_t slot, incarnation worker, time_point now) {
  const auto late = std::find_if(late_.begin(), late_.end(), [slot, worker](const auto& each) {
    return each.slot == slot && each.worker == worker;
  });
  if (late != late_.end()) {
    late_.erase(late);
    if (late_.empty() && std::exchange(is_told_of_late_, false)) {
      actions_.push_back({.what = action::kind::writers_gone, .now = epoch_});
    }
    begin_when_all_idle();
    return;
  }
  // The tidings travel by different ways: a thread that has ended may be heard of before its
  // actor's death.
  died(slot, worker, now);
  const auto& record = slots_[static_cast<std::size_t>(slot)];
  if (record.worker == worker && record.state == slot_state::dying) {
    replace_dead(slot, now);
  }
}

/// nothing of it acts any more.
void recovery::replace_dead(std::int32_t slot, time_point now) {
  if (phase_ == phase::failed) {
    slots_[static_cast<std::size_t>(slot)].state = slot_state::absent;
  } else {
    rest_or_spawn(slot, now);
  }
}

void recovery::step_failed(epoch at, time_point now) {
  if (phase_ == phase::working && at == epoch_) {
    fence(-1, now);
    count_control_fault({.at = now}, "a step failed");
  }
}

void recovery::peer_late(epoch at, time_point now) {
  if (phase_ == phase::working && at == epoch_) {
    fence(-1, now);
  }
}

bool recovery::replace(const std::vector<incarnation>& wanted, time_point now) {
  if (state() != recovery_state::running || wanted.size() != slots_.size()) {
    return false;
  }
  std::int32_t first = -1;
  for (auto slot = config_.slots - 1; slot >= 0; --slot) {
    const auto worker = wanted[static_cast<std::size_t>(slot)];
    if (worker != incarnation() && worker != slots_[static_cast<std::size_t>(slot)].worker) {
      return false;
    }
    first = worker != incarnation() ? slot : first;
  }
  if (first < 0) {
    return false;
  }
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    slots_[slot].is_leaving = wanted[slot] != incarnation();
  }
  fence(first, now);
  return true;
}

void recovery::executor_died(time_point now) {
  if (phase_ == phase::failed) {
    return;
  }
  fault counted{.at = now};
  if (phase_ == phase::working) {
    counted.whose = blame::untold;
    note_step_death(-1);
    fence(-1, now);
  }
  count_control_fault(counted, "the executor died");
}

void recovery::expect_end(std::int32_t slot, incarnation worker) {
  if (is_alive(slot, worker)) {
    slots_[static_cast<std::size_t>(slot)].is_wanted = true;
  }
}

/// A death that was heard since the last begin is not among them: it may be over others.
void recovery::culprit_found(std::int32_t strikes, bool has_progressed, time_point now) {
  if (phase_ == phase::failed) {
    return;
  }
  culprits_ = has_progressed ? 1 : culprits_ + 1;
  if (culprits_ > config_.culprits_in_a_row_max) {
    if (phase_ == phase::working) {
      fence(-1, now);
    }
    fail(fmt::format("{} requests in a row ended their steps, and none succeeded in between",
                     culprits_));
    return;
  }
  std::set<epoch> told;
  for_all_faults([&told](std::vector<fault>& faults) {
    for (const auto& each : faults) {
      if (each.whose == blame::open) {
        told.insert(each.told_in);
      }
    }
  });
  while (std::ssize(told) > std::max(strikes, 0)) {
    told.erase(told.begin());
  }
  for_all_faults([&told](std::vector<fault>& faults) {
    std::erase_if(faults, [&told](const fault& each) {
      return each.whose == blame::open && told.contains(each.told_in);
    });
  });
}

///
void recovery::suspicion_over(epoch at, bool are_innocent) {
  for_all_faults([at, are_innocent](std::vector<fault>& faults) {
    for (auto& each : faults) {
      if (each.whose == blame::open && each.told_in <= at) {
        each.whose = are_innocent ? blame::own : blame::unproven;
      }
    }
  });
}

void recovery::abandon(std::string reason, time_point now, std::int32_t culprit) {
  if (state() == recovery_state::running) {
    fence(-1, now); // somebody may wait in this epoch
  }
  fail(std::move(reason), culprit);
}

void recovery::tick(time_point now) {
  for (std::int32_t slot = 0; slot < config_.slots && phase_ != phase::failed; ++slot) {
    check_deadline(slot, now);
  }
  check_late_writers(now);
}

std::optional<time_point> recovery::next_deadline() const {
  std::optional<time_point> earliest;
  for (const auto& record : slots_) {
    if (phase_ != phase::failed && has_deadline(record.state)
        && (!earliest || record.due < *earliest)) {
      earliest = record.due;
    }
  }
  for (const auto& late : late_) {
    earliest = !earliest || late.due < *earliest ? late.due : earliest;
  }
  return earliest;
}

std::vector<action> recovery::take_actions() {
  return std::exchange(actions_, {});
}

void recovery::done(const action& carried_out, time_point now) {
  const auto mark = [this, &carried_out, now](recovery_point point) {
    trace_.note({.now = epoch_,
                 .what = point,
                 .slot = carried_out.slot,
                 .worker = carried_out.worker,
                 .at = now});
  };
  switch (carried_out.what) {
  case action::kind::spawn:
  case action::kind::adopt:
    mark(recovery_point::spawned);
    break;
  case action::kind::raise_fence:
    if (carried_out.now == epoch_) { // else a fault right after it raised another
      is_carried_out_ = true;
      mark(recovery_point::fenced);
    }
    break;
  case action::kind::begin:
    if (phase_ == phase::working) { // else nobody could be connected, and the group was abandoned
      is_carried_out_ = true;
      mark(recovery_point::begun);
    }
    break;
  case action::kind::give_up:
    mark(recovery_point::given_up);
    break;
  case action::kind::kill:
  case action::kind::prepare:
  case action::kind::retire:
  case action::kind::writers_gone:
    break;
  }
}

recovery_state recovery::state() const {
  switch (phase_) {
  case phase::starting:
    return recovery_state::starting;
  case phase::working:
    return is_carried_out_ ? recovery_state::running : recovery_state::restore;
  case phase::failed:
    return recovery_state::failed;
  case phase::mending:
    break;
  }
  if (!is_carried_out_) {
    return recovery_state::fence;
  }
  if (has_slot(slot_state::quiescing)) {
    return recovery_state::quiesce;
  }
  const bool is_waiting_for_ends = has_slot(slot_state::retiring) || has_slot(slot_state::dying)
                                   || has_slot(slot_state::resting) || waits_for_late_writers();
  return is_waiting_for_ends ? recovery_state::plan : recovery_state::rebuild;
}

bool recovery::is_alive(std::int32_t slot, incarnation worker) const {
  const auto& record = slots_[static_cast<std::size_t>(slot)];
  return record.worker == worker && is_occupied(record.state);
}

std::string recovery::fingerprint() const {
  std::string bytes;
  append(bytes, phase_);
  append(bytes, is_carried_out_);
  append(bytes, epoch_);
  append(bytes, struck_by_.has_value());
  append(bytes, culprits_);
  append(bytes, is_told_of_late_);
  append_faults(bytes, control_faults_);
  return bytes;
}

void recovery::append_faults(std::string& bytes, const std::vector<fault>& faults) {
  append(bytes, faults.size());
  for (const auto& each : faults) {
    append(bytes, each.whose);
    append(bytes, each.told_in);
  }
}

std::string recovery::fingerprint(std::int32_t slot, time_point now) const {
  const auto& record = slots_[static_cast<std::size_t>(slot)];
  std::string bytes;
  append(bytes, record.state);
  append(bytes, record.kill_sent);
  append(bytes, record.is_leaving);
  append(bytes, record.is_wanted);
  append(bytes, record.worker);
  append_faults(bytes, record.deaths);
  append(bytes, has_deadline(record.state) ? record.due - now : duration::zero());
  append(bytes, epochs_since(record.worked_in));
  for (const auto& late : late_) {
    if (late.slot == slot) {
      append(bytes, late.worker);
      append(bytes, epochs_since(late.worked_in));
      append(bytes, late.due - now);
    }
  }
  return bytes;
}

/// The caller waits for the loading next.
void recovery::spawn(std::int32_t slot) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  record.worker = record.worker.next();
  record.worked_in = epoch_;
  record.is_leaving = false;
  record.is_wanted = false;
  push(action::kind::spawn, slot);
}

/// The rest is counted from the death: what its thread needed to end is not waited for twice.
void recovery::rest_or_spawn(std::int32_t slot, time_point now) {
  const auto& record = slots_[static_cast<std::size_t>(slot)];
  const auto& deaths = record.deaths;
  const auto rested =
      deaths.empty() || record.is_leaving ? now : deaths.back().at + pause_after(deaths.size());
  if (rested > now) {
    wait_until(slot, slot_state::resting, rested);
    return;
  }
  restarts_ += record.is_leaving ? 0U : 1U;
  spawn(slot);
  wait_until(slot, slot_state::loading, now + config_.load_deadline);
}

void recovery::wait_until(std::int32_t slot, slot_state state, time_point due) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  record.state = state;
  record.due = due;
  record.kill_sent = false;
}

void recovery::push(action::kind what, std::int32_t slot) {
  const auto worker = slots_[static_cast<std::size_t>(slot)].worker;
  actions_.push_back({.what = what, .slot = slot, .worker = worker, .now = epoch_});
}

void recovery::note(recovery_point point, std::int32_t slot, time_point now) {
  const auto worker = slot < 0 ? incarnation() : slots_[static_cast<std::size_t>(slot)].worker;
  trace_.note({.now = epoch_, .what = point, .slot = slot, .worker = worker, .at = now});
}

/// the fence first, then every running survivor is asked to stop. Survivors that were asked
/// already under a lower epoch are asked again, because their answer must name the newest one; their
/// deadline stays.
void recovery::fence(std::int32_t culprit, time_point now) {
  if (phase_ == phase::failed) {
    return;
  }
  if (phase_ == phase::starting) {
    note(recovery_point::detected, culprit, now);
    return; // no epoch has begun: nobody waits for anybody
  }
  phase_ = phase::mending;
  epoch_ = epoch_.next();
  is_carried_out_ = false;
  is_told_of_late_ = false; // the next begin says it anew
  note(recovery_point::detected, culprit, now);
  actions_.push_back({.what = action::kind::raise_fence, .now = epoch_});
  for (std::int32_t slot = 0; slot < config_.slots; ++slot) {
    const auto& record = slots_[static_cast<std::size_t>(slot)];
    if (record.state == slot_state::running) {
      wait_until(slot, slot_state::quiescing, now + config_.quiesce_deadline);
    }
    if (record.state == slot_state::quiescing && !record.kill_sent) {
      push(action::kind::prepare, slot);
    }
  }
}

///
void recovery::begin_when_all_idle() {
  const auto is_idle = [](const slot_record& record) {
    return record.state == slot_state::idle;
  };
  if (phase_ == phase::failed || !std::all_of(slots_.begin(), slots_.end(), is_idle)
      || waits_for_late_writers()) {
    return;
  }
  for (auto& record : slots_) {
    record.state = slot_state::running;
    record.worked_in = epoch_;
  }
  is_told_of_late_ = !late_.empty();
  phase_ = phase::working;
  is_carried_out_ = false;
  for_all_faults([this](std::vector<fault>& faults) {
    for (auto& each : faults) {
      if (each.whose == blame::untold) {
        each = {.at = each.at, .whose = blame::open, .told_in = epoch_};
      }
    }
  });
  actions_.push_back({.what = action::kind::begin,
                      .now = epoch_,
                      .struck_by = std::exchange(struck_by_, std::nullopt),
                      .has_late_writers = is_told_of_late_});
}

/// R-12, of the epoch that is being prepared.
bool recovery::waits_for_late_writers() const {
  return std::any_of(late_.begin(), late_.end(), [this](const late_writer& late) {
    return epochs_since(late.worked_in) > config_.late_epochs_max;
  });
}

/// No more than matters.
std::uint32_t recovery::epochs_since(epoch past) const {
  return std::min(epoch_.value - past.value, config_.late_epochs_max + 1);
}

/// the first worker's is the one that is told.
void recovery::note_step_death(std::int32_t slot) {
  if (!struck_by_ || *struck_by_ < 0) {
    struck_by_ = slot;
  }
}

template <class Do>
void recovery::for_all_faults(const Do& act) {
  act(control_faults_);
  for (auto& record : slots_) {
    act(record.deaths);
  }
}

///
void recovery::fail(std::string reason, std::int32_t culprit) {
  if (phase_ == phase::failed) {
    return;
  }
  phase_ = phase::failed;
  late_.clear(); // nobody waits for them
  is_told_of_late_ = false;
  actions_.push_back(
      {.what = action::kind::give_up, .slot = culprit, .now = epoch_, .reason = std::move(reason)});
  for (std::int32_t slot = 0; slot < config_.slots; ++slot) {
    auto& record = slots_[static_cast<std::size_t>(slot)];
    if (record.state == slot_state::resting) {
      record.state = slot_state::absent;
    } else if (is_occupied(record.state) && !std::exchange(record.kill_sent, true)) {
      push(action::kind::kill, slot);
    }
  }
}

///
void recovery::count_control_fault(const fault& counted, const char* what) {
  control_faults_.push_back(counted);
  if (is_over_intensity(control_faults_, counted.at)) {
    fail(fmt::format("{}, {} such faults within {} s",
                     what,
                     control_faults_.size(),
                     seconds_of(config_.restart_window)));
  }
}

///
void recovery::check_deadline(std::int32_t slot, time_point now) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  if (!has_deadline(record.state) || now < record.due) {
    return;
  }
  if (record.state == slot_state::resting) {
    rest_or_spawn(slot, now);
  } else if (record.state == slot_state::dying || record.kill_sent) {
    fail(fmt::format("the thread of worker slot {} does not end", slot), slot);
  } else {
    record.kill_sent = true;
    record.due = now + config_.gone_deadline;
    push(action::kind::kill, slot);
  }
}

///
void recovery::check_late_writers(time_point now) {
  const auto late = std::find_if(
      late_.begin(), late_.end(), [now](const late_writer& each) { return now >= each.due; });
  if (late != late_.end()) {
    const auto slot = late->slot;
    fail(fmt::format("the process of worker slot {} does not end", slot), slot);
  }
}

/// The slot's record if this answer is the one that it waits for, else null.
recovery::slot_record*
recovery::answering(std::int32_t slot, incarnation worker, slot_state expected) {
  auto& record = slots_[static_cast<std::size_t>(slot)];
  const bool is_expected = record.worker == worker && record.state == expected && !record.kill_sent;
  return is_expected ? &record : nullptr;
}

bool recovery::has_slot(slot_state state) const {
  return std::any_of(slots_.begin(), slots_.end(), [state](const slot_record& record) {
    return record.state == state;
  });
}

bool recovery::is_over_intensity(std::vector<fault>& faults, time_point now) const {
  std::erase_if(faults, [this, now](const fault& counted) {
    return now - counted.at > config_.restart_window;
  });
  const auto counted = std::count_if(
      faults.begin(), faults.end(), [](const fault& each) { return each.whose == blame::own; });
  const auto provisional = std::ssize(faults) - counted;
  return counted + std::max<std::ptrdiff_t>(provisional - provisional_max(), 0)
         > config_.max_restarts;
}

///
std::int32_t recovery::provisional_max() const {
  return config_.max_restarts < config_.poison_strikes
             ? 0
             : config_.poison_strikes * config_.culprits_in_a_row_max;
}

///
duration recovery::pause_after(std::size_t deaths) const {
  if (deaths < 2) {
    return duration::zero();
  }
  auto pause = config_.restart_backoff;
  for (std::size_t death = 2; death < deaths && pause < config_.restart_backoff_max; ++death) {
    pause *= 2;
  }
  return std::min(pause, config_.restart_backoff_max);
}

} // namespace vdist::supervisor
