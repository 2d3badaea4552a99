#include "actors/system/replica.hpp"

#include "actors/executor/executor.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/system/machine.hpp"
#include "actors/worker/rank_runner.hpp"
#include "actors/worker/worker_thread.hpp"

#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <fmt/format.h>
#include <limits>
#include <utility>

namespace vdist::actors {

namespace {

sched::scheduler_config scheduler_config_of(const model_setup& setup) {
  const auto& wanted = setup.config.scheduler;
  return {.max_batch_tokens = wanted.max_batch_tokens,
          .max_sequences = setup.limits.max_sequences,
          .max_waiting = setup.accepted_max(),
          .max_model_len = setup.max_model_len,
          .max_prefill_chunk = wanted.prefill_chunk,
          .max_steps_in_flight = setup.layout->sizes().pipeline,
          .blocks = setup.limits.blocks,
          .block_size = wanted.block_size,
          .vocabulary = setup.vocabulary,
          .prefix_cache = wanted.prefix_cache,
          .policy = wanted.policy == config::scheduling_policy::priority
                        ? sched::admission_policy::priority
                        : sched::admission_policy::fcfs};
}

rank_runner_config runner_config_of(const model_setup& setup, rank_id rank) {
  const auto& config = setup.config;
  const auto place = setup.layout->shard_of(rank);
  rank_runner_config runner{.rank = rank,
                            .tensor_size = setup.layout->sizes().tensor,
                            .place = place,
                            .threads = config::threads_per_worker(
                                config.device, available_cores(), setup.layout->world()),
                            .collective_deadline = std::chrono::milliseconds(
                                config.fault_tolerance.collective_deadline_ms)};
  if (setup.device == config::device_kind::sim) {
    runner.device = exec::sim_runner_config{
        .place = place,
        .rank = rank,
        .vocabulary = setup.vocabulary,
        .limits = setup.limits,
        .step_time = std::chrono::duration<double, std::micro>(config.device.sim.step_us),
        .token_time = std::chrono::duration<double, std::micro>(config.device.sim.token_us)};
  } else {
    runner.device =
        exec::model_runner_config{.model = *setup.model,
                                  .source = setup.folder,
                                  .type = setup.type,
                                  .place = place,
                                  .rank = rank,
                                  .limits = setup.limits,
                                  .load_threads = runner.threads,
                                  .random_seed = static_cast<std::uint64_t>(config.model.seed)};
  }
  return runner;
}

} // namespace

replica::replica(std::int32_t index, const system_parts& parts)
    : index_(index),
      parts_(parts),
      waits_(parts.waits, *parts.time),
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
  auto surroundings = environment();
  surroundings.on_state = std::move(on_state);
  supervisor_ = parts_.actors->spawn(make_supervisor, std::move(surroundings), router);
  caf::anon_send(supervisor_, start_replica{});
}

void replica::stop() {
  fence_.raise(epoch(std::numeric_limits<std::uint32_t>::max()));
  caf::anon_send_exit(supervisor_, caf::exit_reason::user_shutdown);
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
          .steps_in_flight = setup.layout->sizes().pipeline,
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

std::shared_ptr<worker_lane> replica::make_lane(lane_request wanted) {
  const auto& setup = *parts_.setup;
  const rank_id rank(first_rank() + wanted.slot);
  worker_thread_links links{.points = parts_.points,
                            .time = parts_.time,
                            .make_runner = [this, config = runner_config_of(setup, rank)] {
                              return make_rank_runner(
                                  config, {.memory = parts_.memory, .stop = &fence_}, waits_);
                            }};
  if (parts_.on_load) {
    links.progress = [report = parts_.on_load, rank](std::uint64_t done, std::uint64_t total) {
      report(rank.value, done, total);
    };
  }
  const auto slot = wanted.slot;
  worker_thread_config config{
      .wanted = std::move(wanted),
      .cluster = parts_.cluster,
      .replica = index_,
      .stage = stage_of_slot_[static_cast<std::size_t>(slot)],
      .rank = rank.value,
      .limits = {.slots = static_cast<std::uint32_t>(setup.limits.max_sequences),
                 .blocks = setup.limits.blocks,
                 .vocabulary = setup.vocabulary,
                 .max_positions = setup.max_model_len,
                 .block_size = setup.limits.block_size}};
  auto lane = std::make_shared<worker_thread>(std::move(config),
                                              std::move(links)); // shared: actor and thread
  parts_.threads->start(fmt::format("worker-{}", rank.value), [lane] { lane->run(); });
  return lane;
}

replica_environment replica::environment() {
  const auto& limits = parts_.setup->config.fault_tolerance;
  const wiring_config wiring{.cluster = parts_.cluster,
                             .replica = index_,
                             .first_rank = first_rank(),
                             .stage_of_slot = stage_of_slot_,
                             .stop = &fence_};
  return {.replica = index_,
          .stage_of_slot = stage_of_slot_,
          .recovery = {.slots = static_cast<std::int32_t>(stage_of_slot_.size()),
                       .max_restarts = limits.max_restarts,
                       .restart_window = std::chrono::seconds(limits.restart_window_s)},
          .make_lane = [this](lane_request wanted) { return make_lane(std::move(wanted)); },
          .spawn_executor =
              [this](const supervisor_actor& supervisor) { return spawn_executor(supervisor); },
          .make_wiring =
              [this, wiring](epoch now, const std::vector<std::uint32_t>& incarnations) {
                auto made = make_wiring(wiring, now, incarnations, waits_);
                VDIST_CHECK(made.has_value(), "wiring: places and rings are made together");
                return std::move(*made);
              },
          .raise_fence = [this](epoch now) { fence_.raise(now); },
          .time = parts_.time};
}

} // namespace vdist::actors
