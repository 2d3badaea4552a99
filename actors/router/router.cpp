#include "actors/router/router.hpp"

#include "actors/actor_point.hpp"

#include "runtime/base/log.hpp"
#include "runtime/protocol/request_codec.hpp"

#include <fmt/format.h>
#include <iterator>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

namespace vdist::actors {

namespace {

using protocol::finish_reason;
using protocol::token_event;

submit_reply refuse(errc code, std::string message) {
  return {.status = code, .message = std::move(message)};
}

/// O-2: what the ledger holds and the stream does not goes out, as it was first sent. True: the
/// request has ended.
bool catch_up(router_pointer self, request_id id) {
  auto& config = self->state.config;
  const auto* entry = config.table->find(id);
  if (entry == nullptr) {
    return true;
  }
  const auto missed = config.journal->replay(id, entry->delivered);
  if (!missed) {
    log::error("router: {} (request={})", missed.error().context, id.value);
    config.table->deliver(token_event{.id = id,
                                      .position = entry->delivered,
                                      .reason = finish_reason::failed,
                                      .message = "the ledger has lost the request"});
    return true;
  }
  const auto now = config.table->now();
  for (const auto& event : *missed) {
    config.table->deliver(event, now);
  }
  return config.table->find(id) == nullptr;
}

/// Ends a request that no replica can go on with: in the ledger, from where its stream hears of it.
void fail_request(router_pointer self, request_id id, const std::string& reason) {
  const auto ended = self->state.config.journal->finish(id, finish_reason::failed, reason);
  if (!ended && ended.error().code != errc::stale) { // stale: it had come to its end before
    log::warn("router: {} (request={})", ended.error().context, id.value);
  }
  catch_up(self, id);
}

/// A request to the scheduler of its replica, with what is committed of it.
void send_to_scheduler(router_pointer self, request_id id, std::vector<token_id> committed) {
  auto& config = self->state.config;
  auto& entry = *config.table->find(id);
  auto request = std::make_shared<protocol::request>(*entry.request);
  request->generated = std::move(committed);
  const auto& scheduler = config.schedulers.at(static_cast<std::size_t>(entry.replica));
  scheduler.send(add_request{std::move(request)});
  entry.is_cancelled = entry.is_cancelled || (entry.sink && entry.sink->is_cancelled()); // O-7
  if (entry.is_cancelled) {
    scheduler.send(cancel{id});
  }
}

/// O-2. To the replica that has it if that is usable, else, O-6, to another one when that has ended.
void hand_over(router_pointer self, request_id id, const std::string& reason) {
  auto& config = self->state.config;
  if (catch_up(self, id)) {
    return;
  }
  const auto now = config.table->find(id)->replica;
  if (!config.table->is_usable(now) && !config.table->has_ended(now)) {
    return;
  }
  const auto& entry = *config.table->find(id);
  auto next = std::optional(request_table::choice{now, entry.prefill});
  if (!config.table->is_usable(now)) {
    next = config.table->choose_replica(entry.request->prompt);
  }
  if (!next) {
    fail_request(self, id, reason);
    return;
  }
  auto committed = config.journal->tokens(id);
  if (!committed) {
    fail_request(self, id, committed.error().context);
    return;
  }
  if (next->replica != now) { // what it has generated is computed again there
    next->prefill += static_cast<std::int64_t>(committed->size());
  }
  config.table->move(id, next->replica, next->prefill);
  send_to_scheduler(self, id, std::move(*committed));
}

void hand_over_all(router_pointer self, std::int32_t replica, const std::string& reason) {
  for (const auto id : self->state.config.table->requests_of(replica)) {
    hand_over(self, id, reason);
  }
}

/// O-4. What the ledger has forgotten meanwhile has no other body.
bool has_other_body(const router_config& config, request_id known, const protocol::request& asked) {
  const auto state = config.journal->state(known);
  return state && state->body_hash != protocol::body_hash(asked);
}

/// O-4: the request is known, so nothing is accepted and no bound applies; the sink gets everything
/// from the first token on. nullopt: the ledger has forgotten it meanwhile.
std::optional<submit_reply>
attach(router_pointer self, request_id id, const std::shared_ptr<token_sink>& sink) {
  auto& config = self->state.config;
  if (config.table->find(id) != nullptr) {
    if (const auto replaced = config.table->attach(id, sink)) {
      replaced->push(token_event{.id = id,
                                 .reason = finish_reason::failed,
                                 .message = "router: another stream has taken the request over"});
    }
    catch_up(self, id);
    return submit_reply{.id = id};
  }
  const auto all = config.journal->replay(id); // it has ended, and that was delivered
  if (!all) {
    return std::nullopt;
  }
  for (const auto& event : *all) {
    sink->push(event);
  }
  return submit_reply{.id = id};
}

submit_reply on_submit(router_pointer self, const submit& message) {
  auto& config = self->state.config;
  if (const auto known = config.journal->find(message.request->client_key)) {
    if (has_other_body(config, *known, *message.request)) {
      return refuse(errc::invalid_argument,
                    fmt::format("router: the client key was given to another request "
                                "(client_key={} request={})",
                                message.request->client_key,
                                known->value));
    }
    if (auto reply = attach(self, *known, message.sink)) {
      return *reply;
    }
  }
  if (config.table->is_draining()) {
    return refuse(errc::closed, "router: draining: no new requests are accepted");
  }
  if (config.table->size() + static_cast<std::size_t>(message.followers) >= config.max_active) {
    return refuse(errc::queue_full,
                  "router: too many requests are under way (limit="
                      + std::to_string(config.max_active) + ")");
  }
  const auto chosen = config.table->choose_replica(message.request->prompt, message.replicas);
  if (!chosen) {
    return refuse(errc::closed,
                  message.replicas.empty()
                      ? "router: no replica is alive"
                      : "router: no replica that may run it takes requests now");
  }
  auto request = std::make_shared<protocol::request>(*message.request);
  request->id = config.table->next_id();
  request->arrival = request->id.value;
  if (auto accepted = config.journal->accept(*request); !accepted) {
    return refuse(accepted.error().code, accepted.error().context);
  }
  reach_point(self, config.points, "router.submit", {.replica = chosen->replica});
  // In the table only when it is on its way: what a successor does not find there is sent again.
  config.schedulers.at(static_cast<std::size_t>(chosen->replica)).send(add_request{request});
  config.table->add(request->id,
                    {.request = request,
                     .sink = message.sink,
                     .replica = chosen->replica,
                     .prefill = chosen->prefill});
  return {.id = request->id};
}

submit_reply answer_submit(router_pointer self, const submit& message) {
  auto reply = on_submit(self, message);
  if (reply.status != errc::ok) {
    self->state.config.table->note_refusal(reply.status);
  }
  return reply;
}

void on_cancel(router_pointer self, const cancel& message) {
  auto& config = self->state.config;
  if (auto* entry = config.table->find(message.id)) {
    entry->is_cancelled = true;
    config.schedulers.at(static_cast<std::size_t>(entry->replica)).send(message);
  }
}

void on_tokens(router_pointer self, const step_tokens& message) {
  reach_point(self, self->state.config.points, "router.tokens", {.replica = message.replica});
  auto& table = *self->state.config.table;
  const auto now = table.now();
  for (const auto& event : *message.events) {
    if (table.deliver(event, now) == delivery::gap) {
      catch_up(self, event.id); // this one included: it was committed before it was sent
    }
  }
}

void on_replica_changed(router_pointer self, const replica_changed& message) {
  auto& table = *self->state.config.table;
  switch (message.state) {
  case replica_state::loading:
  case replica_state::recovering:
    break; // requests stay where they are
  case replica_state::running:
    table.set_usable(message.replica, true);
    for (const auto id : table.requests_of(message.replica)) {
      catch_up(self, id);
    }
    break;
  case replica_state::restarted:
    hand_over_all(self, message.replica, message.reason);
    break;
  case replica_state::failed:
    table.set_usable(message.replica, false);
    break;
  case replica_state::ended:
    table.set_ended(message.replica);
    hand_over_all(self, message.replica, message.reason);
    break;
  }
}

/// Where its KV is, else Q-3; 0 when nobody is usable. With its tokens, which have to be computed where it has no KV.
request_table::choice choice_for(const router_config& config, const protocol::request& request) {
  const auto kept = config.kept_by.find(request.id);
  if (kept != config.kept_by.end() && config.table->is_usable(kept->second)) {
    return {.replica = kept->second, .prefill = 0};
  }
  auto chosen = config.table->choose_replica(request.prompt).value_or(request_table::choice{});
  chosen.prefill += static_cast<std::int64_t>(request.generated.size());
  return chosen;
}

/// Of all that is held.
std::unordered_map<request_id, time_point> acceptance_times(const ledger::ledger& journal) {
  std::unordered_map<request_id, time_point> times;
  for (const auto& entry : journal.list(std::numeric_limits<std::size_t>::max())) {
    times.emplace(entry.id, entry.accepted);
  }
  return times;
}

/// O-3, Q-5: goes on from what the predecessor left, in this process or in one that has died. Streams
/// get what died in its mailbox; requests that the table lacks become orphans and run on.
void take_over(router_pointer self) {
  auto& config = self->state.config;
  auto& table = *config.table;
  table.skip_ids(config.journal->highest_id());
  for (std::int32_t replica = 0; replica < std::ssize(config.schedulers); ++replica) {
    const bool is_usable = table.is_usable(replica);
    for (const auto id : table.requests_of(replica)) {
      is_usable ? static_cast<void>(catch_up(self, id))
                : hand_over(self, id, "router: the replica has failed");
    }
  }
  const auto accepted = acceptance_times(*config.journal);
  for (auto& request : config.journal->unfinished()) {
    const auto id = request.id;
    if (table.find(id) != nullptr) {
      continue;
    }
    const auto chosen = choice_for(config, request);
    const auto reached = static_cast<std::int32_t>(request.generated.size());
    const auto since = accepted.find(id);
    const request_times times{.accepted = since != accepted.end() ? since->second : time_point(),
                              .counted = reached};
    request.generated.clear();
    table.add(id,
              {.request = std::make_shared<protocol::request>(std::move(request)),
               .replica = chosen.replica,
               .prefill = chosen.prefill,
               .reached = reached,
               .times = times});
    hand_over(self, id, "router: no replica is alive");
  }
  config.kept_by.clear(); // of the moment of the start
}

router_status status_of(router_pointer self) {
  const auto& table = *self->state.config.table;
  return {.active = table.size(),
          .accepted = table.accepted(),
          .finished = table.finished(),
          .active_by_replica = table.active_by_replica(),
          .draining_by_replica = table.draining_by_replica(),
          .is_draining = table.is_draining()};
}

} // namespace

router_actor::behavior_type make_router(router_pointer self, router_config config) {
  end_on_exceptions(self);
  self->state.config = std::move(config);
  take_over(self);
  return {
      [self](const submit& message) { return answer_submit(self, message); },
      [self](const cancel& message) { on_cancel(self, message); },
      [self](const step_tokens& message) { on_tokens(self, message); },
      [self](const replica_changed& message) { on_replica_changed(self, message); },
      [self](const get_router_status&) { return status_of(self); },
      [self](const drain&) {
        self->state.config.table->start_draining();
        return status_of(self);
      },
      [self](const drain_replica& message) {
        self->state.config.table->set_draining(message.replica, message.is_on);
        return status_of(self);
      },
  };
}

} // namespace vdist::actors
