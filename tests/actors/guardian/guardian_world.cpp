#include "tests/actors/guardian/guardian_world.hpp"

#include "actors/gateway/epoch_wiring.hpp"
#include "actors/router/router.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/stage/stage.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace vdist::testing {

using namespace actors;
using protocol::finish_reason;
using protocol::token_event;

namespace {

constexpr std::uint64_t clients = 5;
constexpr std::int32_t tokens_each = 4;

token_event event_of(request_id id, std::uint64_t key, std::int32_t position) {
  token_event event{.id = id, .position = position};
  event.token = static_cast<token_id>(key * 100) + position;
  event.reason = position + 1 == tokens_each ? finish_reason::length : finish_reason::none;
  return event;
}

struct executor_state_of_test {
  executor_state_of_test() = default;

  ~executor_state_of_test() {
    if (on_end) {
      on_end();
    }
  }

  executor_state_of_test(const executor_state_of_test&) = delete;
  executor_state_of_test& operator=(const executor_state_of_test&) = delete;

  std::function<void()> on_end;
};

executor_actor::behavior_type
executor_of_test(executor_actor::stateful_pointer<executor_state_of_test> self,
                 step_inbox* inbox,
                 std::function<void()> on_end) {
  self->state.on_end = std::move(on_end);
  return {
      [](const fence_epoch&) {},
      [inbox](const begin_epoch& message) { inbox->begin(message); },
      [inbox](const writers_gone& message) { inbox->lift(message.now); },
  };
}

} // namespace

const char* to_string(victim who) {
  switch (who) {
  case victim::router:
    return "router";
  case victim::scheduler:
    return "scheduler";
  case victim::supervisor:
    return "supervisor";
  case victim::stage:
    return "stage";
  case victim::executor:
    return "executor";
  case victim::worker:
    return "worker";
  }
  return "";
}

/// As executor/step_lane.hpp, in turns.
struct guardian_world::step_lane {
  struct running_request {
    std::uint64_t key = 0;
    std::int32_t generated = 0;
  };

  std::uint32_t reader = 0;
  std::shared_ptr<step_lane> predecessor; // until it has returned
  std::optional<epoch> now;
  std::map<request_id, running_request> running;
  token_events outgoing;
  bool is_stopping = false;
  bool has_returned = false;
};

struct guardian_world::group {
  std::int32_t index = 0;
  epoch fence;
  route<supervisor_actor> supervisor;
  route<scheduler_actor> scheduler;
  step_inbox inbox{64};
  executor_actor executor;
  std::shared_ptr<step_lane> lane;                      // with its executor
  std::vector<std::shared_ptr<lane_of_worker>> workers; // all there ever were
  std::unique_ptr<kept_lanes> kept;
};

/// What its thread does follows at once.
class guardian_world::lane_of_worker final : public worker_lane {
public:
  explicit lane_of_worker(lane_request wanted) : wanted_(std::move(wanted)) {}

  void load() override {
    has_loaded_ = true;
    report(worker_event::kind::loaded, {});
  }

  void prepare(epoch now) override {
    if (!has_loaded_) {
      defect = "a worker that had not loaded was asked to leave an epoch";
    }
    now_ = {};
    report(worker_event::kind::quiesced, now);
  }

  void begin(epoch now) override { now_ = now; }

  void stop() override {
    if (!std::exchange(is_stopped_, true)) {
      now_ = {};
      report(worker_event::kind::gone, {});
    }
  }

  [[nodiscard]] bool is_in(epoch now) const { return !is_stopped_ && now_ == now; }

  [[nodiscard]] bool is_stopped() const { return is_stopped_; }

  [[nodiscard]] const lane_request& wanted() const { return wanted_; }

  std::string defect;

private:
  void report(worker_event::kind what, epoch now) {
    wanted_.report({.what = what, .slot = wanted_.slot, .worker = wanted_.worker, .now = now});
  }

  lane_request wanted_;
  epoch now_;
  bool has_loaded_ = false;
  bool is_stopped_ = false;
};

guardian_world::guardian_world(std::uint64_t seed, duration pause)
    : seed_(seed), order_(seed), pause_(pause) {
  for (std::int32_t index = 0; index < replicas; ++index) {
    groups_.push_back(std::make_unique<group>());
    auto& mine = *groups_.back();
    mine.index = index;
    mine.kept = std::make_unique<kept_lanes>(
        slots,
        [this, &mine](lane_request wanted) { return make_lane(mine, std::move(wanted)); },
        [&mine](const worker_event& event) { mine.supervisor.send(event); });
  }
}

guardian_world::~guardian_world() {
  end(guardian_, caf::exit_reason::user_shutdown);
  for (const auto& mine : groups_) {
    end(mine->supervisor.get());
    end(mine->scheduler.get());
    mine->kept->stop_all();
    mine->executor = nullptr;
    mine->supervisor.close();
    mine->scheduler.close();
  }
  end(router_.get());
  router_.close();
}

std::shared_ptr<worker_lane> guardian_world::make_lane(group& mine, lane_request wanted) {
  for (const auto& other : mine.workers) {
    if (other->wanted().slot == wanted.slot && !other->is_stopped()) {
      defect_ = fmt::format("slot {} has two workers", wanted.slot);
    }
  }
  ++lanes_made_;
  mine.workers.push_back(std::make_shared<lane_of_worker>(std::move(wanted)));
  return mine.workers.back();
}

executor_actor guardian_world::spawn_executor(group& mine) {
  auto lane = std::make_shared<step_lane>();
  lane->predecessor = std::exchange(mine.lane, lane);
  lane->reader = mine.inbox.reset();
  mine.executor =
      actors().spawn(executor_of_test, &mine.inbox, [lane] { lane->is_stopping = true; });
  if (!lane->predecessor) {
    router_.send(replica_changed{mine.index, replica_state::restarted, ""});
  }
  return mine.executor;
}

replica_environment guardian_world::environment_of(group& mine) {
  const auto tenure = mine.kept->begin_tenure();
  return {.replica = mine.index,
          .stage_of_slot = {0, 1},
          .recovery = {.slots = slots, .max_restarts = 100},
          .make_lane =
              [&mine, tenure](lane_request wanted) {
                return mine.kept->take(tenure, std::move(wanted));
              },
          .spawn_executor = [this, &mine](const supervisor_actor&) { return spawn_executor(mine); },
          .make_wiring = [](epoch, const std::vector<std::uint32_t>&)
              -> result<std::shared_ptr<epoch_wiring>> { return std::make_shared<epoch_wiring>(); },
          .raise_fence = [&mine](epoch now) { mine.fence = std::max(mine.fence, now); },
          .group =
              [&mine] {
                return supervisor::group_state{.first = std::max(epoch(1), mine.fence).next(),
                                               .slots = mine.kept->found()};
              },
          .on_end = [&mine, tenure] { mine.kept->end_tenure(tenure); },
          .points = &points,
          .time = &time};
}

/// As cluster.cpp.
guardian_config guardian_world::children() {
  guardian_config config{.limits = {.restarts_max = 1000, .backoff = pause_}, .time = &time};
  router_config routing{
      .table = &table_, .journal = &journal_, .schedulers = {}, .points = &points};
  for (const auto& each : groups_) {
    auto& mine = *each;
    routing.schedulers.push_back(mine.scheduler);
    config.children.push_back(
        {.name = "scheduler",
         .spawn =
             [this, &mine] {
               const auto made =
                   actors().spawn(make_scheduler,
                                  scheduler_actor_config{.replica = mine.index,
                                                         .inbox = &mine.inbox,
                                                         .points = &points,
                                                         .refuse = [](request_id, const error&) {
                                                         }});
               mine.scheduler.set(made);
               return caf::actor_cast<caf::strong_actor_ptr>(made);
             },
         .on_replaced =
             [this, &mine] {
               router_.send(replica_changed{mine.index, replica_state::restarted, ""});
             },
         .on_given_up =
             [this](const std::string& reason) {
               defect_ = reason;
             }});
  }
  config.children.push_back(
      {.name = "router",
       .spawn =
           [this, routing] {
             const auto made = actors().spawn(make_router, routing);
             router_.set(made);
             return caf::actor_cast<caf::strong_actor_ptr>(made);
           },
       .on_replaced =
           [this] {
             for (std::int32_t index = 0; index < replicas; ++index) {
               router_.send(replica_changed{index, replica_state::restarted, ""});
             }
           },
       .on_given_up =
           [this](const std::string& reason) {
             defect_ = reason;
           }});
  for (const auto& each : groups_) {
    auto& mine = *each;
    config.children.push_back({.name = "supervisor",
                               .spawn =
                                   [this, &mine] {
                                     const auto made = actors().spawn(
                                         make_supervisor, environment_of(mine), router_);
                                     mine.supervisor.set(made);
                                     caf::anon_send(made, start_replica{});
                                     return caf::actor_cast<caf::strong_actor_ptr>(made);
                                   },
                               .on_replaced = {},
                               .on_given_up =
                                   [this](const std::string& reason) {
                                     defect_ = reason;
                                   }});
  }
  return config;
}

void guardian_world::start() {
  guardian_ = actors().spawn(make_guardian, children());
  caf::anon_send(guardian_, start_children{});
}

/// As the engine: with the same key, and a new sink every time.
void guardian_world::submit(std::uint64_t key) {
  auto request = std::make_shared<protocol::request>();
  request->prompt = {1, 2, 3};
  request->max_tokens = tokens_each;
  request->client_key = key;
  auto& mine = clients_[key];
  mine.sink = std::make_shared<recording_sink>();
  mine.asker = std::make_unique<caf::scoped_actor>(actors());
  mine.asked = router_.get();
  if (mine.asked) {
    (*mine.asker)->send(mine.asked, actors::submit{request, mine.sink});
  }
}

/// Hears the answers; who got none from a router that has a successor comes back. False: nobody did.
bool guardian_world::clients_return() {
  bool is_somebody_back = false;
  for (auto& [key, mine] : clients_) {
    if (mine.id.value != 0) {
      continue;
    }
    submit_reply reply;
    (*mine.asker)
        ->receive([&reply](const submit_reply& value) { reply = value; },
                  caf::after(std::chrono::seconds(0)) >> [] {});
    if (reply.status != errc::ok) {
      defect_ = reply.message;
    } else if (reply.id.value == 0 && router_.get() != mine.asked) {
      submit(key);
      is_somebody_back = true;
    }
    mine.id = reply.id;
  }
  return is_somebody_back;
}

bool guardian_world::lanes_turn() {
  bool has_worked = false;
  for (const auto& mine : groups_) {
    has_worked = turn(*mine) || has_worked;
  }
  return has_worked;
}

bool guardian_world::turn(group& mine) {
  auto* lane = mine.lane.get();
  if (lane == nullptr || lane->has_returned) {
    return false;
  }
  if (auto& before = lane->predecessor; before) {
    if (!before->outgoing.empty()) {
      router_.send(step_tokens{mine.index, std::make_shared<token_events>(before->outgoing)});
    }
    before = nullptr;
    router_.send(replica_changed{mine.index, replica_state::restarted, ""});
    return true;
  }
  step_commands commands;
  mine.inbox.take(commands, lane->reader);
  for (const auto& request : commands.requests) {
    take(mine, *request);
  }
  if (commands.begin) {
    lane->now = commands.begin->now;
  }
  const auto is_there = [lane](const auto& worker) {
    return worker->is_in(*lane->now);
  };
  const bool can_work =
      lane->now && !lane->is_stopping && mine.fence <= *lane->now
      && std::count_if(mine.workers.begin(), mine.workers.end(), is_there) == slots;
  const bool has_outgoing = !lane->outgoing.empty();
  if (has_outgoing) { // what was committed leaves a step later
    router_.send(step_tokens{
        mine.index, std::make_shared<token_events>(std::exchange(lane->outgoing, token_events{}))});
  }
  if (can_work && !lane->running.empty()) {
    compute(mine);
    return true;
  }
  return has_outgoing || commands.begin || !commands.requests.empty();
}

/// As step_lane::take_request.
void guardian_world::take(group& mine, const protocol::request& request) {
  const auto known = journal_.state(request.id);
  if (!known) {
    defect_ = "a request reached a lane before the ledger"; // I1
    return;
  }
  if (mine.lane->running.contains(request.id) || known->reason != finish_reason::none
      || known->committed != std::ssize(request.generated)) {
    return;
  }
  mine.lane->running[request.id] = {request.client_key, known->committed};
}

void guardian_world::compute(group& mine) {
  ledger::commit_batch batch;
  token_events events;
  for (const auto& [id, request] : mine.lane->running) {
    events.push_back(event_of(id, request.key, request.generated));
  }
  for (const auto& event : events) {
    batch.append(event);
    ++mine.lane->running[event.id].generated;
    if (event.reason != finish_reason::none) {
      mine.lane->running.erase(event.id);
    }
  }
  if (const auto committed = journal_.commit(batch); !committed) {
    defect_ = committed.error().context; // I3
  }
  mine.lane->outgoing = std::move(events);
}

/// Null: nobody is there at the moment.
caf::strong_actor_ptr guardian_world::find(victim who) {
  const auto& mine = *groups_.front();
  switch (who) {
  case victim::router:
    return caf::actor_cast<caf::strong_actor_ptr>(router_.get());
  case victim::scheduler:
    return caf::actor_cast<caf::strong_actor_ptr>(mine.scheduler.get());
  case victim::supervisor:
    return caf::actor_cast<caf::strong_actor_ptr>(mine.supervisor.get());
  case victim::executor:
    return caf::actor_cast<caf::strong_actor_ptr>(mine.executor);
  case victim::stage:
    if (const auto supervisor = mine.supervisor.get()) {
      auto* const inside =
          static_cast<supervisor_pointer>(caf::actor_cast<caf::abstract_actor*>(supervisor));
      const bool is_up = !inside->getf(caf::abstract_actor::is_terminated_flag)
                         && !inside->state.stages.empty() && inside->state.stages.front();
      return is_up ? caf::actor_cast<caf::strong_actor_ptr>(inside->state.stages.front()) : nullptr;
    }
    return nullptr;
  case victim::worker:
    return nullptr;
  }
  return nullptr;
}

void guardian_world::die(victim who) {
  if (who == victim::worker) {
    if (const auto& all = groups_.front()->workers; !all.empty()) {
      all.back()->wanted().kill_actor();
    }
  } else {
    strike(find(who));
  }
}

std::size_t guardian_world::run(const std::vector<death>& deaths) {
  constexpr std::size_t messages_max = 5000;
  constexpr int pauses_max = 1000;
  start();
  std::size_t messages = 0;
  int pauses = 0;
  auto next = deaths.begin();
  for (; messages < messages_max; ++messages) {
    for (; next != deaths.end() && next->at == messages; ++next) {
      die(next->who);
    }
    if (messages >= 10 && messages < 10 + clients) { // while it still starts
      submit(messages - 10 + 1);
    }
    const bool lanes_come_first = seed_ != 0 && order_() % 8 == 0;
    if ((lanes_come_first && lanes_turn()) || run_one(seed_ == 0 ? 0 : order_())) {
      continue;
    }
    if (!lanes_turn() && !clients_return() && clients_.size() == clients) {
      const bool has_everybody =
          std::all_of(clients_.begin(), clients_.end(), [](const auto& each) {
            return each.second.id.value != 0;
          });
      if ((has_everybody && table_.size() == 0) || pauses == pauses_max) {
        break;
      }
      ++pauses; // somebody rests
      advance(std::chrono::milliseconds(10));
    }
  }
  if (messages == messages_max) {
    defect_ = "it never comes to rest";
  }
  return messages;
}

std::string guardian_world::verdict() const {
  if (!defect_.empty()) {
    return defect_;
  }
  for (const auto& mine : groups_) {
    for (const auto& worker : mine->workers) {
      if (!worker->defect.empty()) {
        return worker->defect;
      }
    }
  }
  for (const auto& [key, mine] : clients_) {
    const auto& got = mine.sink->events;
    if (mine.sink->ends() != 1 || got.size() != tokens_each) {
      return fmt::format("client {}: {} events, {} ends", key, got.size(), mine.sink->ends());
    }
    for (std::int32_t position = 0; position < tokens_each; ++position) {
      const auto expected = event_of(mine.id, key, position);
      const auto& event = got[static_cast<std::size_t>(position)];
      if (event.token != expected.token || event.position != position || event.id != mine.id) {
        return fmt::format("client {}: token {} at {}", key, event.token, position);
      }
    }
  }
  if (journal_.highest_id().value != clients) {
    return fmt::format("{} requests were accepted", journal_.highest_id().value);
  }
  return table_.size() == 0 ? "" : fmt::format("{} requests are left", table_.size());
}

std::vector<std::uint64_t> guardian_world::restarts() {
  return ask<guardian_status>(guardian_, get_guardian_status{}).restarts;
}

} // namespace vdist::testing
