#include "tests/sim/sim_host.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <algorithm>
#include <utility>

namespace vdist::testing {

namespace {

using kind = sim_event::kind;
using std::chrono::milliseconds;

/// A process that stands still for longer is ended by its parent.
constexpr milliseconds stop_allowed{1000};

protocol::plan_limits limits_of(const sched::scheduler_config& config) {
  return {.slots = static_cast<std::uint32_t>(config.max_sequences),
          .blocks = config.blocks,
          .vocabulary = config.vocabulary,
          .max_positions = config.max_model_len,
          .block_size = config.block_size};
}

frame::expectation expectation_of(std::int32_t replica, epoch now) {
  return {.cluster = sim_cluster,
          .protocol = protocol::step_protocol,
          .version_min = protocol::step_version,
          .version_max = protocol::step_version,
          .group = replica,
          .epoch = now.value};
}

/// Those that are taken out of the count.
std::int32_t poison_deaths_max(const sim_schedule& schedule) {
  return schedule.poison_strikes
         * static_cast<std::int32_t>(std::count_if(
             schedule.events.begin(), schedule.events.end(), [](const sim_event& event) {
               return event.what == kind::poison;
             }));
}

} // namespace

sim_group::sim_group(const sim_schedule& schedule, std::int32_t replica, const channel_world& world)
    : schedule_(schedule),
      replica_(replica),
      world_(world),
      kv_table_(sched::table_config_of(schedule.scheduler)) {
  world_.stop = &fence_;
  const auto slots = schedule.stage_of_slot.size();
  const auto stages = static_cast<std::size_t>(schedule.stage_of_slot.back()) + 1;
  slots_.resize(slots);
  memory_.resize(slots);
  plan_faults_.resize(stages);
  past_plans_.resize(stages);
  result_faults_.resize(slots);
  past_results_.resize(slots);
  for (auto& memory : memory_) {
    memory.model = std::make_unique<model_worker>(limits_of(schedule.scheduler));
  }
}

std::shared_ptr<actors::worker_lane> sim_group::make_lane(actors::lane_request wanted) {
  auto& record = slots_.at(static_cast<std::size_t>(wanted.slot));
  if (!wanted.is_living) {
    record.process = spawn(wanted);
  }
  world_.checks->require(record.process && record.process->worker() == wanted.worker,
                         "R-9: a worker is adopted that never was");
  record.process->set_report(std::move(wanted.report));
  record.kill_actor = std::move(wanted.kill_actor);
  auto lane = std::make_shared<sim_lane>(record.process, *world_.chance); // shared with its actor
  record.lane = lane;
  return lane;
}

std::shared_ptr<sim_worker> sim_group::spawn(const actors::lane_request& wanted) {
  auto& record = slots_.at(static_cast<std::size_t>(wanted.slot));
  auto& checks = *world_.checks;
  checks.require(!record.process || record.process->has_halted() || record.process->is_gone(),
                 "I5, R-2: a worker is spawned while its predecessor may act");
  checks.require(!record.process || wanted.worker > record.process->worker(),
                 "I5: an incarnation comes twice");
  const auto now = world_.line->now();
  std::erase_if(record.spawned, [this, now](time_point at) {
    return now - at > schedule_.recovery.restart_window;
  });
  record.spawned.push_back(now);
  checks.require(static_cast<std::int32_t>(record.spawned.size())
                     <= schedule_.recovery.max_restarts + 1 + poison_deaths_max(schedule_),
                 "I9: a slot is started again too often");
  if (record.process) {
    steps_ += record.process->steps();
    record.late.push_back(record.process);
  }
  forget_gone(record);
  const sim_worker_config config{.replica = replica_,
                                 .slot = wanted.slot,
                                 .rank = replica_ * schedule_.recovery.slots + wanted.slot,
                                 .worker = wanted.worker,
                                 .is_sampling = wanted.slot == schedule_.sampling_slot,
                                 .cluster = sim_cluster,
                                 .limits = limits_of(schedule_.scheduler)};
  auto process = std::make_shared<sim_worker>(
      config,
      sim_worker_links{
          .world = world_, .group = &memory_, .open = [this, slot = wanted.slot](epoch at) {
            return open(slot, at);
          }});
  if (std::exchange(record.load_fails, false)) {
    process->refuse_next_load();
  }
  return process;
}

result<std::shared_ptr<actors::epoch_wiring>>
sim_group::make_wiring(epoch now, const std::vector<std::uint32_t>& incarnations) {
  world_.checks->require(now.value > wired_, "R-3: an epoch is used twice");
  world_.checks->require(!fence_.is_raised_above(now), "R-1: an epoch begins under a higher fence");
  wired_ = now.value;
  std::erase_if(wirings_, [now](const auto& each) { return each.first + 1 < now.value; });
  auto& record = wirings_[now.value];
  auto wiring = std::make_shared<actors::epoch_wiring>(); // shared as in the real gateway
  wiring->now = now;
  wiring->kv_content = 1; // the memory of the slots, as long as the group
  auto listening = world_;
  listening.heard = &heard_;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    record.plans.push_back(std::make_shared<sim_link>());
    record.results.push_back(std::make_shared<sim_link>());
    auto source = expectation_of(replica_, now);
    source.sender = replica_ * schedule_.recovery.slots + static_cast<std::int32_t>(slot);
    source.incarnation = incarnations.at(slot);
    wiring->results.push_back(
        std::make_unique<sim_reader>(listening, record.results.back(), source));
  }
  for (std::size_t stage = 0; stage < plan_faults_.size(); ++stage) {
    std::vector<std::shared_ptr<sim_link>> links;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if (schedule_.stage_of_slot[slot] == static_cast<std::int32_t>(stage)) {
        links.push_back(record.plans[slot]);
      }
    }
    wiring->plans.push_back(std::make_unique<sim_writer>(
        world_, std::move(links), plan_faults_[stage], past_plans_[stage]));
  }
  return wiring;
}

std::optional<sim_ends> sim_group::open(std::int32_t slot, epoch now) {
  const auto found = wirings_.find(now.value);
  if (found == wirings_.end() || now.value < wired_) {
    return std::nullopt;
  }
  const auto at = static_cast<std::size_t>(slot);
  sim_ends ends;
  ends.plans =
      std::make_unique<sim_reader>(world_, found->second.plans[at], expectation_of(replica_, now));
  ends.results = std::make_unique<sim_writer>(
      world_, std::vector{found->second.results[at]}, result_faults_[at], past_results_[at]);
  return ends;
}

std::vector<supervisor::slot_start> sim_group::left() const {
  using start = supervisor::slot_start;
  std::vector<start> found;
  for (const auto& record : slots_) {
    if (!record.process) {
      found.push_back({});
      continue;
    }
    const auto what = record.process->is_gone()      ? start::kind::absent
                      : record.process->has_loaded() ? start::kind::living
                                                     : start::kind::loading;
    found.push_back({.what = what, .worker = record.process->worker()});
  }
  return found;
}

epoch sim_group::next_epoch() const {
  return epoch(std::max(fence_.word().load(), wired_) + 1);
}

bool sim_group::has_dying() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const slot_record& record) {
    const auto& newest = record.process;
    const bool is_late = std::any_of(
        record.late.begin(), record.late.end(), [](const auto& each) { return !each->is_gone(); });
    return is_late
           || (newest && newest->is_ending() && !newest->has_halted() && !newest->is_gone());
  });
}

void sim_group::forget_gone(slot_record& record) {
  std::erase_if(record.late, [this](const auto& each) {
    late_writes_ += each->is_gone() ? each->late_writes() : 0;
    return each->is_gone();
  });
}

std::uint64_t sim_group::late_writes() const {
  auto sum = late_writes_;
  for (const auto& record : slots_) {
    sum += record.process ? record.process->late_writes() : 0;
    for (const auto& each : record.late) {
      sum += each->late_writes();
    }
  }
  return sum;
}

void sim_group::begin_tenure() {
  for (auto& record : slots_) {
    record.spawned.clear();
  }
}

void sim_group::detach() {
  for (auto& record : slots_) {
    if (record.process) {
      record.process->set_report({});
    }
    for (const auto& each : record.late) {
      each->set_report({});
    }
    if (const auto lane = record.lane.lock()) {
      lane->detach();
    }
    record.kill_actor = {};
  }
}

bool sim_group::suffer(const sim_event& event) {
  const auto slot = static_cast<std::size_t>(event.slot);
  const auto stage = static_cast<std::size_t>(schedule_.stage_of_slot.at(slot));
  const auto length = milliseconds(event.argument);
  switch (event.what) {
  case kind::load_fails:
    slots_[slot].load_fails = true;
    return true;
  case kind::plans_tampered:
    plan_faults_[stage].next.push_back(static_cast<frame::tampering>(event.argument));
    return true;
  case kind::results_tampered:
    result_faults_[slot].next.push_back(static_cast<frame::tampering>(event.argument));
    return true;
  case kind::delayed:
    result_faults_[slot].delay += length;
    return true;
  case kind::partitioned:
    plan_faults_[stage].partitioned_until = world_.line->now() + length;
    result_faults_[slot].partitioned_until = world_.line->now() + length;
    return true;
  case kind::past_returns:
    let_past_return(slot);
    return true;
  default:
    return strike(slots_[slot], event);
  }
}

/// Of a worker that lives.
bool sim_group::strike(slot_record& record, const sim_event& event) {
  if (!record.process || record.process->is_ending()) {
    return false;
  }
  auto& process = *record.process;
  const auto length = milliseconds(event.argument);
  switch (event.what) {
  case kind::worker_dies:
    process.die(world_.chance->microseconds(0, 1000));
    break;
  case kind::worker_killed:
    if (!record.kill_actor) {
      return false;
    }
    record.kill_actor();
    break;
  case kind::worker_stops:
    process.pause(length);
    if (length > stop_allowed) {
      world_.line->after(stop_allowed,
                         [stopped = record.process] { stopped->die(duration::zero()); });
    }
    break;
  case kind::worker_slow:
    process.slow_down(static_cast<std::int32_t>(event.argument));
    break;
  case kind::peer_late:
    process.be_late();
    break;
  case kind::digest_differs:
    process.lie_next();
    break;
  case kind::result_fails:
    process.fail_next();
    break;
  default:
    return false;
  }
  return true;
}

/// Frames of earlier epochs and incarnations, and of this one, that somebody sends again.
void sim_group::let_past_return(std::size_t slot) {
  const auto found = wirings_.find(wired_);
  if (found == wirings_.end()) {
    return;
  }
  for (const auto& frame : past_results_[slot]) {
    deliver(found->second.results[slot], frame);
  }
  const auto stage = static_cast<std::size_t>(schedule_.stage_of_slot[slot]);
  for (const auto& frame : past_plans_[stage]) {
    deliver(found->second.plans[slot], frame);
  }
}

bool sim_group::turn(std::size_t start) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const auto& process = slots_[(start + i) % slots_.size()].process;
    if (process && process->turn()) {
      return true;
    }
  }
  return false;
}

std::optional<time_point> sim_group::due() const {
  std::optional<time_point> earliest;
  for (const auto& record : slots_) {
    const auto due = record.process ? record.process->due() : std::nullopt;
    earliest = due && (!earliest || *due < *earliest) ? due : earliest;
  }
  return earliest;
}

bool sim_group::may_commit() const {
  return heard_ == wired_ && !fence_.is_raised_above(epoch(wired_));
}

std::uint64_t sim_group::steps() const {
  auto sum = steps_;
  for (const auto& record : slots_) {
    sum += record.process ? record.process->steps() : 0;
  }
  return sum;
}

} // namespace vdist::testing
