#include "actors/router/router.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <utility>

namespace vdist::actors {

namespace {

using protocol::finish_reason;
using protocol::token_event;

submit_reply refuse(errc code, std::string message) {
  return {.status = code, .message = std::move(message)};
}

submit_reply on_submit(router_pointer self, const submit& message) {
  auto& config = self->state.config;
  if (config.table->is_draining()) {
    return refuse(errc::closed, "router: draining: no new requests are accepted");
  }
  if (config.table->size() >= config.max_active) {
    return refuse(errc::queue_full,
                  "router: too many requests are under way (limit="
                      + std::to_string(config.max_active) + ")");
  }
  const auto replica = config.table->choose_replica();
  if (!replica) {
    return refuse(errc::closed, "router: no replica is alive");
  }
  auto request = std::make_shared<protocol::request>(*message.request);
  request->id = config.table->next_id();
  request->arrival = request->id.value;
  if (auto accepted = config.journal->accept(*request); !accepted) {
    return refuse(accepted.error().code, accepted.error().context);
  }
  config.table->add(request->id, {.request = request, .sink = message.sink, .replica = *replica});
  self->send(config.schedulers.at(static_cast<std::size_t>(*replica)), add_request{request});
  return {.id = request->id};
}

void on_cancel(router_pointer self, const cancel& message) {
  auto& config = self->state.config;
  if (auto* entry = config.table->find(message.id)) {
    entry->is_cancelled = true;
    self->send(config.schedulers.at(static_cast<std::size_t>(entry->replica)), message);
  }
}

void on_tokens(router_pointer self, const step_tokens& message) {
  for (const auto& event : *message.events) {
    self->state.config.table->deliver(event);
  }
}

/// Ends a request that no replica can go on with.
void fail_request(router_pointer self, request_id id, const std::string& reason) {
  auto& config = self->state.config;
  if (auto ended = config.journal->finish(id, finish_reason::failed); !ended) {
    log::warn("router: {} (request={})", ended.error().context, id.value);
  }
  config.table->deliver(token_event{.id = id, .reason = finish_reason::failed, .message = reason});
}

/// The id that ended a request, as the scheduler would have said it; -1: another reason.
token_id stop_token_of(const protocol::request& request, token_id last) {
  const auto has = [last](const std::vector<token_id>& ids) {
    return std::find(ids.begin(), ids.end(), last) != ids.end();
  };
  return has(request.stop_token_ids) || (!request.ignore_eos && has(request.eos_ids)) ? last : -1;
}

/// O-2: what the ledger holds and the stream does not goes out first. True: the ledger says that
/// the request has ended.
bool catch_up(router_pointer self, request_id id, std::vector<token_id>& committed) {
  auto& config = self->state.config;
  auto tokens = config.journal->tokens(id);
  const auto state = config.journal->state(id);
  if (!tokens || !state) {
    fail_request(self, id, "the ledger has lost the request");
    return true;
  }
  committed = std::move(*tokens);
  const bool has_ended = state->reason != finish_reason::none;
  const auto count = static_cast<std::int32_t>(committed.size());
  for (auto position = config.table->find(id)->delivered; position < count; ++position) {
    const bool is_last = has_ended && position + 1 == count;
    const auto token = committed[static_cast<std::size_t>(position)];
    const auto& request = *config.table->find(id)->request;
    const bool is_stopped = is_last && state->reason == finish_reason::stop;
    config.table->deliver(
        token_event{.id = id,
                    .position = position,
                    .token = token,
                    .reason = is_last ? state->reason : finish_reason::none,
                    .stop_token = is_stopped ? stop_token_of(request, token) : -1});
  }
  if (has_ended && config.table->find(id) != nullptr) {
    config.table->deliver(token_event{.id = id, .reason = state->reason});
  }
  return has_ended;
}

void hand_over(router_pointer self, request_id id, std::int32_t replica) {
  auto& config = self->state.config;
  std::vector<token_id> committed;
  if (catch_up(self, id, committed)) {
    return;
  }
  config.table->move(id, replica);
  auto request = std::make_shared<protocol::request>(*config.table->find(id)->request);
  request->generated = std::move(committed);
  const auto& scheduler = config.schedulers.at(static_cast<std::size_t>(replica));
  self->send(scheduler, add_request{std::move(request)});
  if (config.table->find(id)->is_cancelled) {
    self->send(scheduler, cancel{id});
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
    break;
  case replica_state::restarted:
    for (const auto id : table.requests_of(message.replica)) {
      hand_over(self, id, message.replica);
    }
    break;
  case replica_state::failed:
    table.set_usable(message.replica, false);
    for (const auto id : table.requests_of(message.replica)) {
      if (const auto other = table.choose_replica()) {
        hand_over(self, id, *other);
      } else {
        fail_request(self, id, message.reason);
      }
    }
    break;
  }
}

router_status status_of(router_pointer self) {
  const auto& table = *self->state.config.table;
  return {.active = table.size(),
          .accepted = table.accepted(),
          .finished = table.finished(),
          .active_by_replica = table.active_by_replica(),
          .is_draining = table.is_draining()};
}

} // namespace

router_actor::behavior_type make_router(router_pointer self, router_config config) {
  self->state.config = std::move(config);
  return {
      [self](const submit& message) { return on_submit(self, message); },
      [self](const cancel& message) { on_cancel(self, message); },
      [self](const step_tokens& message) { on_tokens(self, message); },
      [self](const replica_changed& message) { on_replica_changed(self, message); },
      [self](const get_router_status&) { return status_of(self); },
      [self](const drain&) {
        self->state.config.table->start_draining();
        return status_of(self);
      },
  };
}

} // namespace vdist::actors
