#include "actors/system/replica.hpp"

#include "actors/executor/executor.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/system/worker_orders.hpp"
#include "actors/worker/worker_order.hpp"
#include "actors/worker/worker_process.hpp"
#include "actors/worker/worker_thread.hpp"

#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <fmt/format.h>
#include <limits>
#include <utility>

namespace vdist::actors {

namespace {

using runner_result = result<std::unique_ptr<exec::step_runner>>;

/// Who waits for rare events does not spin.
frame::wait_settings quiet(frame::wait_settings waits) {
  waits.spin_budget = std::chrono::microseconds(0);
  return waits;
}

sched::scheduler_config scheduler_config_of(const model_setup& setup) {
  const auto& wanted = setup.config.scheduler;
  const auto overlap = sched::overlap_of(setup.layout->sizes().pipeline, wanted.async);
  return {.max_batch_tokens = wanted.max_batch_tokens,
          .max_sequences = setup.limits.max_sequences,
          .max_waiting = setup.accepted_max(),
          .max_model_len = setup.max_model_len,
          .max_prefill_chunk = wanted.prefill_chunk,
          .max_steps_in_flight = overlap.steps_in_flight,
          .feeds_tokens = overlap.feeds_tokens,
          .blocks = setup.limits.blocks,
          .block_size = wanted.block_size,
          .vocabulary = setup.vocabulary,
          .prefix_cache = wanted.prefix_cache,
          .policy = wanted.policy == config::scheduling_policy::priority
                        ? sched::admission_policy::priority
                        : sched::admission_policy::fcfs};
}

} // namespace

replica::replica(std::int32_t index, const system_parts& parts, mapped_words<replica_words> words)
    : index_(index),
      parts_(parts),
      words_(std::move(words)),
      waits_(parts.waits, *parts.time),
      events_(words_->events, frame::wait_policy(quiet(parts.waits), *parts.time)),
      inbox_(static_cast<std::size_t>(parts.setup->accepted_max())) {
  for (const auto rank : parts_.setup->layout->ranks_of_replica(index)) {
    stage_of_slot_.push_back(parts_.setup->layout->at(rank).pipeline);
  }
}

std::int32_t replica::first_rank() const {
  return parts_.setup->layout->ranks_of_replica(index_).front().value;
}

scheduler_actor replica::spawn_scheduler() {
  scheduler_actor_config config{
      .inbox = &inbox_, .refuse = [this](request_id id, const error& cause) {
        const protocol::token_event event{
            .id = id, .reason = protocol::finish_reason::failed, .message = cause.context};
        if (auto ended = parts_.journal->finish(id, event.reason); !ended) {
          log::warn("scheduler: {}", ended.error().context);
        }
        caf::anon_send(router_, step_tokens{index_, std::make_shared<token_events>(1, event)});
      }};
  scheduler_ = parts_.actors->spawn(make_scheduler, std::move(config));
  return scheduler_;
}

void replica::start(const router_actor& router,
                    std::function<void(replica_state, const std::string&)> on_state) {
  router_ = router;
  if (parts_.host != nullptr) {
    parts_.threads->start(fmt::format("events-r{}", index_), [this] { events_.run(); });
  }
  auto surroundings = environment();
  surroundings.on_state = std::move(on_state);
  supervisor_ = parts_.actors->spawn(make_supervisor, std::move(surroundings), router);
  caf::anon_send(supervisor_, start_replica{});
}

void replica::stop() {
  words_->fence.raise(epoch(std::numeric_limits<std::uint32_t>::max()));
  events_.stop();
  if (supervisor_) { // else it was never started
    caf::anon_send_exit(supervisor_, caf::exit_reason::user_shutdown);
  }
  caf::anon_send_exit(scheduler_, caf::exit_reason::user_shutdown);
  supervisor_ = nullptr;
  scheduler_ = nullptr;
  router_ = nullptr;
}

sched::scheduler_stats replica::scheduler_stats() const {
  const std::lock_guard lock(lane_mutex_);
  return lane_ ? lane_->stats() : sched::scheduler_stats{};
}

step_lane_config replica::lane_config() const {
  const auto& setup = *parts_.setup;
  return {.replica = index_,
          .cluster = parts_.cluster,
          .first_rank = first_rank(),
          .stage_of_slot = stage_of_slot_,
          .sampling_slot = setup.layout->sampling_rank(index_).value - first_rank(),
          .step_deadline = std::chrono::milliseconds(setup.config.fault_tolerance.step_deadline_ms),
          .scheduler = scheduler_config_of(setup)};
}

executor_actor replica::spawn_executor(const supervisor_actor& supervisor) {
  const std::lock_guard lock(lane_mutex_);
  const auto predecessor = std::exchange(lane_, nullptr);
  const auto reader = inbox_.reset();
  step_lane_listener listener{
      .on_tokens =
          [router = router_, index = index_](std::shared_ptr<const token_events> events) {
            caf::anon_send(router, step_tokens{index, std::move(events)});
          },
      .on_step_failed =
          [supervisor](epoch now, std::string text) {
            caf::anon_send(supervisor, step_failed{now, std::move(text)});
          },
      .on_crashed = {},
      .on_taken_over =
          [router = router_, index = index_] {
            caf::anon_send(
                router,
                replica_changed{index, replica_state::restarted, "the scheduler was rebuilt"});
          },
      .kill_actor = {}};
  // The lane learns of its actor only after both exist; until then it has nothing to do.
  auto handle = std::make_shared<executor_actor>();
  listener.on_crashed = [handle](const std::string& text) {
    log::error("executor: its lane crashed: {}", text);
    caf::anon_send_exit(*handle, caf::exit_reason::unhandled_exception);
  };
  listener.kill_actor = [handle] {
    caf::anon_send_exit(*handle, caf::exit_reason::kill);
  };
  const step_lane_links links{.inbox = &inbox_,
                              .inbox_reader = reader,
                              .journal = parts_.journal,
                              .points = parts_.points,
                              .times = &times_};
  lane_ = std::make_shared<step_lane>(lane_config(), std::move(listener), links, waits_);
  auto executor = parts_.actors->spawn(make_executor, lane_, &inbox_);
  *handle = executor;
  parts_.threads->start(fmt::format("step-r{}", index_),
                        [lane = lane_, predecessor] { lane->run(predecessor); });
  return executor;
}

/// One order, two forms of the worker.
std::shared_ptr<worker_lane> replica::make_lane(lane_request wanted) {
  auto order = order_of(*parts_.setup, parts_.cluster, index_, wanted.slot, parts_.waits);
  std::function<void(std::uint64_t, std::uint64_t)> progress;
  if (parts_.on_load) {
    progress = [report = parts_.on_load, rank = order.rank()](std::uint64_t done,
                                                              std::uint64_t total) {
      report(rank, done, total);
    };
  }
  if (parts_.host != nullptr) {
    return std::make_shared<worker_process>(std::move(wanted),
                                            std::move(order),
                                            worker_process_links{.host = parts_.host,
                                                                 .memory = parts_.memory,
                                                                 .events = &events_,
                                                                 .bell = &words_->events,
                                                                 .waits = &waits_,
                                                                 .progress = std::move(progress)});
  }
  return make_thread_lane(std::move(wanted), order, std::move(progress));
}

std::shared_ptr<worker_lane>
replica::make_thread_lane(lane_request wanted,
                          const protocol::worker_order& order,
                          std::function<void(std::uint64_t, std::uint64_t)> progress) {
  const wiring_links wiring{.memory = parts_.memory, .stop = &words_->fence};
  worker_thread_links links{.points = parts_.points,
                            .time = parts_.time,
                            .wiring = wiring,
                            .waits = &waits_,
                            .make_runner = [this, order, wiring]() -> runner_result {
                              VDIST_ASSIGN(const auto config, runner_config_of(order));
                              return make_rank_runner(
                                  config, {.memory = wiring.memory, .stop = wiring.stop}, waits_);
                            },
                            .progress = std::move(progress)};
  auto lane = std::make_shared<worker_thread>(worker_thread_config{.wanted = std::move(wanted),
                                                                   .wiring = wiring_of(order),
                                                                   .limits = plan_limits_of(order)},
                                              std::move(links)); // shared: actor and thread
  parts_.threads->start(fmt::format("worker-{}", order.rank()), [lane] { lane->run(); });
  return lane;
}

/// The channels of the epoch before end with it (E-1).
result<std::shared_ptr<epoch_wiring>>
replica::wire(epoch now, const std::vector<std::uint32_t>& incarnations) {
  const wiring_config config{.cluster = parts_.cluster,
                             .replica = index_,
                             .first_rank = first_rank(),
                             .stage_of_slot = stage_of_slot_};
  return make_wiring(config,
                     now,
                     std::exchange(wired_, now),
                     incarnations,
                     {.memory = parts_.memory, .stop = &words_->fence},
                     waits_);
}

replica_environment replica::environment() {
  const auto& limits = parts_.setup->config.fault_tolerance;
  return {.replica = index_,
          .stage_of_slot = stage_of_slot_,
          .recovery = {.slots = static_cast<std::int32_t>(stage_of_slot_.size()),
                       .max_restarts = limits.max_restarts,
                       .restart_window = std::chrono::seconds(limits.restart_window_s)},
          .make_lane = [this](lane_request wanted) { return make_lane(std::move(wanted)); },
          .spawn_executor =
              [this](const supervisor_actor& supervisor) { return spawn_executor(supervisor); },
          .make_wiring =
              [this](epoch now, const std::vector<std::uint32_t>& incarnations) {
                return wire(now, incarnations);
              },
          .raise_fence = [this](epoch now) { words_->fence.raise(now); },
          .time = parts_.time};
}

} // namespace vdist::actors
