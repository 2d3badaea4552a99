#include "tests/sim/sim_node.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::testing {

namespace {

using namespace actors;
using namespace std::chrono_literals;
using kind = sim_event::kind;

constexpr std::size_t requests_max = 4096;

/// A lane for actors of a dead node (N-1).
class no_lane final : public worker_lane {
public:
  void load() override {}

  void prepare(epoch /*now*/) override {}

  void begin(epoch /*now*/) override {}

  void stop() override {}
};

template <class Handle>
bool kill(const Handle& actor) {
  if (!actor) {
    return false;
  }
  caf::anon_send_exit(actor, caf::exit_reason::kill);
  return true;
}

} // namespace

sim_node::sim_node(const sim_schedule& schedule, sim_node_links links)
    : schedule_(schedule),
      links_(std::move(links)),
      table_(make_choice()),
      waits_({.spin_budget = 0us}, links_.line->time()) {
  auto opened = ledger::open_ledger(links_.ledger_region, &links_.line->time());
  links_.checks->require(opened.has_value(), "L-5: the ledger cannot be opened");
  journal_ = std::move(*opened);
  for (std::int32_t replica = 0; replica < schedule.replicas; ++replica) {
    auto& record = *replicas_.emplace_back(std::make_unique<replica_record>(requests_max));
    record.journal = std::make_unique<checked_ledger>(
        *journal_, [this, replica](std::span<const ledger::committed_token> tokens) {
          links_.checks->require(tokens.empty() || group(replica).may_commit(),
                                 "I4: tokens of an epoch that is over are committed");
          links_.on_commit(tokens);
        });
    record.workers = make_workers(replica);
    record.kv.emplace(group(replica).kv_table(), sched::table_config_of(schedule.scheduler));
  }
}

sched::replica_choice sim_node::make_choice() {
  std::vector<const sched::replica_view*> seen;
  for (std::int32_t replica = 0; replica < schedule_.replicas; ++replica) {
    seen.push_back(&views_.emplace_back(schedule_.scheduler.blocks));
  }
  return {{.replicas = schedule_.replicas,
           .block_size = schedule_.scheduler.block_size,
           .weighs_prefix = schedule_.scheduler.prefix_cache},
          std::move(seen)};
}

/// N-1.
std::unique_ptr<kept_lanes> sim_node::make_workers(std::int32_t replica) {
  auto workers = std::make_unique<kept_lanes>(
      schedule_.stage_of_slot.size(),
      [this, replica](lane_request wanted) -> std::shared_ptr<worker_lane> {
        return is_dead_ ? std::make_shared<no_lane>() : group(replica).make_lane(std::move(wanted));
      },
      [this, replica](const worker_event& event) {
        replicas_[static_cast<std::size_t>(replica)]->supervisor.send(event);
      });
  workers->remember(group(replica).left());
  return workers;
}

sim_group& sim_node::group(std::int32_t replica) const {
  return *links_.groups->at(static_cast<std::size_t>(replica));
}

void sim_node::start() {
  guardian_ = links_.actors->spawn(make_guardian, guardian_config_of());
  caf::anon_send(guardian_, start_children{});
}

/// N-1, N-2.
guardian_config sim_node::guardian_config_of() {
  const auto self = shared_from_this();
  guardian_config config{.limits = {.restarts_max = 5, .window = 60s, .backoff = 50ms},
                         .time = &links_.line->time()};
  const auto add = [self, &config](const char* name,
                                   std::function<caf::strong_actor_ptr()> spawn,
                                   std::function<void()> on_replaced) {
    config.children.push_back(
        {.name = name,
         .spawn = [self, spawn = std::move(spawn)] { return self->is_dead_ ? nullptr : spawn(); },
         .on_replaced = std::move(on_replaced),
         .on_given_up =
             [self](const std::string&) {
               self->links_.on_given_up();
             }});
  };
  for (std::int32_t replica = 0; replica < schedule_.replicas; ++replica) {
    add(
        "scheduler",
        [self, replica] { return self->spawn_scheduler(replica); },
        [self, replica] { self->hand_over_again(replica); });
  }
  add(
      "router",
      [self] { return self->spawn_router(); },
      [self] {
        for (std::int32_t replica = 0; replica < self->schedule_.replicas; ++replica) {
          self->hand_over_again(replica);
        }
      });
  for (std::int32_t replica = 0; replica < schedule_.replicas; ++replica) {
    add("supervisor", [self, replica] { return self->spawn_supervisor(replica); }, {});
  }
  return config;
}

void sim_node::hand_over_again(std::int32_t replica) {
  const auto& record = *replicas_[static_cast<std::size_t>(replica)];
  if (record.has_failed) { // what moved on has moved on; the successor hears of it again
    router_.send(replica_changed{replica, replica_state::failed, "given up"});
    report_end(replica);
  } else {
    router_.send(replica_changed{replica, replica_state::restarted, "a successor"});
  }
}

/// As actors/system/replica.
void sim_node::end_lane(std::int32_t replica) {
  auto& record = *replicas_[static_cast<std::size_t>(replica)];
  record.inbox.close();
  if (record.newest) {
    record.newest->stop();
  }
  report_end(replica);
}

void sim_node::report_end(std::int32_t replica) {
  const auto& record = *replicas_[static_cast<std::size_t>(replica)];
  if (record.has_failed && (!record.newest || record.newest->has_ended())) {
    router_.send(replica_changed{replica, replica_state::ended, "given up"});
  }
}

caf::strong_actor_ptr sim_node::spawn_router() {
  router_config config{.table = &table_, .journal = journal_.get()};
  for (const auto& record : replicas_) {
    config.schedulers.push_back(record->scheduler);
    for (const auto id : record->kv->keepers()) {
      config.kept_by.emplace(id, static_cast<std::int32_t>(config.schedulers.size() - 1));
    }
  }
  const auto router = links_.actors->spawn(make_router, std::move(config));
  router_.set(router);
  return caf::actor_cast<caf::strong_actor_ptr>(router);
}

caf::strong_actor_ptr sim_node::spawn_scheduler(std::int32_t replica) {
  auto& record = *replicas_[static_cast<std::size_t>(replica)];
  if (record.has_failed) {
    return nullptr;
  }
  scheduler_actor_config config{
      .replica = replica,
      .inbox = &record.inbox,
      .points = &points_,
      .refuse = [self = shared_from_this()](request_id, const error& cause) {
        self->links_.checks->fail("a request is refused: " + cause.context);
      }};
  const auto scheduler = links_.actors->spawn(make_scheduler, std::move(config));
  record.scheduler.set(scheduler);
  return caf::actor_cast<caf::strong_actor_ptr>(scheduler);
}

caf::strong_actor_ptr sim_node::spawn_supervisor(std::int32_t replica) {
  auto& record = *replicas_[static_cast<std::size_t>(replica)];
  if (record.has_failed) {
    return nullptr;
  }
  const auto supervisor = links_.actors->spawn(make_supervisor, environment(replica), router_);
  record.supervisor.set(supervisor);
  record.has_supervisor = true;
  record.supervisor.send(start_replica{});
  return caf::actor_cast<caf::strong_actor_ptr>(supervisor);
}

executor_actor sim_node::spawn_executor(std::int32_t replica) {
  auto& record = *replicas_[static_cast<std::size_t>(replica)];
  auto handle = std::make_shared<executor_actor>(); // shared by the lane's functions
  step_lane_listener listener{
      .on_tokens =
          [this, replica](std::shared_ptr<const token_events> events) {
            router_.send(step_tokens{replica, std::move(events)});
          },
      .on_step_failed =
          [&record](epoch now, std::string text) {
            record.supervisor.send(step_failed{now, std::move(text)});
          },
      .on_disagreement =
          [&record](
              const std::vector<std::int32_t>& slots, bool is_certain, const std::string& text) {
            record.supervisor.send(ranks_disagree{slots, is_certain, text});
          },
      .on_crashed =
          [this, handle](const std::string& text) {
            if (text.find("failpoint") == std::string::npos) {
              links_.checks->fail("a step lane crashed: " + text);
            }
            caf::anon_send_exit(*handle, caf::exit_reason::unhandled_exception);
          },
      .on_taken_over =
          [this, replica] {
            router_.send(
                replica_changed{replica, replica_state::restarted, "the scheduler was rebuilt"});
          },
      .on_ended = [this, replica] { report_end(replica); },
      .on_culprit =
          [&record](const culprit& found) {
            record.supervisor.send(culprit_found{found.strikes, found.has_progressed});
          },
      .on_acquittal =
          [&record](const acquittal& given) {
            record.supervisor.send(suspicion_over{given.now, given.are_innocent});
          },
      .kill_actor =
          [handle] {
            caf::anon_send_exit(*handle, caf::exit_reason::kill);
          }};
  const step_lane_links links{.inbox = &record.inbox,
                              .inbox_reader = record.inbox.reset(),
                              .journal = record.journal.get(),
                              .points = &points_,
                              .times = &record.times,
                              .last_step = &group(replica).last_step(),
                              .kv = &*record.kv,
                              .kept_total = &group(replica).kept(),
                              .flights = &group(replica).flights(),
                              .view = &views_[static_cast<std::size_t>(replica)]};
  step_lane_config config{.replica = replica,
                          .cluster = sim_cluster,
                          .first_rank = replica * schedule_.recovery.slots,
                          .stage_of_slot = schedule_.stage_of_slot,
                          .sampling_slot = schedule_.sampling_slot,
                          .step_deadline = 2s,
                          .poison_strikes = schedule_.poison_strikes,
                          .scheduler = schedule_.scheduler};
  auto lane = std::make_shared<step_lane>(std::move(config), std::move(listener), links, waits_);
  lane->follow(std::exchange(record.newest, lane));
  record.lanes.push_back({.lane = lane, .due = {}});
  record.executor = links_.actors->spawn(make_executor, lane, &record.inbox);
  *handle = record.executor;
  return record.executor;
}

/// N-1.
replica_environment sim_node::environment(std::int32_t replica) {
  const auto self = shared_from_this();
  auto& workers = *replicas_[static_cast<std::size_t>(replica)]->workers;
  const auto tenure = workers.begin_tenure();
  group(replica).begin_tenure();
  return {.replica = replica,
          .stage_of_slot = schedule_.stage_of_slot,
          .recovery = schedule_.recovery,
          .make_lane = [&workers, tenure](
                           lane_request wanted) { return workers.take(tenure, std::move(wanted)); },
          .spawn_executor =
              [self, replica](const supervisor_actor&) { return self->spawn_executor(replica); },
          .make_wiring = [self, replica](epoch now, const std::vector<std::uint32_t>& incarnations)
              -> result<std::shared_ptr<epoch_wiring>> {
            if (self->is_dead_) {
              return fail(errc::closed, "the node is dead");
            }
            return self->group(replica).make_wiring(now, incarnations);
          },
          .raise_fence =
              [self, replica](epoch now) {
                if (!self->is_dead_) {
                  self->group(replica).raise_fence(now);
                }
              },
          .on_state =
              [self, replica](replica_state state, const std::string&) {
                if (state == replica_state::failed && !self->is_dead_) {
                  self->replicas_[static_cast<std::size_t>(replica)]->has_failed = true;
                  self->links_.on_failed(replica);
                }
              },
          .group = [self, replica, &workers]() -> supervisor::group_state {
            return {.first = self->group(replica).next_epoch(), .slots = workers.found()};
          },
          .end_lane =
              [self, replica](const std::string&) {
                if (!self->is_dead_) {
                  self->end_lane(replica);
                }
              },
          .on_end =
              [self, replica, &workers, tenure] {
                self->replicas_[static_cast<std::size_t>(replica)]->has_supervisor = false;
                workers.end_tenure(tenure);
              },
          .points = &points_,
          .time = &links_.line->time()};
}

void sim_node::die() {
  is_dead_ = true;
  for (std::int32_t replica = 0; replica < schedule_.replicas; ++replica) {
    group(replica).detach();
  }
  kill(std::exchange(guardian_, nullptr));
  kill(router_.get());
  for (auto& record : replicas_) {
    record->lanes.clear(); // nobody takes their turns any more
    record->newest.reset();
    kill(record->scheduler.get());
    kill(record->supervisor.get());
    record->scheduler.set({});
    record->supervisor.set({});
    record->executor = nullptr;
  }
  router_.set({});
}

bool sim_node::suffer(const sim_event& event) {
  auto& record = *replicas_.at(static_cast<std::size_t>(event.replica));
  switch (event.what) {
  case kind::executor_killed:
    return kill(record.executor);
  case kind::executor_crashes:
    return points_.arm({.point = "executor.before_send", .replica = event.replica}).has_value();
  case kind::lane_stalls:
    record.stalled_until = links_.line->now() + std::chrono::microseconds(event.argument);
    return !record.lanes.empty();
  case kind::actor_stalls:
    return stall_actor(event);
  case kind::stage_killed:
    return kill_stage(event);
  case kind::router_killed:
    return kill(router_.get());
  case kind::scheduler_killed:
    return kill(record.scheduler.get());
  case kind::supervisor_killed:
    return kill(record.supervisor.get());
  default:
    return false;
  }
}

bool sim_node::stall_actor(const sim_event& event) {
  const auto& record = *replicas_.at(static_cast<std::size_t>(event.replica));
  const auto id_of = [](const auto& actor) {
    return actor ? actor.id() : caf::actor_id{0};
  };
  const auto which = event.argument % 3;
  stalled_actor_ = which == 0   ? id_of(router_.get())
                   : which == 1 ? id_of(record.scheduler.get())
                                : id_of(record.supervisor.get());
  actor_stalled_until_ = links_.line->now() + std::chrono::microseconds(event.argument);
  return stalled_actor_ != 0;
}

bool sim_node::kill_stage(const sim_event& event) {
  const auto& record = *replicas_.at(static_cast<std::size_t>(event.replica));
  if (!record.has_supervisor) {
    return false;
  }
  const auto supervisor = record.supervisor.get();
  const auto& inside =
      static_cast<supervisor_pointer>(caf::actor_cast<caf::abstract_actor*>(supervisor))->state;
  const auto stage =
      static_cast<std::size_t>(schedule_.stage_of_slot.at(static_cast<std::size_t>(event.slot)));
  return stage < inside.stages.size() && kill(inside.stages[stage]); // one that failed has none
}

std::string sim_node::describe() const {
  std::string text;
  for (const auto& record : replicas_) {
    text += fmt::format(" replica: lanes={} failed={}", record->lanes.size(), record->has_failed);
    if (record->newest) {
      const auto stats = record->newest->stats();
      text += fmt::format(" running={} waiting={} in_flight={} finished={}",
                          stats.running,
                          stats.waiting,
                          stats.steps_in_flight,
                          stats.finished);
    }
    if (const auto supervisor = record->supervisor.get(); supervisor && record->has_supervisor) {
      const auto& machine =
          *static_cast<supervisor_pointer>(caf::actor_cast<caf::abstract_actor*>(supervisor))
               ->state.machine;
      text += fmt::format(
          " epoch={} {}", machine.current_epoch().value, supervisor::to_string(machine.state()));
      for (std::int32_t slot = 0; slot < schedule_.recovery.slots; ++slot) {
        text += fmt::format(" {}:{}", slot, supervisor::to_string(machine.slot(slot)));
      }
    }
  }
  return text;
}

bool sim_node::turn(std::size_t start) {
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    auto& record = *replicas_[(start + i) % replicas_.size()];
    auto& lanes = record.lanes;
    if (links_.line->now() < record.stalled_until) {
      continue;
    }
    for (auto at = lanes.begin(); at != lanes.end(); ++at) {
      const auto done = at->lane->turn(links_.line->now());
      if (done.what == lane_turn::kind::waiting) {
        at->due = done.due;
        continue;
      }
      if (done.what == lane_turn::kind::ended) {
        lanes.erase(at);
      }
      return true;
    }
  }
  return false;
}

std::optional<time_point> sim_node::due() const {
  std::optional<time_point> earliest;
  if (links_.line->now() < actor_stalled_until_) {
    earliest = actor_stalled_until_;
  }
  for (const auto& record : replicas_) {
    for (const auto& each : record->lanes) {
      const auto due =
          each.due ? std::max(*each.due, record->stalled_until) : record->stalled_until;
      earliest = !earliest || due < *earliest ? due : *earliest;
    }
  }
  return earliest;
}

} // namespace vdist::testing
