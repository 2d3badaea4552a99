#include "tests/sim/sim_worker.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <algorithm>
#include <exception>
#include <utility>

namespace vdist::testing {

namespace {

using actors::worker_event;

/// Steps that wait at a device.
constexpr std::size_t flights_max = 2;

} // namespace

sim_worker::sim_worker(const sim_worker_config& config, sim_worker_links links)
    : config_(config), links_(std::move(links)), alternatives_(config.limits.slots, -1) {}

void sim_worker::post(command next) {
  commands_.push_back(next);
}

void sim_worker::load() {
  post({.what = command::kind::load});
}

void sim_worker::prepare(epoch now) {
  post({.what = command::kind::prepare, .now = now});
}

void sim_worker::begin(epoch now) {
  post({.what = command::kind::begin, .now = now});
}

void sim_worker::end(duration last) {
  if (std::exchange(is_told_to_end_, true)) {
    return;
  }
  const bool halts = links_.world.chance->percent(80);
  links_.world.line->after(last, [self = shared_from_this(), halts] {
    if (halts) {
      self->halt();
    } else {
      self->be_gone();
    }
  });
}

void sim_worker::die(duration notice) {
  if (state_ != state::living || std::exchange(is_dead_, true)) {
    return;
  }
  links_.world.line->after(notice, [self = shared_from_this()] {
    self->report(worker_event::kind::failed, {}, errc::closed, "the process has died");
    self->end(self->links_.world.chance->microseconds(0, 500)); // its end is seen by its parent
  });
}

void sim_worker::pause(duration length) {
  paused_until_ = std::max(paused_until_, links_.world.line->now() + length);
}

void sim_worker::be_late() {
  if (state_ == state::living && !is_dead_ && now_) {
    report(worker_event::kind::peer_late, *now_, errc::timed_out, "a peer is late");
    leave();
  }
}

void sim_worker::set_report(actors::lane_report report) {
  report_ = std::move(report);
  if (!report_ || state_ == state::living) {
    return;
  }
  if (state_ == state::halted) { // before it was adopted
    this->report(worker_event::kind::failed, {}, errc::closed, "the process has died");
  }
  this->report(state_ == state::gone ? worker_event::kind::gone : worker_event::kind::halted);
}

/// Some devices need long to come to rest.
void sim_worker::halt() {
  if (state_ != state::living) {
    return;
  }
  auto& chance = *links_.world.chance;
  const auto rest =
      chance.percent(85) ? chance.microseconds(0, 200'000) : chance.microseconds(0, 4'000'000);
  if (now_) {
    write_late((*links_.group)[static_cast<std::size_t>(config_.slot)].model->late_writes(), rest);
  }
  leave();
  commands_.clear();
  loaded_at_.reset();
  state_ = state::halted;
  is_dead_ = true;
  report(worker_event::kind::halted);
  links_.world.line->after(rest, [self = shared_from_this()] { self->be_gone(); });
}

/// Some of them, in any order.
void sim_worker::write_late(std::vector<model_worker::late_write> writes, duration within) {
  auto& chance = *links_.world.chance;
  const auto within_us = static_cast<std::int32_t>(within / std::chrono::microseconds(1));
  for (const auto& late : writes) {
    if (chance.percent(10)) {
      continue;
    }
    links_.world.line->after(chance.microseconds(0, within_us), [self = shared_from_this(), late] {
      auto& memory = (*self->links_.group)[static_cast<std::size_t>(self->config_.slot)];
      ++self->late_writes_;
      try {
        memory.model->land(late);
      } catch (const std::exception& breach) {
        self->links_.world.checks->fail(breach.what());
      }
    });
  }
}

void sim_worker::be_gone() {
  if (std::exchange(state_, state::gone) == state::gone) {
    return;
  }
  leave();
  commands_.clear();
  is_dead_ = true;
  report(worker_event::kind::gone);
}

void sim_worker::report(worker_event::kind what, epoch now, errc status, std::string text) {
  auto& world = links_.world;
  last_report_ = std::max(last_report_, world.line->now() + world.chance->microseconds(1, 60));
  worker_event event{.what = what,
                     .slot = config_.slot,
                     .worker = config_.worker,
                     .now = now,
                     .status = status,
                     .text = std::move(text)};
  world.line->at(last_report_, [self = shared_from_this(), event] {
    if (self->report_) {
      self->report_(event);
    }
  });
}

std::optional<time_point> sim_worker::due() const {
  if (state_ != state::living || is_dead_) {
    return std::nullopt;
  }
  const auto now = links_.world.line->now();
  if (paused_until_ > now) {
    return paused_until_;
  }
  if (loaded_at_) {
    return loaded_at_;
  }
  return ready_at_.empty() ? std::nullopt : std::optional(ready_at_.front());
}

bool sim_worker::turn() {
  const auto now = links_.world.line->now();
  if (state_ != state::living || is_dead_ || paused_until_ > now) {
    return false;
  }
  if (loaded_at_) {
    if (*loaded_at_ > now) {
      return false;
    }
    finish_load();
    return true;
  }
  if (!commands_.empty()) {
    leave();
    const auto next = commands_.front();
    commands_.pop_front();
    obey(next);
    return true;
  }
  try {
    return now_ && step();
  } catch (const std::exception& breach) { // of the model
    links_.world.checks->fail(breach.what());
    return false;
  }
}

void sim_worker::obey(const command& next) {
  auto& chance = *links_.world.chance;
  switch (next.what) {
  case command::kind::load:
    loaded_at_ = links_.world.line->now() + slowness_ * chance.microseconds(200, 4000);
    break;
  case command::kind::prepare:
    if (has_loaded_) {
      report(worker_event::kind::quiesced, next.now);
    } else {
      report(worker_event::kind::failed, {}, errc::internal, "it has not loaded");
    }
    break;
  case command::kind::begin:
    enter(next.now);
    break;
  }
}

void sim_worker::finish_load() {
  loaded_at_.reset();
  if (std::exchange(load_fails_, false)) {
    report(worker_event::kind::failed, {}, errc::internal, "its weights could not be mapped");
    return;
  }
  has_loaded_ = true;
  report(worker_event::kind::loaded);
}

/// W-1.
void sim_worker::enter(epoch now) {
  auto ends = links_.open(now);
  if (!ends) {
    return; // a newer epoch is on its way
  }
  auto& checks = *links_.world.checks;
  for (const auto& other : *links_.group) {
    checks.require(other.worker_at_work == 0 || other.epoch_at_work >= now.value,
                   "I5: an epoch begins while somebody works in one before it");
  }
  auto& mine = (*links_.group)[static_cast<std::size_t>(config_.slot)];
  checks.require(mine.worker_at_work == 0, "I5: two incarnations of a slot are at work");
  mine.worker_at_work = config_.worker.value;
  mine.epoch_at_work = now.value;
  mine.model->start_epoch(links_.world.chance->next());
  ends_ = std::move(*ends);
  now_ = now;
}

/// What was under way has written as far as chance will have it.
void sim_worker::leave() {
  if (!now_) {
    return;
  }
  now_.reset();
  ends_ = {};
  ready_at_.clear();
  auto& mine = (*links_.group)[static_cast<std::size_t>(config_.slot)];
  if (mine.worker_at_work == config_.worker.value) {
    mine.worker_at_work = 0;
    mine.model->start_epoch(links_.world.chance->next());
  }
}

bool sim_worker::step() {
  const auto worked = [this]() -> result<bool> {
    if (!ready_at_.empty() && ready_at_.front() <= links_.world.line->now()) {
      VDIST_TRY(answer());
      return true;
    }
    if (links_.world.stop->is_raised_above(*now_)) {
      return fail(errc::aborted, "step: the epoch is over");
    }
    return ready_at_.size() < flights_max && ends_.plans->has_frame() ? take_plan()
                                                                      : result<bool>(false);
  }();
  if (worked) {
    return *worked;
  }
  const auto& cause = worked.error();
  const auto now = *now_;
  leave();
  if (cause.code == errc::timed_out) {
    report(worker_event::kind::peer_late, now, cause.code, cause.context);
  } else if (cause.code != errc::aborted && cause.code != errc::closed) {
    report(worker_event::kind::failed, now, cause.code, cause.context);
  }
  return true;
}

result<bool> sim_worker::take_plan() {
  auto frame = ends_.plans->read(links_.world.line->now());
  if (!frame && frame.error().code == errc::timed_out) {
    return false;
  }
  if (!frame) {
    return frame.error();
  }
  VDIST_TRY(protocol::decode(frame->body, plan_));
  VDIST_TRY(protocol::validate(plan_, config_.limits));
  if (dies_of_plan()) {
    die(links_.world.chance->microseconds(0, 1000));
    return true;
  }
  auto& memory = (*links_.group)[static_cast<std::size_t>(config_.slot)];
  VDIST_TRY(submit(*memory.model));
  std::size_t record = 0;
  for (std::size_t i = 0; i < plan_.sequences(); ++i) {
    if ((plan_.flags[i] & protocol::flag_new) != 0) {
      alternatives_.at(plan_.slots[i]) = plan_.sampling.at(record++).logprobs;
    }
  }
  const auto start =
      std::max(links_.world.line->now(), ready_at_.empty() ? time_point{} : ready_at_.back());
  ready_at_.push_back(start + slowness_ * links_.world.chance->microseconds(50, 400));
  return true;
}

/// Of one slot, or of all: as the request will have it.
bool sim_worker::dies_of_plan() const {
  const auto slots = links_.group->size();
  return std::any_of(plan_.request_ids.begin(), plan_.request_ids.end(), [&](std::uint64_t id) {
    const auto victim = id % (slots + 1);
    return links_.world.poison->contains(id)
           && (victim == slots || victim == static_cast<std::size_t>(config_.slot));
  });
}

/// A plan that does not fit is a breach, unless the gate has dropped one before it: then it is refused, as real workers do.
result<void> sim_worker::submit(model_worker& model) {
  if (ends_.plans->drops().total() == 0) {
    model.submit(plan_);
    return {};
  }
  const auto before = model;
  try {
    model.submit(plan_);
  } catch (const std::exception& misfit) {
    model = before;
    return fail(errc::corrupt, misfit.what());
  }
  return {};
}

result<void> sim_worker::answer() {
  ready_at_.pop_front();
  auto& memory = (*links_.group)[static_cast<std::size_t>(config_.slot)];
  memory.model->retire(result_);
  ++steps_;
  shape_result();
  protocol::encode(result_, encoded_);
  const frame::envelope header{.protocol = protocol::step_protocol,
                               .version = protocol::step_version,
                               .kind = protocol::step_result_kind,
                               .sender = config_.rank,
                               .cluster = config_.cluster,
                               .incarnation = config_.worker.value,
                               .group = config_.replica,
                               .epoch = result_.epoch};
  return ends_.results->write(header, encoded_, links_.world.line->now());
}

/// As a real rank answers: log probabilities only where asked for, tokens only from the rank that
/// samples, a digest of what all ranks of a stage have computed alike.
void sim_worker::shape_result() {
  result_.rank = config_.rank;
  result_.digest = result_.step * 31 + (std::exchange(lies_, false) ? 1 : 0);
  result_.top_counts.clear();
  result_.top_ids.clear();
  result_.top_logprobs.clear();
  for (std::size_t i = 0; i < result_.slots.size(); ++i) {
    const auto asked = alternatives_.at(result_.slots[i]);
    result_.digest = result_.digest * 31 + static_cast<std::uint64_t>(result_.tokens[i]);
    result_.logprobs[i] = asked < 0 ? 0.0F : result_.logprobs[i];
    result_.top_counts.push_back(std::max(asked, 0));
    for (std::int32_t t = 0; t < asked; ++t) {
      result_.top_ids.push_back(result_.tokens[i] + t);
      result_.top_logprobs.push_back(-static_cast<float>(t));
    }
  }
  const bool fails = std::exchange(fails_, false);
  if (fails) {
    result_.status = static_cast<std::int16_t>(errc::internal);
    result_.message = "it could not compute the step";
  }
  if (!config_.is_sampling || fails) {
    result_.slots.clear();
    result_.tokens.clear();
    result_.logprobs.clear();
    result_.top_counts.clear();
    result_.top_ids.clear();
    result_.top_logprobs.clear();
  }
}

void sim_lane::load() {
  if (process_) {
    process_->load();
  }
}

void sim_lane::prepare(epoch now) {
  if (process_) {
    process_->prepare(now);
  }
}

void sim_lane::begin(epoch now) {
  if (process_) {
    process_->begin(now);
  }
}

/// L-1. Most processes end at once, some only after seconds.
void sim_lane::stop() {
  if (process_) {
    process_->end(chance_.percent(95) ? chance_.microseconds(0, 2000)
                                      : chance_.microseconds(1'000'000, 4'000'000));
  }
}

} // namespace vdist::testing
