#include "actors/system/replica.hpp"

#include "actors/executor/executor.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/system/worker_orders.hpp"
#include "actors/worker/worker_order.hpp"
#include "actors/worker/worker_process.hpp"
#include "actors/worker/worker_thread.hpp"

#include "transport/tensor/exchange.hpp"

#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <stdexcept>
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

/// One of another size is of another configuration, and of no use.
result<vault::region>
map_kv_table(vault::vault& memory, const vault::region_key& key, std::size_t bytes) {
  auto mapped = memory.map(key, bytes);
  if (!mapped && mapped.error().code == errc::invalid_argument) {
    VDIST_TRY(memory.release(key));
    mapped = memory.map(key, bytes);
  }
  return mapped;
}

} // namespace

supervisor::recovery_config recovery_config_of(const model_setup& setup, std::int32_t slots) {
  const auto& limits = setup.config.fault_tolerance;
  return {.slots = slots,
          .quiesce_deadline =
              supervisor::quiesce_deadline_of(std::chrono::milliseconds(limits.step_deadline_ms)),
          .load_deadline = std::chrono::seconds(limits.load_deadline_s),
          .max_restarts = limits.max_restarts,
          .restart_window = std::chrono::seconds(limits.restart_window_s),
          .restart_backoff = std::chrono::milliseconds(limits.restart_backoff_ms),
          .late_epochs_max = tensor::exchange_banks - 1,
          .poison_strikes = limits.poison_strikes};
}

result<replica_memory>
map_replica_memory(vault::vault& memory, const model_setup& setup, std::int32_t index) {
  const auto first = setup.layout->ranks_of_replica(index).front();
  const auto layout = sched::table_config_of(scheduler_config_of(setup));
  replica_memory mapped;
  VDIST_ASSIGN(mapped.words, map_words<replica_words>(memory, replica_words_key(first)));
  end_layer_watches(mapped.words->watched, memory);
  VDIST_ASSIGN(mapped.flights, map_words<flight_words>(memory, flight_words_key(first)));
  VDIST_ASSIGN(mapped.kv_table,
               map_kv_table(memory, kv_table_key(first), sched::kv_table::bytes_for(layout)));
  return mapped;
}

replica::replica(std::int32_t index,
                 const system_parts& parts,
                 replica_memory memory,
                 std::function<void(replica_state, const std::string&)> on_state)
    : index_(index),
      parts_(parts),
      words_(std::move(memory.words)),
      flights_(std::move(memory.flights)),
      kv_region_(std::move(memory.kv_table)),
      kv_table_(kv_region_.memory, sched::table_config_of(scheduler_config_of(*parts.setup))),
      waits_(parts.waits, *parts.time),
      events_(words_->events, frame::wait_policy(quiet(parts.waits), *parts.time)),
      on_state_(std::move(on_state)),
      workers_(
          parts.setup->layout->ranks_of_replica(index).size(),
          [this](lane_request wanted) { return make_lane(std::move(wanted)); },
          [this](const worker_event& event) { supervisor_.send(event); }),
      inbox_(static_cast<std::size_t>(parts.setup->accepted_max())),
      requests_(parts.setup->max_model_len) {
  for (const auto rank : parts_.setup->layout->ranks_of_replica(index)) {
    stage_of_slot_.push_back(parts_.setup->layout->at(rank).pipeline);
  }
  if (!parts_.left.empty()) {
    workers_.remember(parts_.left.at(static_cast<std::size_t>(index)));
  }
  if (parts_.host != nullptr) {
    parts_.threads->start(fmt::format("events-r{}", index_), [this] { events_.run(); });
  }
}

std::int32_t replica::first_rank() const {
  return parts_.setup->layout->ranks_of_replica(index_).front().value;
}

caf::strong_actor_ptr replica::spawn_scheduler() {
  scheduler_actor_config config{
      .replica = index_,
      .inbox = &inbox_,
      .points = parts_.points,
      .refuse = [this](request_id id, const error& cause) {
        const protocol::token_event event{
            .id = id, .reason = protocol::finish_reason::failed, .message = cause.context};
        if (auto ended = parts_.journal->finish(id, event.reason, event.message); !ended) {
          log::warn("scheduler: {}", ended.error().context);
        }
        parts_.router.send(step_tokens{index_, std::make_shared<token_events>(1, event)});
      }};
  const auto scheduler = parts_.actors->spawn(make_scheduler, std::move(config));
  parts_.census->add(caf::actor_cast<caf::strong_actor_ptr>(scheduler));
  scheduler_.set(scheduler);
  return caf::actor_cast<caf::strong_actor_ptr>(scheduler);
}

/// The route leads to the successor before it asks what it finds: every `gone` that comes after the
/// question reaches it.
caf::strong_actor_ptr replica::spawn_supervisor() {
  const auto supervisor = parts_.actors->spawn(make_supervisor, environment(), parts_.router);
  parts_.census->add(caf::actor_cast<caf::strong_actor_ptr>(supervisor));
  supervisor_.set(supervisor);
  caf::anon_send(supervisor, start_replica{});
  return caf::actor_cast<caf::strong_actor_ptr>(supervisor);
}

void replica::stop() {
  words_->fence.raise(epoch(std::numeric_limits<std::uint32_t>::max()));
  kv_table_.set_content(0);
  if (const auto supervisor = supervisor_.get()) { // else it was never started
    caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
  }
  // Behind the exit: a supervisor that heard of it first would send for successors.
  workers_.stop_all();
  events_.stop();
  if (const auto scheduler = scheduler_.get()) {
    caf::anon_send_exit(scheduler, caf::exit_reason::user_shutdown);
  }
  supervisor_.close();
  scheduler_.close();
}

void replica::end_lane(const std::string& reason) {
  inbox_.close();
  end_spares();
  {
    const std::lock_guard lock(lane_mutex_);
    given_up_ = given_up_.value_or(reason);
    if (lane_) {
      lane_->stop();
    }
  }
  report_end();
}

/// Called when either has become true, so that whoever comes second tells. A lane that follows a
/// predecessor ends after it: the newest stands for all.
void replica::report_end() const {
  std::string reason;
  {
    const std::lock_guard lock(lane_mutex_);
    if (!given_up_ || (lane_ && !lane_->has_ended())) {
      return;
    }
    reason = *given_up_;
  }
  parts_.router.send(replica_changed{index_, replica_state::ended, std::move(reason)});
}

sched::scheduler_stats replica::scheduler_stats() const {
  const std::lock_guard lock(lane_mutex_);
  return lane_ ? lane_->stats() : sched::scheduler_stats{};
}

std::vector<caf::actor> replica::living_actors() const {
  auto actors = spawned_.living();
  if (const auto scheduler = scheduler_.get()) {
    actors.push_back(caf::actor_cast<caf::actor>(scheduler));
  }
  if (const auto supervisor = supervisor_.get()) {
    actors.push_back(caf::actor_cast<caf::actor>(supervisor));
  }
  return actors;
}

result<std::unique_ptr<layer_watch>> replica::watch_layer(const layer_watch_config& config) {
  return layer_watch::start(config,
                            parts_.setup->model->hidden,
                            words_->watched,
                            {.memory = parts_.memory, .mutex = &watch_mutex_},
                            frame::wait_policy(quiet(parts_.waits), *parts_.time));
}

/// A lane that was replaced is watched no more: its successor waits for it with its own cell.
std::vector<std::uint64_t> replica::progress_words() const {
  const std::lock_guard lock(lane_mutex_);
  return {events_.progress().word.load(), lane_ ? lane_->progress().word.load() : 0};
}

step_lane_config replica::lane_config() const {
  const auto& setup = *parts_.setup;
  return {.replica = index_,
          .cluster = parts_.cluster,
          .first_rank = first_rank(),
          .stage_of_slot = stage_of_slot_,
          .sampling_slot = setup.layout->sampling_rank(index_).value - first_rank(),
          .step_deadline = std::chrono::milliseconds(setup.config.fault_tolerance.step_deadline_ms),
          .poison_strikes = setup.config.fault_tolerance.poison_strikes,
          .scheduler = scheduler_config_of(setup)};
}

/// This replica's part.
lane_store replica::store_of_lane() const {
  if (!parts_.setup->host_store) {
    return {};
  }
  const auto& plan = *parts_.setup->host_store;
  return {.memory = parts_.store.subspan(plan.before(index_), plan.part_bytes),
          .config = plan.config,
          .saves_max = plan.saves_max};
}

replica_progress& replica::progress() const {
  return parts_.run->replicas.at(static_cast<std::size_t>(index_));
}

/// Before anybody hears of it: whoever follows must not use it again.
void replica::note_epoch(epoch now) {
  auto& highest = progress().epoch;
  highest = std::max(highest.load(), now.value);
}

/// Since when it has had requests without a pause; nullopt: it has none.
std::optional<time_point> replica::busy_since() const {
  if (requests_.active.load() <= 0) {
    return std::nullopt;
  }
  const std::chrono::nanoseconds since(requests_.active_since_ns.load());
  return time_point(std::chrono::duration_cast<duration>(since));
}

/// For metrics, and for reports about faults. The points have the same order on both sides.
void replica::note_recovery(const supervisor::recovery_mark& mark) {
  static_assert(static_cast<int>(supervisor::recovery_point::given_up)
                == static_cast<int>(fault_moment_kind::given_up));
  if (mark.what == supervisor::recovery_point::begun) {
    first_of_ = mark.now.value;
  }
  recovery_meter_.note(mark, busy_since());
  note_moment({.what = static_cast<fault_moment_kind>(mark.what),
               .replica = index_,
               .slot = mark.slot,
               .epoch = mark.now.value,
               .at_ns = ns_of(mark.at)});
}

void replica::note_moment(const fault_moment& moment) {
  parts_.trace->note(moment);
  recent_moments(parts_.run->moments).note(moment);
}

/// On the step thread, behind a commit.
void replica::note_tokens(const token_events& events) {
  const auto count = std::count_if(
      events.begin(), events.end(), [](const auto& event) { return event.token >= 0; });
  if (count == 0) {
    return;
  }
  const auto now = parts_.time->now();
  recovery_meter_.note_tokens(now);
  parts_.trace->note_tokens(now, static_cast<std::uint32_t>(count));
  if (const auto epoch = first_of_.exchange(0); epoch != 0) {
    note_moment({.what = fault_moment_kind::first_tokens,
                 .replica = index_,
                 .epoch = epoch,
                 .at_ns = ns_of(now)});
  }
}

void replica::note_spawned(const caf::strong_actor_ptr& actor) {
  parts_.census->add(actor);
  spawned_.add(actor);
}

executor_actor replica::spawn_executor() {
  const std::lock_guard lock(lane_mutex_);
  const auto predecessor = std::exchange(lane_, nullptr);
  metrics::count(recoveries_.executors, predecessor ? 1 : 0);
  const auto reader = inbox_.reset();
  step_lane_listener listener{
      .on_tokens =
          [this](std::shared_ptr<const token_events> events) {
            note_tokens(*events);
            parts_.router.send(step_tokens{index_, std::move(events)});
          },
      .on_step_failed =
          [this](epoch now, std::string text) {
            supervisor_.send(step_failed{now, std::move(text)});
          },
      .on_disagreement =
          [this](const std::vector<std::int32_t>& slots, bool is_certain, const std::string& text) {
            metrics::count(recoveries_.disagreements);
            supervisor_.send(ranks_disagree{slots, is_certain, text});
          },
      .on_crashed = {},
      .on_taken_over =
          [this] {
            parts_.router.send(
                replica_changed{index_, replica_state::restarted, "the scheduler was rebuilt"});
          },
      .on_ended = [this] { report_end(); },
      .on_culprit =
          [this](const culprit& found) {
            supervisor_.send(culprit_found{found.strikes, found.has_progressed});
            if (found.is_of_process && found.has_progressed && parts_.host != nullptr) {
              parts_.host->board()->ends_explained += static_cast<std::uint32_t>(found.strikes);
            }
          },
      .on_acquittal =
          [this](const acquittal& given) {
            supervisor_.send(suspicion_over{given.now, given.are_innocent});
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
                              .times = &times_,
                              .last_step = &progress().step,
                              .kv = &kv_table_,
                              .store = store_of_lane(),
                              .kept_total = &progress().kept,
                              .flights = flights_.words,
                              .view = parts_.views.at(static_cast<std::size_t>(index_)),
                              .requests = &requests_,
                              .recoveries = &recoveries_};
  lane_ = std::make_shared<step_lane>(lane_config(), std::move(listener), links, waits_);
  if (given_up_) { // by the guardian, while its supervisor still worked
    lane_->stop();
  }
  auto executor = parts_.actors->spawn(make_executor, lane_, &inbox_);
  *handle = executor;
  note_spawned(caf::actor_cast<caf::strong_actor_ptr>(executor));
  parts_.threads->start(fmt::format("step-r{}", index_),
                        [lane = lane_, predecessor] { lane->run(predecessor); });
  return executor;
}

/// One order, two forms of the worker.
std::shared_ptr<worker_lane> replica::make_lane(lane_request wanted) {
  if (wanted.is_living && parts_.host == nullptr) {
    throw std::runtime_error("worker: no process of it is known");
  }
  const bool follows = !wanted.is_living && wanted.worker.value > 1;
  if (follows && !retired_.take(wanted.slot)) {
    ++progress().restarts;
  }
  auto order = order_of(*parts_.setup, parts_.cluster, index_, wanted.slot, parts_.waits);
  std::function<void(std::uint64_t, std::uint64_t)> progress;
  if (parts_.on_load) {
    progress = [report = parts_.on_load, rank = order.rank()](std::uint64_t done,
                                                              std::uint64_t total) {
      report(rank, done, total);
    };
  }
  if (parts_.host != nullptr) {
    const bool is_living = wanted.is_living;
    if (prepares_spares(*parts_.setup)) {
      wanted.report = with_spare(std::move(wanted.report), order);
    }
    auto lane = std::make_shared<worker_process>(
        std::move(wanted),
        std::move(order),
        worker_process_links{.host = parts_.host,
                             .memory = parts_.memory,
                             .events = &events_,
                             .bell = &words_->events,
                             .points = parts_.points,
                             .waits = &waits_,
                             .progress = std::move(progress)}); // shared: actor, pump, host link
    if (is_living) {
      lane->adopt();
    }
    return lane;
  }
  return make_thread_lane(std::move(wanted), order, std::move(progress));
}

/// Asks for the worker's spare when it has loaded: once, behind whoever waits for that. `quiesced` says so, too (L-8).
lane_report replica::with_spare(lane_report report, protocol::worker_order order) {
  order.incarnation = 0;
  protocol::prepare_spare wanted{
      .rank = order.rank(), .order = {}, .order_hash = spare_hash_of(order)};
  protocol::encode(order, wanted.order);
  const auto note_ready = [this, slot = order.slot](const protocol::spare_ready& ready) {
    note_moment({.what = fault_moment_kind::spare_ready,
                 .replica = index_,
                 .slot = slot,
                 .epoch = highest_epoch(),
                 .at_ns = ready.at_ns});
  };
  return [this,
          report = std::move(report),
          note_ready,
          wanted = std::move(wanted),
          has_asked = std::make_shared<std::atomic<bool>>(false)](worker_event event) {
    const bool has_loaded =
        event.what == worker_event::kind::loaded || event.what == worker_event::kind::quiesced;
    report(std::move(event));
    if (has_loaded && !has_asked->exchange(true)) {
      parts_.host->prepare_spare(wanted, note_ready);
    }
  };
}

/// Nobody comes back for them.
void replica::end_spares() const {
  if (parts_.host == nullptr || !prepares_spares(*parts_.setup)) {
    return;
  }
  for (const auto rank : parts_.setup->layout->ranks_of_replica(index_)) {
    parts_.host->prepare_spare({.rank = rank.value, .order = {}}, {});
  }
}

std::shared_ptr<worker_lane>
replica::make_thread_lane(lane_request wanted,
                          const protocol::worker_order& order,
                          std::function<void(std::uint64_t, std::uint64_t)> progress) {
  const wiring_links wiring{
      .memory = parts_.memory, .stop = &words_->fence, .points = parts_.points};
  worker_thread_links links{.points = parts_.points,
                            .time = parts_.time,
                            .wiring = wiring,
                            .waits = &waits_,
                            .make_runner = [this, order, wiring]() -> runner_result {
                              VDIST_ASSIGN(const auto config, runner_config_of(order));
                              return make_rank_runner(config,
                                                      {.memory = wiring.memory,
                                                       .stop = wiring.stop,
                                                       .orders = &words_->watched,
                                                       .store = parts_.store},
                                                      waits_);
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
  note_epoch(now);
  VDIST_ASSIGN(
      auto wiring,
      make_wiring(config,
                  now,
                  epoch(progress().wired.exchange(now.value)),
                  incarnations,
                  {.memory = parts_.memory, .stop = &words_->fence, .points = parts_.points},
                  waits_));
  wiring->kv_content = kv_content();
  return wiring;
}

/// All workers have loaded: each has named the memory that it keeps its KV in (model/exec/kv_region.hpp).
std::uint64_t replica::kv_content() const {
  constexpr std::uint64_t offset_basis = 0xcbf29ce484222325; // FNV-1a, by words
  constexpr std::uint64_t prime = 0x100000001b3;
  auto all = offset_basis;
  for (const auto rank : parts_.setup->layout->ranks_of_replica(index_)) {
    const vault::region_key key{.rank = rank, .kind = vault::region_kind::kv_cache};
    all = (all ^ parts_.memory->ready_hash(key).value_or(0)) * prime;
  }
  return all;
}

///
supervisor::group_state replica::found_group() {
  return {.first = epoch(progress().epoch).next(), .slots = workers_.found()};
}

/// Begins the tenure of a new supervisor.
replica_environment replica::environment() {
  const auto tenure = workers_.begin_tenure();
  return {
      .replica = index_,
      .stage_of_slot = stage_of_slot_,
      .recovery =
          recovery_config_of(*parts_.setup, static_cast<std::int32_t>(stage_of_slot_.size())),
      .make_lane =
          [this, tenure](lane_request wanted) { return workers_.take(tenure, std::move(wanted)); },
      .spawn_executor = [this](const supervisor_actor&) { return spawn_executor(); },
      .make_wiring =
          [this](epoch now, const std::vector<std::uint32_t>& incarnations) {
            return wire(now, incarnations);
          },
      .raise_fence =
          [this](epoch now) {
            note_epoch(now);
            metrics::count(recoveries_.fences);
            words_->fence.raise(now);
          },
      .on_state =
          [this](replica_state state, const std::string& reason) {
            if (state
                == replica_state::failed) { // its requests move: nobody comes back for their KV
              kv_table_.set_content(0);
            }
            on_state_(state, reason);
          },
      .on_given_up =
          [this](std::int32_t slot, const std::string& reason) {
            return parts_.on_given_up(index_,
                                      slot < 0 ? std::nullopt
                                               : std::optional(rank_id(first_rank() + slot)),
                                      reason);
          },
      .group = [this] { return found_group(); },
      .on_recovery = [this](const supervisor::recovery_mark& mark) { note_recovery(mark); },
      .end_lane = [this](const std::string& reason) { end_lane(reason); },
      .on_end = [this, tenure] { workers_.end_tenure(tenure); },
      .on_retire = [this](std::int32_t slot) { retired_.add(slot); },
      .on_spawn = [this](const caf::strong_actor_ptr& actor) { note_spawned(actor); },
      .points = parts_.points,
      .time = parts_.time};
}

} // namespace vdist::actors
