#include "tests/sim/world.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/local_actor.hpp>
#include <caf/resumable.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::testing {

namespace {

using namespace std::chrono_literals;
using protocol::finish_reason;
using kind = sim_event::kind;

constexpr ledger::ledger_limits ledger_size{
    .requests_max = 64, .tokens_max = 1U << 14U, .finished_max = 64};

/// I8: everything ends within this virtual time after the last event.
constexpr std::chrono::seconds patience{150};

/// More than any run needs.
constexpr std::uint64_t events_max = 400'000;

/// Names it the same in every run.
caf::actor_id actor_of(caf::resumable& job) {
  const auto* actor = dynamic_cast<caf::local_actor*>(&job);
  return actor == nullptr ? 0 : actor->id();
}

} // namespace

void sim_counts::add(const sim_counts& other) {
  events += other.events;
  steps += other.steps;
  tokens += other.tokens;
  failed += other.failed;
  restored += other.restored;
  computed_again += other.computed_again;
  late_writes += other.late_writes;
  given_up += other.given_up;
  for (std::size_t i = 0; i < suffered.size(); ++i) {
    suffered[i] += other.suffered[i];
  }
}

/// One stream of one client.
class sim_world::client_sink final : public actors::token_sink {
public:
  client_sink(sim_world& world, std::size_t index) : world_(world), index_(index) {}

  void push(const protocol::token_event& event) override {
    world_.on_event(index_, *this, event);
    received += event.token >= 0 ? 1 : 0;
    has_ended = has_ended || event.reason != finish_reason::none;
  }

  std::int32_t received = 0;
  bool has_ended = false;

private:
  sim_world& world_;
  std::size_t index_;
};

sim_world::sim_world(const sim_schedule& schedule)
    : schedule_(schedule),
      chance_(schedule.seed ^ 0xc0ffee),
      ledger_memory_(ledger::ledger_bytes(ledger_size) / sizeof(cache_line) + 1),
      start_(line_.now()),
      last_event_(line_.now()) {
  settings_.set("scheduler.policy", caf::atom("testing"));
  settings_.set("logger.verbosity", caf::atom("quiet"));
  actors_ = std::make_unique<caf::actor_system>(settings_);
  coordinator_ = &dynamic_cast<caf::scheduler::test_coordinator&>(actors_->scheduler());
  const auto region = std::as_writable_bytes(std::span(ledger_memory_));
  checks_.require(ledger::format_ledger(region, ledger_size).has_value(), "no ledger");
  const channel_world channels{
      .line = &line_, .chance = &chance_, .checks = &checks_, .poison = &poison_};
  for (std::int32_t replica = 0; replica < schedule.replicas; ++replica) {
    groups_.push_back(std::make_unique<sim_group>(schedule_, replica, channels));
  }
  start_node();
  for (const auto& event : schedule_.events) {
    last_event_ = start_ + event.at;
    line_.at(last_event_, [this, &event] { apply(event); });
  }
}

/// Timers of ended actors do not keep anybody waiting.
sim_world::~sim_world() {
  if (node_) {
    node_->die();
  }
  settle();
  coordinator_->clock().cancel_all();
  settle();
  node_.reset();
}

void sim_world::settle() {
  while (coordinator_->try_run_once()) {
  }
}

sim_counts sim_world::counts() const {
  auto sum = counts_;
  for (const auto& group : groups_) {
    sum.steps += group->steps();
    sum.restored += group->kept().restored;
    sum.computed_again += group->kept().computed_again;
    sum.late_writes += group->late_writes();
  }
  return sum;
}

void sim_world::start_node() {
  node_ = std::make_shared<sim_node>(
      schedule_,
      sim_node_links{
          .actors = actors_.get(),
          .line = &line_,
          .checks = &checks_,
          .groups = &groups_,
          .ledger_region = std::as_writable_bytes(std::span(ledger_memory_)),
          .on_commit =
              [this](std::span<const ledger::committed_token> tokens) { check_commit(tokens); },
          .on_failed =
              [this](std::int32_t) {
                has_failed_replica_ = true;
                ++counts_.given_up;
              },
          .on_given_up =
              [this] {
                has_to_restart_ = true;
              }});
  node_->start();
}

/// Clients notice at once, and come back when they like.
void sim_world::kill_node() {
  if (!node_) {
    return;
  }
  const auto dead = std::exchange(node_, nullptr);
  for (auto& mine : clients_) {
    mine.sink.reset();
    mine.id = {};
    ++mine.attempt;
  }
  dead->die();
  settle();
  line_.after(chance_.microseconds(500, 20000), [this] { restart_node(); });
}

/// A process that was about to end is waited for, as its parent does.
void sim_world::restart_node() {
  const auto has_dying = [](const auto& group) {
    return group->has_dying();
  };
  if (std::any_of(groups_.begin(), groups_.end(), has_dying)) {
    line_.after(1ms, [this] { restart_node(); });
    return;
  }
  start_node();
  for (std::size_t index = 0; index < clients_.size(); ++index) {
    retry(index, clients_[index].attempt);
  }
}

void sim_world::apply(const sim_event& event) {
  bool has_hit = true;
  switch (event.what) {
  case kind::submit:
    add_client(event.argument);
    break;
  case kind::cancel:
    cancel(static_cast<std::size_t>(event.argument));
    break;
  case kind::poison:
    poison(static_cast<std::size_t>(event.argument));
    break;
  case kind::node_killed:
    has_hit = node_ != nullptr;
    kill_node();
    break;
  default:
    has_hit = groups_.at(static_cast<std::size_t>(event.replica))->suffer(event)
              || (node_ && node_->suffer(event));
    break;
  }
  counts_.suffered[static_cast<std::size_t>(event.what)] += has_hit ? 1 : 0;
}

void sim_world::run() {
  while (!checks_.is_broken() && !is_over()) {
    if (std::exchange(has_to_restart_, false)) {
      kill_node();
    }
    if (!do_one()) {
      advance();
    }
    checks_.require(++counts_.events < events_max, "I8: the cluster does not come to rest");
    if (line_.now() >= last_event_ + patience) {
      checks_.fail("I8: requests have not ended, or something is left over:" + leftovers());
    }
  }
}

/// One message, turn or moment, of those that are possible now. One source and one actor are out of luck for a while: fair
/// chance alone would hardly ever let anybody be late.
bool sim_world::do_one() {
  constexpr std::size_t sources = 4;
  constexpr int luck_lasts = 60;
  if (chance_.between(1, luck_lasts) == 1) {
    const auto& jobs = coordinator_->jobs;
    starved_source_ = chance_.below(2 * sources);
    starved_ =
        jobs.empty() || chance_.percent(30) ? 0 : actor_of(*jobs[chance_.below(jobs.size())]);
  }
  const auto first = chance_.below(sources);
  const auto tries = starved_source_ < sources ? sources + 1 : sources;
  for (std::size_t i = 0; i < tries; ++i) {
    const auto source = i == sources ? starved_source_ : (first + i) % sources;
    if (i < sources && source == starved_source_) {
      continue; // last
    }
    switch (source) {
    case 0:
      if (run_a_job()) {
        return true;
      }
      break;
    case 1:
      if (node_ && node_->turn(chance_.below(groups_.size()))) {
        return true;
      }
      break;
    case 2:
      for (std::size_t each = 0; each < groups_.size(); ++each) {
        if (groups_[(first + each) % groups_.size()]->turn(chance_.below(groups_.size() * 8))) {
          return true;
        }
      }
      break;
    default:
      if (line_.is_due()) {
        line_.run_next();
        return true;
      }
      break;
    }
  }
  return false;
}

/// A message of an actor that chance picks; those that stall have none.
bool sim_world::run_a_job() {
  auto& jobs = coordinator_->jobs;
  const auto start = chance_.below(jobs.size());
  std::optional<std::size_t> chosen;
  for (std::size_t i = 0; i < jobs.size() && !chosen; ++i) {
    const auto at = (start + i) % jobs.size();
    const auto actor = actor_of(*jobs[at]);
    const bool is_starved = actor == starved_ && i + 1 < jobs.size();
    if (!is_starved && !(node_ && node_->is_stalled(actor))) {
      chosen = at;
    }
  }
  if (!chosen) {
    return false;
  }
  std::rotate(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(*chosen), jobs.end());
  coordinator_->run_once();
  return true;
}

/// To the next moment at which anything can happen.
void sim_world::advance() {
  auto next = line_.now() + duration(1s);
  const auto consider = [&next](std::optional<time_point> due) {
    next = due ? std::min(next, *due) : next;
  };
  consider(line_.next());
  consider(node_ ? node_->due() : std::nullopt);
  for (const auto& group : groups_) {
    consider(group->due());
  }
  const auto& clock = coordinator_->clock();
  if (!clock.schedule().empty()) {
    consider(line_.now() + (clock.schedule().begin()->first - clock.current_time));
  }
  const auto by = std::max<duration>(next - line_.now(), duration(1));
  line_.advance(by);
  coordinator_->advance_time(by);
}

/// I8.
bool sim_world::is_over() const {
  const auto has_ended = [](const client& mine) {
    return mine.is_over;
  };
  return line_.now() >= last_event_ && node_
         && std::all_of(clients_.begin(), clients_.end(), has_ended) && node_->table().size() == 0
         && node_->journal().stats().unfinished == 0;
}

std::string sim_world::leftovers() const {
  std::string text;
  for (const auto& mine : clients_) {
    if (!mine.is_over) {
      text += fmt::format(" client {} (id={} attempt={} received={})",
                          mine.request.client_key,
                          mine.id.value,
                          mine.attempt,
                          mine.sink ? mine.sink->received : -1);
    }
  }
  if (node_) {
    text += fmt::format(
        " table={} unfinished={}", node_->table().size(), node_->journal().stats().unfinished);
    text += node_->describe();
  }
  return text;
}

void sim_world::add_client(std::uint64_t seed) {
  auto& mine = clients_.emplace_back();
  mine.request = make_sim_request(seed, clients_.size(), schedule_.scheduler);
  mine.is_poisonous = poisonous_.contains(clients_.size() - 1);
  mine.expected =
      expected_of(mine.request, schedule_.scheduler.max_model_len, schedule_.scheduler.vocabulary);
  submit(clients_.size() - 1);
}

void sim_world::submit(std::size_t index) {
  auto& mine = clients_[index];
  const auto attempt = ++mine.attempt;
  const auto router = node_ ? node_->router().get() : actors::router_actor();
  if (!router) {
    retry(index, attempt);
    return;
  }
  mine.sink = std::make_shared<client_sink>(*this, index);
  const actors::submit message{std::make_shared<protocol::request>(mine.request), mine.sink};
  actors_->spawn([this, index, attempt, router, message](caf::event_based_actor* self) {
    self->request(router, caf::infinite, message)
        .then([this, index, attempt](
                  const actors::submit_reply& reply) { on_reply(index, attempt, reply); },
              [this, index, attempt](const caf::error&) { retry(index, attempt); });
  });
}

void sim_world::retry(std::size_t index, std::uint64_t attempt) {
  line_.after(chance_.microseconds(100, 5000), [this, index, attempt] {
    const auto& mine = clients_[index];
    if (mine.attempt == attempt && !mine.is_over) {
      submit(index);
    }
  });
}

void sim_world::on_reply(std::size_t index,
                         std::uint64_t attempt,
                         const actors::submit_reply& reply) {
  auto& mine = clients_[index];
  if (mine.attempt != attempt) {
    return;
  }
  if (reply.status != errc::ok) {
    if (!has_failed_replica_) {
      checks_.fail("I7: refused without need: " + reply.message);
    }
    mine.is_over = true;
    ++counts_.failed;
    return;
  }
  mine.id = reply.id;
  checks_.require(node_ && node_->journal().state(reply.id).has_value(),
                  "I1: an accepted request is not in the ledger");
  if (mine.is_poisonous) {
    poison_.insert(mine.id.value);
  }
  if (mine.is_cancelled) {
    node_->router().send(actors::cancel{mine.id});
  }
}

void sim_world::cancel(std::size_t index) {
  if (index >= clients_.size()) {
    return;
  }
  auto& mine = clients_[index];
  mine.is_cancelled = true;
  if (node_ && mine.id.value != 0) {
    node_->router().send(actors::cancel{mine.id});
  }
}

/// Also of a client that has not come yet.
void sim_world::poison(std::size_t index) {
  poisonous_.insert(index);
  if (index >= clients_.size()) {
    return;
  }
  auto& mine = clients_[index];
  mine.is_poisonous = true;
  if (mine.id.value != 0) {
    poison_.insert(mine.id.value);
  }
}

/// Streams that were replaced, or whose process has died, reach nobody.
void sim_world::on_event(std::size_t index,
                         const client_sink& from,
                         const protocol::token_event& event) {
  auto& mine = clients_[index];
  checks_.require(!from.has_ended, "I3: an event after the end of a stream");
  if (mine.sink.get() != &from || !node_) {
    return;
  }
  checks_.require(event.position == from.received, "I3: positions of a stream are not contiguous");
  if (event.token >= 0) {
    check_token(mine, from, event);
    ++counts_.tokens;
  }
  if (event.reason != finish_reason::none) {
    check_end(mine, from, event);
    mine.is_over = true;
    counts_.failed += event.reason == finish_reason::failed ? 1 : 0;
  }
}

void sim_world::check_token(const client& mine,
                            const client_sink& from,
                            const protocol::token_event& event) {
  const auto state = node_->journal().state(event.id);
  checks_.require(state && state->committed > event.position,
                  "I2: a token is delivered before it is committed");
  const auto at = static_cast<std::size_t>(from.received);
  checks_.require(at < mine.expected.tokens.size() && mine.expected.tokens[at] == event.token,
                  "I7: a token is another one than without faults");
  const auto asked = mine.request.sampling.logprobs;
  const auto expected = asked < 0 ? 0.0F : -static_cast<float>(event.token) - 0.5F;
  checks_.require(event.logprob == expected, "I7: a log probability differs");
  checks_.require(std::ssize(event.top) == std::max(asked, 0), "I7: alternatives are missing");
  for (std::size_t t = 0; t < event.top.size(); ++t) {
    checks_.require(event.top[t].token == event.token + static_cast<token_id>(t)
                        && event.top[t].logprob == -static_cast<float>(t),
                    "I7: an alternative differs");
  }
}

void sim_world::check_end(const client& mine,
                          const client_sink& from,
                          const protocol::token_event& event) {
  const auto state = node_->journal().state(event.id);
  checks_.require(state && state->reason == event.reason,
                  "I2: an end is delivered before it is committed");
  const auto received = from.received + (event.token >= 0 ? 1 : 0);
  switch (event.reason) {
  case finish_reason::cancelled:
    checks_.require(mine.is_cancelled, "I7: cancelled, and nobody asked for it");
    break;
  case finish_reason::failed:
    if (!has_failed_replica_ && !mine.is_poisonous) {
      checks_.fail("I7: failed without need: " + event.message);
    }
    break;
  default:
    checks_.require(event.reason == mine.expected.reason
                        && received == std::ssize(mine.expected.tokens),
                    "I7: a stream ends elsewhere or otherwise than without faults");
    break;
  }
}

/// I3, I7: of every token, also of those whose client is away.
void sim_world::check_commit(std::span<const ledger::committed_token> tokens) {
  for (const auto& token : tokens) {
    const auto state = node_->journal().state(token.id);
    checks_.require(state && state->committed == token.position,
                    "I3: a token is committed twice, or behind a gap");
  }
}

} // namespace vdist::testing
