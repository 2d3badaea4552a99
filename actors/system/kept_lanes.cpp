#include "actors/system/kept_lanes.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace vdist::actors {

/// What a worker actor has of a lane.
class kept_lanes::held_lane final : public worker_lane {
public:
  held_lane(kept_lanes& owner,
            std::uint64_t tenure,
            std::int32_t slot,
            incarnation worker,
            std::shared_ptr<worker_lane> lane)
      : owner_(owner), tenure_(tenure), slot_(slot), worker_(worker), lane_(std::move(lane)) {}

  void load() override { owner_.load(tenure_, *this); }

  void prepare(epoch now) override {
    const std::lock_guard door(owner_.door_of(slot_));
    if (owner_.is_present(tenure_)) {
      lane_->prepare(now);
    }
  }

  void begin(epoch now) override {
    const std::lock_guard door(owner_.door_of(slot_));
    if (owner_.is_present(tenure_)) {
      lane_->begin(now);
    }
  }

  void stop() override { owner_.stop(tenure_, *this); }

  void retire() override { owner_.retire(tenure_, *this); }

private:
  friend kept_lanes;

  kept_lanes& owner_;
  const std::uint64_t tenure_;
  const std::int32_t slot_;
  const incarnation worker_;
  const std::shared_ptr<worker_lane> lane_; // also kept by the owner
};

kept_lanes::kept_lanes(std::size_t slots,
                       worker_lane_factory make,
                       std::function<void(const worker_event&)> on_end)
    : make_(std::move(make)), on_end_(std::move(on_end)), doors_(slots), slots_(slots) {}

std::mutex& kept_lanes::door_of(std::int32_t slot) {
  return doors_.at(static_cast<std::size_t>(slot));
}

void kept_lanes::remember(const std::vector<supervisor::slot_start>& left) {
  using kind = supervisor::slot_start::kind;
  const std::lock_guard lock(mutex_);
  for (std::size_t slot = 0; slot < left.size(); ++slot) {
    auto& record = slots_.at(slot);
    record.worker = left[slot].worker;
    record.state = left[slot].what == kind::living    ? life::living
                   : left[slot].what == kind::loading ? life::loading
                                                      : life::none;
  }
}

std::uint64_t kept_lanes::begin_tenure() {
  const std::lock_guard lock(mutex_);
  has_tenant_ = true;
  return ++tenure_;
}

void kept_lanes::end_tenure(std::uint64_t tenure) {
  const std::lock_guard lock(mutex_);
  has_tenant_ = has_tenant_ && tenure != tenure_;
}

bool kept_lanes::is_present(std::uint64_t tenure) const {
  const std::lock_guard lock(mutex_);
  return has_tenant_ && tenure == tenure_;
}

std::vector<supervisor::slot_start> kept_lanes::found() {
  using kind = supervisor::slot_start::kind;
  std::vector<supervisor::slot_start> found;
  for (std::size_t slot = 0; slot < doors_.size(); ++slot) {
    const std::lock_guard door(doors_[slot]);
    std::shared_ptr<worker_lane> useless;
    {
      const std::lock_guard lock(mutex_);
      auto& record = slots_[slot];
      auto what = kind::dying;
      if (record.state == life::none) {
        what = kind::absent;
      } else if (record.state == life::loading) {
        what = kind::loading;
      } else if (record.state == life::living) {
        what = kind::living;
      } else if (record.state != life::dying) { // H-2
        record.state = life::dying;
        useless = record.lane; // null: make() will see that nobody wants it any more
      }
      auto& seen = found.emplace_back();
      seen.what = what;
      seen.worker = record.worker;
      for (const auto& late : record.late) {
        seen.late.push_back(late.worker);
      }
    }
    if (useless) {
      useless->stop();
    }
  }
  return found;
}

std::shared_ptr<worker_lane> kept_lanes::take(std::uint64_t tenure, lane_request wanted) {
  const auto slot = wanted.slot;
  const auto worker = wanted.worker;
  std::unique_lock lock(mutex_);
  if (is_over_ || !has_tenant_ || tenure != tenure_) {
    throw std::runtime_error("worker: its supervisor has ended");
  }
  auto& record = slots_.at(static_cast<std::size_t>(slot));
  const bool is_kept = record.worker == worker && record.lane;
  if (record.worker == worker && record.state == life::none && !record.late.empty()
      && record.late.back().worker == worker) {
    throw std::runtime_error("worker: its process has ended");
  }
  if (record.lane && !(is_kept && wanted.is_living)) {
    throw std::runtime_error("worker: its predecessor has not gone");
  }
  std::optional<worker_event> failure;
  std::shared_ptr<worker_lane> lane;
  if (is_kept) {
    record.report = wanted.report;
    record.kill_actor = wanted.kill_actor;
    lane = record.lane;
    failure = record.failure;
  } else {
    record = {.worker = worker,
              .state = wanted.is_living ? life::loading : life::made,
              .lane = nullptr,
              .report = wanted.report,
              .kill_actor = wanted.kill_actor,
              .failure = std::nullopt,
              .late = std::move(record.late)};
  }
  lock.unlock();
  if (failure) { // H-3
    wanted.report(*failure);
  }
  if (!lane) {
    lane = make(std::move(wanted));
  }
  return std::make_shared<held_lane>(*this, tenure, slot, worker, std::move(lane));
}

/// Without the lock: threads and processes take their time. found() may give the lane up meanwhile.
std::shared_ptr<worker_lane> kept_lanes::make(lane_request wanted) {
  const auto slot = wanted.slot;
  const auto worker = wanted.worker;
  wanted.report = [this](worker_event event) {
    on_event(std::move(event));
  };
  wanted.kill_actor = [this, slot, worker] {
    kill_actor_of(slot, worker);
  };
  std::shared_ptr<worker_lane> lane;
  try {
    lane = make_(std::move(wanted));
  } catch (...) {
    on_event({.what = worker_event::kind::gone, .slot = slot, .worker = worker});
    throw;
  }
  const std::lock_guard door(door_of(slot));
  bool is_wanted = false;
  {
    const std::lock_guard lock(mutex_);
    auto* record = record_of(slot, worker);
    is_wanted = !is_over_ && record != nullptr && record->state != life::dying;
    if (record != nullptr && record->state != life::none) {
      record->lane = lane;
      record->state = is_wanted ? record->state : life::dying;
    }
  }
  if (!is_wanted) {
    lane->stop();
  }
  return lane;
}

/// Null: another incarnation has the slot. Needs mutex_.
kept_lanes::slot_record* kept_lanes::record_of(std::int32_t slot, incarnation worker) {
  auto& record = slots_.at(static_cast<std::size_t>(slot));
  return record.worker == worker ? &record : nullptr;
}

/// H-2. Needs mutex_. False: it is known already.
bool kept_lanes::on_halted(const worker_event& event) {
  auto* record = record_of(event.slot, event.worker);
  if (record == nullptr || record->state == life::none) {
    return false;
  }
  record->state = life::none;
  record->late.push_back({event.worker, std::exchange(record->lane, nullptr)});
  return true;
}

/// The same of a late writer, or of one that is gone at once: that one's failure (H-3) goes into the event.
bool kept_lanes::on_gone(worker_event& event, std::shared_ptr<worker_lane>& ended) {
  auto& slot = slots_.at(static_cast<std::size_t>(event.slot));
  const auto late = std::find_if(slot.late.begin(), slot.late.end(), [&event](const auto& each) {
    return each.worker == event.worker;
  });
  if (late != slot.late.end()) {
    ended = std::move(late->lane);
    slot.late.erase(late);
    return true;
  }
  if (slot.worker != event.worker) {
    return false;
  }
  slot.state = life::none;
  ended = std::exchange(slot.lane, nullptr);
  if (slot.failure) {
    event.status = slot.failure->status;
    event.text = slot.failure->text;
  }
  return true;
}

/// Goes past all actors.
void kept_lanes::on_end(worker_event event) {
  std::shared_ptr<worker_lane> ended; // goes without the lock
  bool is_news = false;
  {
    const std::lock_guard lock(mutex_);
    is_news = event.what == worker_event::kind::gone ? on_gone(event, ended) : on_halted(event);
  }
  if (is_news) {
    on_end_(event);
  }
}

void kept_lanes::on_event(worker_event event) {
  if (event.what == worker_event::kind::halted || event.what == worker_event::kind::gone) {
    on_end(std::move(event));
    return;
  }
  lane_report report;
  {
    const std::lock_guard lock(mutex_);
    auto* record = record_of(event.slot, event.worker);
    if (record == nullptr) {
      return;
    }
    const bool is_over = record->state == life::dying || record->state == life::retiring
                         || record->state == life::none;
    if (event.what == worker_event::kind::failed && !is_over) {
      record->state = life::failed;
      record->failure = event;
    } else if (record->state == life::loading
               && (event.what == worker_event::kind::loaded
                   || event.what == worker_event::kind::quiesced)) { // which proves it, too
      record->state = life::living;
    }
    report = record->report;
  }
  if (report) {
    report(std::move(event));
  }
}

void kept_lanes::kill_actor_of(std::int32_t slot, incarnation worker) {
  std::function<void()> kill;
  {
    const std::lock_guard lock(mutex_);
    if (const auto* record = record_of(slot, worker)) {
      kill = record->kill_actor;
    }
  }
  if (kill) {
    kill();
  }
}

void kept_lanes::load(std::uint64_t tenure, const held_lane& from) {
  const std::lock_guard door(door_of(from.slot_));
  {
    const std::lock_guard lock(mutex_);
    auto* record = record_of(from.slot_, from.worker_);
    if (!has_tenant_ || tenure != tenure_ || record == nullptr || record->state != life::made) {
      return;
    }
    record->state = life::loading;
  }
  from.lane_->load();
}

void kept_lanes::stop(std::uint64_t tenure, const held_lane& from) {
  const std::lock_guard door(door_of(from.slot_));
  {
    const std::lock_guard lock(mutex_);
    auto* record = record_of(from.slot_, from.worker_);
    const bool is_present = is_over_ || (has_tenant_ && tenure == tenure_);
    if (!is_present || record == nullptr || record->state == life::none) {
      return;
    }
    record->state = life::dying;
  }
  from.lane_->stop();
}

void kept_lanes::retire(std::uint64_t tenure, const held_lane& from) {
  const std::lock_guard door(door_of(from.slot_));
  {
    const std::lock_guard lock(mutex_);
    auto* record = record_of(from.slot_, from.worker_);
    if (!has_tenant_ || tenure != tenure_ || record == nullptr || record->state != life::living) {
      return; // it ends already, or has
    }
    record->state = life::retiring;
  }
  from.lane_->retire();
}

void kept_lanes::stop_all() {
  for (std::size_t slot = 0; slot < doors_.size(); ++slot) {
    const std::lock_guard door(doors_[slot]);
    std::shared_ptr<worker_lane> lane;
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
      auto& record = slots_[slot];
      if (record.state != life::none) {
        record.state = life::dying;
        lane = record.lane;
      }
    }
    if (lane) {
      lane->stop();
    }
  }
}

} // namespace vdist::actors
