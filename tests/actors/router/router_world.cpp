#include "tests/actors/router/router_world.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <bit>
#include <fmt/format.h>

namespace vdist::testing {

using namespace actors;
using protocol::finish_reason;
using protocol::token_event;

namespace {

constexpr ledger::ledger_limits limits{
    .requests_max = 64, .tokens_max = 1U << 14U, .finished_max = 64};

/// Every third client asks for log probabilities; requests end by length or, every fourth, by a
/// stop id.
std::int32_t alternatives_of(std::uint64_t key) {
  return key % 3 == 0 ? 2 : -1;
}

std::int32_t max_tokens_of(std::uint64_t key) {
  return 2 + static_cast<std::int32_t>(key % 5);
}

token_event event_of(request_id id, std::uint64_t key, std::int32_t position) {
  token_event event{.id = id, .position = position};
  event.token = static_cast<token_id>(key * 100) + position;
  if (alternatives_of(key) >= 0) {
    event.logprob = -static_cast<float>(event.token) / 3;
    event.top = {{event.token, event.logprob}, {position, -7.5F}};
  }
  if (position + 1 == max_tokens_of(key)) {
    const bool is_stop = key % 4 == 0;
    event.reason = is_stop ? finish_reason::stop : finish_reason::length;
    event.stop_token = is_stop ? event.token : -1;
  }
  return event;
}

scheduler_actor::behavior_type
forwarding_scheduler(std::function<void(const protocol::request&)> on_add,
                     std::function<void(request_id)> on_cancel) {
  return {
      [on_add](const add_request& message) { on_add(*message.request); },
      [on_cancel](const cancel& message) { on_cancel(message.id); },
  };
}

} // namespace

std::string text_of(const token_event& event) {
  auto text = fmt::format("{}:{}:{}:{}:{}:{:x}:{}",
                          event.id.value,
                          event.position,
                          event.token,
                          to_string(event.reason),
                          event.stop_token,
                          std::bit_cast<std::uint32_t>(event.logprob),
                          event.message);
  for (const auto& each : event.top) {
    text += fmt::format("/{}={:x}", each.token, std::bit_cast<std::uint32_t>(each.logprob));
  }
  return text;
}

router_world::router_world() : memory_(ledger::ledger_bytes(limits) / sizeof(cache_line) + 1) {
  const auto region = std::as_writable_bytes(std::span(memory_));
  BOOST_REQUIRE(ledger::format_ledger(region, limits).has_value());
  spawn_all();
}

router_world::~router_world() {
  end_all();
}

void router_world::spawn_all() {
  auto opened = ledger::open_ledger(std::as_writable_bytes(std::span(memory_)));
  BOOST_REQUIRE(opened.has_value());
  journal_ = std::move(*opened);
  table_ = std::make_unique<request_table>(replicas);
  auto& measured = *measured_.emplace_back(std::make_unique<process_metrics>());
  table_->measure(
      request_meter({&measured.requests[0], &measured.requests[1]}, measured.refusals, time_));
  lanes_.assign(replicas, {});
  for (std::size_t replica = 0; replica < lanes_.size(); ++replica) {
    schedulers_.push_back(actors().spawn(
        forwarding_scheduler,
        [this, replica](const protocol::request& request) { take(lanes_[replica], request); },
        [this, replica](request_id id) {
          if (const auto found = lanes_[replica].running.find(id);
              found != lanes_[replica].running.end()) {
            found->second.is_cancelled = true;
          }
        }));
  }
  respawn_router();
}

void router_world::end_all() {
  kill_router();
  for (const auto& scheduler : schedulers_) {
    end(scheduler.get());
  }
  schedulers_.clear();
}

/// As step_lane::take_request.
void router_world::take(lane& into, const protocol::request& request) {
  const auto known = journal_->state(request.id);
  BOOST_REQUIRE(known.has_value()); // O-1
  if (into.running.contains(request.id) || known->reason != finish_reason::none) {
    return;
  }
  BOOST_REQUIRE(known->committed == std::ssize(request.generated));
  ids_[request.client_key].insert(request.id.value);
  into.running[request.id] = {
      .key = request.client_key, .generated = known->committed, .max_tokens = request.max_tokens};
}

void router_world::submit(std::uint64_t key) {
  auto request = std::make_shared<protocol::request>();
  request->prompt = {1, 2, 3};
  request->max_tokens = max_tokens_of(key);
  request->client_key = key;
  request->sampling.logprobs = alternatives_of(key);
  auto& mine = clients_[key];
  mine.sink = std::make_shared<recording_sink>();
  mine.id = {};
  const auto reply = ask<submit_reply>(router_, actors::submit{request, mine.sink});
  BOOST_REQUIRE(reply.status == errc::ok); // also if there is none
  mine.id = reply.id;
}

void router_world::cancel(std::uint64_t key) {
  const auto found = clients_.find(key);
  if (found != clients_.end() && found->second.id.value != 0) {
    found->second.is_cancelled = true;
    found->second.sink->wants_no_more = true;
    tell(router_, actors::cancel{found->second.id});
  }
}

void router_world::compute(std::int32_t replica) {
  auto& lane = lanes_[static_cast<std::size_t>(replica)];
  ledger::commit_batch batch;
  token_events events;
  for (auto& [id, request] : lane.running) {
    if (request.is_cancelled) {
      events.push_back(
          {.id = id, .position = request.generated, .reason = finish_reason::cancelled});
    } else {
      events.push_back(event_of(id, request.key, request.generated++));
    }
  }
  for (const auto& event : events) {
    batch.append(event);
    if (event.reason != finish_reason::none) {
      lane.running.erase(event.id);
    }
  }
  BOOST_REQUIRE(journal_->commit(batch).has_value()); // I3
  lane.outgoing.insert(lane.outgoing.end(), events.begin(), events.end());
}

void router_world::publish(std::int32_t replica) {
  auto& lane = lanes_[static_cast<std::size_t>(replica)];
  if (!lane.outgoing.empty()) {
    tell(router_,
         step_tokens{replica,
                     std::make_shared<token_events>(std::exchange(lane.outgoing, token_events{}))});
  }
}

void router_world::restart(std::int32_t replica, bool is_crash) {
  if (!is_crash) {
    publish(replica);
  }
  lanes_[static_cast<std::size_t>(replica)] = {};
  send({replica, replica_state::restarted, {}});
}

void router_world::fail(std::int32_t replica) {
  lanes_[static_cast<std::size_t>(replica)].has_failed = true;
  tell_state_of(replica);
}

void router_world::end_lane(std::int32_t replica) {
  publish(replica);
  lanes_[static_cast<std::size_t>(replica)] = {.has_failed = true, .has_ended = true};
  tell_state_of(replica);
}

void router_world::tell_state_of(std::int32_t replica) {
  const auto& lane = lanes_[static_cast<std::size_t>(replica)];
  send({replica, lane.has_failed ? replica_state::failed : replica_state::restarted, "told"});
  if (lane.has_ended) {
    send({replica, replica_state::ended, "told"});
  }
}

void router_world::send(const replica_changed& message) {
  tell(router_, message);
}

void router_world::kill_router() {
  end(router_);
}

void router_world::respawn_router() {
  router_ = actors().spawn(make_router,
                           router_config{.table = table_.get(),
                                         .journal = journal_.get(),
                                         .schedulers = schedulers_,
                                         .kept_by = kept_by_});
  settle();
  for (std::int32_t replica = 0; replica < replicas; ++replica) { // O-3
    tell_state_of(replica);
  }
}

void router_world::restart_process() {
  kept_by_.clear();
  for (std::int32_t replica = 0; keeps_kv_ && replica < replicas; ++replica) {
    for (const auto& [id, running] : lanes_[static_cast<std::size_t>(replica)].running) {
      kept_by_.emplace(id, replica);
    }
  }
  end_all();
  journal_.reset();
  for (auto& [key, each] : clients_) {
    each.sink.reset();
    each.id = {};
  }
  spawn_all();
}

std::string router_world::verdict_of_metrics() const {
  std::uint64_t tokens = 0;
  std::uint64_t ends = 0;
  std::int64_t active = 0;
  for (const auto& process : measured_) {
    active = 0;
    for (const auto& one : process->requests) {
      tokens += one.generation_tokens;
      active += one.active;
      for (const auto& reason : one.finished) {
        ends += reason;
      }
    }
  }
  std::uint64_t committed = 0;
  std::uint64_t finished = 0;
  for (const auto& [key, mine] : clients_) {
    const auto replayed = journal_->replay(mine.id);
    for (const auto& event : *replayed) {
      committed += event.token >= 0 ? 1 : 0;
      finished += event.reason != finish_reason::none ? 1 : 0;
    }
  }
  const bool is_right = measured_.size() == 1 ? tokens == committed && ends == finished
                                              : tokens <= committed && ends <= finished;
  return is_right && active == 0
             ? ""
             : fmt::format("counted {} tokens of {}, {} ends of {}, {} under way, in {} processes",
                           tokens,
                           committed,
                           ends,
                           finished,
                           active,
                           measured_.size());
}

void router_world::clients_return() {
  for (auto& [key, each] : clients_) {
    if (each.id.value == 0) {
      submit(key);
    }
  }
}

void router_world::finish() {
  clients_return();
  for (int round = 0; round < 20; ++round) {
    for (std::int32_t replica = 0; replica < replicas; ++replica) {
      compute(replica);
      publish(replica);
    }
  }
}

std::string router_world::verdict() const {
  for (const auto& [key, mine] : clients_) {
    const auto name = fmt::format("client {}: ", key);
    const auto replayed = journal_->replay(mine.id);
    if (!replayed || ids_.at(key).size() != 1) {
      return name + fmt::format("accepted {} times", ids_.at(key).size());
    }
    const auto& got = mine.sink->events;
    if (mine.sink->ends() != 1 || got.back().reason == finish_reason::none) {
      return name + fmt::format("{} ends", mine.sink->ends());
    }
    if (got.size() != replayed->size()) {
      return name + fmt::format("{} events, {} in the ledger", got.size(), replayed->size());
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
      auto expected = event_of(mine.id, key, static_cast<std::int32_t>(i));
      if (mine.is_cancelled && got[i].token < 0) {
        expected = {.id = mine.id,
                    .position = static_cast<std::int32_t>(i),
                    .reason = finish_reason::cancelled};
      }
      if (text_of(got[i]) != text_of(expected) || text_of(got[i]) != text_of((*replayed)[i])) {
        return name
               + fmt::format("got {}, expected {}, the ledger has {}",
                             text_of(got[i]),
                             text_of(expected),
                             text_of((*replayed)[i]));
      }
    }
  }
  return table_->size() == 0 ? "" : fmt::format("{} requests are left", table_->size());
}

} // namespace vdist::testing
