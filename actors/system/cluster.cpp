#include "actors/system/cluster.hpp"

#include "actors/router/router.hpp"
#include "actors/system/adoption.hpp"
#include "actors/system/devices.hpp"
#include "actors/system/machine.hpp"
#include "actors/system/reduction.hpp"

#include "runtime/base/check.hpp"
#include "runtime/base/log.hpp"

#include <caf/send.hpp>

#include <fmt/format.h>
#include <random>
#include <set>
#include <unistd.h>
#include <utility>

#include "host/supervisor.hpp"

namespace vdist::actors {

namespace {

constexpr std::size_t actor_threads = 2;
/// A spinner costs its core: it pays only where every lane and the step threads have one of their
/// own.
constexpr std::chrono::microseconds spin_on_free_cores{200};
constexpr std::chrono::microseconds spin_on_shared_cores{20};
/// Bells and the fence wake sleepers; the slice is for the case that a wake-up is lost, and costs
/// an idle cluster a look per sleeper.
constexpr std::chrono::milliseconds sleep_slice{500};

frame::wait_settings wait_settings_of(const model_setup& setup) {
  const auto threads = setup.layout->world() + setup.layout->sizes().data;
  const bool has_free_cores = threads <= available_cores();
  return {.spin_budget = has_free_cores ? spin_on_free_cores : spin_on_shared_cores,
          .slice_max = sleep_slice};
}

std::vector<std::unique_ptr<sched::replica_view>> make_views(const model_setup& setup) {
  std::vector<std::unique_ptr<sched::replica_view>> views;
  for (std::int32_t index = 0; index < setup.layout->sizes().data; ++index) {
    views.push_back(std::make_unique<sched::replica_view>(setup.limits.blocks));
  }
  return views;
}

sched::replica_choice make_choice(const model_setup& setup,
                                  const std::vector<std::unique_ptr<sched::replica_view>>& views) {
  const auto& wanted = setup.config.scheduler;
  std::vector<const sched::replica_view*> seen;
  for (const auto& view : views) {
    seen.push_back(view.get());
  }
  return {{.replicas = setup.layout->sizes().data,
           .block_size = wanted.block_size,
           .weighs_prefix = wanted.prefix_cache && wanted.routing == config::routing_rule::prefix},
          std::move(seen)};
}

host::restart_limits restart_limits_of(const model_setup& setup) {
  const auto& wanted = setup.config.fault_tolerance;
  return {.restarts_max = static_cast<std::size_t>(wanted.max_restarts),
          .window = std::chrono::seconds(wanted.restart_window_s),
          .backoff = std::chrono::milliseconds(wanted.restart_backoff_ms)};
}

/// The host store is the supervisor's; threads have theirs in this process.
result<void> find_store(model_setup& setup, isolated_parts& parts) {
  const auto wanted = static_cast<std::size_t>(setup.config.fault_tolerance.kv_host_bytes);
  if (!parts.host && wanted > 0) {
    VDIST_ASSIGN(const auto file, socket::make_shared_file("vdist-kv-store", wanted));
    VDIST_ASSIGN(parts.store_memory, socket::shared_mapping::map(file, wanted));
  }
  if (parts.store_memory) {
    VDIST_ASSIGN(setup.host_store, plan_host_store(setup, parts.store_memory->memory().size()));
  } else if (wanted > 0) {
    log::warn("cluster: no host store: worker processes of a program that embeds the engine have "
              "none (fault_tolerance.kv_host_bytes={})",
              wanted);
  }
  return {};
}

} // namespace

std::uint64_t random_u64() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

quiet_actor_config::quiet_actor_config() {
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", actor_threads);
  set("logger.verbosity", caf::atom("quiet"));
}

cluster::cluster(model_setup made,
                 std::function<void(std::uint64_t, std::uint64_t)> on_load,
                 caf::actor_system* borrowed)
    : setup_(std::move(made)),
      views_(make_views(setup_)),
      table_(make_choice(setup_, views_)),
      board_(static_cast<std::size_t>(setup_.layout->sizes().data)),
      loads_(static_cast<std::size_t>(setup_.layout->world()), std::move(on_load)),
      borrowed_(borrowed),
      threads_(std::make_unique<lane_threads>()) {}

/// The guardian first, or it would replace what ends; then actors, because a recovery that is under
/// way starts lanes; lanes before the actor system, because their reports go to actors.
cluster::~cluster() {
  if (actors_ == nullptr) {
    return;
  }
  is_stopping_ = true;
  devices_.reset();
  if (watch_) { // ends take as long as they take
    parts_.host->stop_watching();
    watch_.reset();
  }
  if (const auto guardian = guardian_.get()) { // else it was never spawned
    caf::scoped_actor self{*actors_};
    caf::anon_send_exit(guardian, caf::exit_reason::user_shutdown);
    self->wait_for(guardian);
    guardian_.close();
  }
  for (auto& replica : replicas_) {
    replica->stop();
  }
  if (const auto router = router_.get()) {
    caf::anon_send_exit(router, caf::exit_reason::user_shutdown);
  }
  router_.close();
  if (system_) {
    system_->await_all_actors_done(); // that of the watch, too
  } else {
    census_.wait_until_none(); // of a borrowed system only those that are ours
  }
  parts_.host.reset(); // ends what is left of the worker processes
  threads_.reset();
  replicas_.clear();
  system_.reset();
}

result<void> cluster::start(const host_access& access) {
  VDIST_ASSIGN(parts_, make_isolated_parts(setup_.config.cluster.isolation, access, time_));
  if (parts_.host) {
    const auto& limits = setup_.config.fault_tolerance;
    parts_.host->configure({.detect_ms = limits.detect_ms,
                            .standby = prepares_spares(setup_) ? 0 : limits.standby,
                            .control_stall_ms = limits.control_stall_ms,
                            .prepares_spares = prepares_spares(setup_)});
  }
  VDIST_TRY(find_store(setup_, parts_));
  if (setup_.device == config::device_kind::cuda) {
    VDIST_TRY(use_devices(parts_, setup_));
  }
  capacity_.emplace(setup_, parts_.run->reductions);
  has_run_before_ = has_run(*parts_.run);
  if (borrowed_ == nullptr) {
    system_ = std::make_unique<caf::actor_system>(actor_config_);
  }
  actors_ = borrowed_ != nullptr ? borrowed_ : system_.get();
  VDIST_TRY(make_replicas());
  go_on_draining();
  spawn_guardian();
  watch_self();
  watch_devices();
  return {};
}

/// Of every rank on a GPU, where the driver says something of it.
void cluster::watch_devices() {
  std::string why;
  auto* const module =
      setup_.device == config::device_kind::cuda ? kernels::load_cuda_module(why) : nullptr;
  if (module == nullptr) {
    return;
  }
  std::set<std::int32_t> used;
  for (std::int32_t rank = 0; rank < setup_.layout->world(); ++rank) {
    used.insert(device_of(setup_, rank_id(rank)));
  }
  device_source_ = module->watch_events({used.begin(), used.end()}, why);
  if (!device_source_) {
    log::debug("cluster: nobody tells what happens to devices: {}", why);
    return;
  }
  devices_ = std::make_unique<device_watch>(
      device_watch_config{
          .next =
              [this](std::chrono::milliseconds timeout, kernels::device_event& event) {
                return device_source_->wait(timeout, event);
              },
          .on_lost =
              [this](std::int32_t device, const std::string& reason) {
                lose_device(device, reason);
              }},
      device_events_);
}

/// Whatever its workers say of it themselves.
void cluster::lose_device(std::int32_t device, const std::string& reason) {
  for (std::int32_t rank = 0; rank < setup_.layout->world(); ++rank) {
    if (device_of(setup_, rank_id(rank)) == device) {
      const auto replica = static_cast<std::size_t>(setup_.layout->replica_of(rank_id(rank)));
      replicas_.at(replica)->lose_device_of(rank_id(rank), reason);
    }
  }
}

void cluster::watch_self() {
  if (!parts_.host || !parts_.host->is_child()) {
    return;
  }
  const auto actors = [this] {
    std::vector<caf::actor> all;
    for (const auto& replica : replicas_) {
      auto some = replica->living_actors();
      all.insert(all.end(), some.begin(), some.end());
    }
    if (const auto router = router_.get()) {
      all.push_back(caf::actor_cast<caf::actor>(router));
    }
    if (const auto guardian = guardian_.get()) {
      all.push_back(caf::actor_cast<caf::actor>(guardian));
    }
    return all;
  };
  const auto words = [this] {
    std::vector<std::uint64_t> all;
    for (const auto& replica : replicas_) {
      const auto some = replica->progress_words();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  watch_ = std::make_unique<node_watch>(*actors_, node_watch_config{actors, words});
  parts_.host->watch([this] { return watch_->gets_on(); },
                     std::chrono::milliseconds(setup_.config.fault_tolerance.control_stall_ms));
}

result<void> cluster::wait_until_running() {
  const auto running = board_.wait_until_running(has_run_before_);
  loads_.close();
  return running;
}

std::vector<host::process_info> cluster::processes() const {
  return parts_.host ? parts_.host->processes() : std::vector<host::process_info>();
}

result<void> cluster::make_replicas() {
  VDIST_ASSIGN(auto left, find_workers(parts_, setup_, wait_settings_of(setup_)));
  system_parts shared{
      .setup = &setup_,
      .actors = actors_,
      .census = &census_,
      .host = parts_.host.get(),
      .memory = parts_.memory.get(),
      .store = parts_.store_memory ? parts_.store_memory->memory() : std::span<std::byte>(),
      .journal = parts_.journal.get(),
      .points = parts_.points.get(),
      .trace = &*parts_.trace,
      .time = &time_,
      .threads = threads_.get(),
      .router = router_,
      .waits = wait_settings_of(setup_),
      .cluster = parts_.cluster,
      .run = parts_.run,
      .views = {},
      .left = std::move(left),
      .on_load =
          [this](std::int32_t rank, std::uint64_t done, std::uint64_t total) {
            loads_.set(static_cast<std::size_t>(rank), done, total);
          },
      .on_given_up =
          [this](std::int32_t replica, std::optional<rank_id> rank, const std::string& reason) {
            return on_given_up(replica, rank, reason);
          }};
  for (const auto& view : views_) {
    shared.views.push_back(view.get());
  }
  for (std::int32_t index = 0; index < setup_.layout->sizes().data; ++index) {
    VDIST_ASSIGN(auto memory, map_replica_memory(*parts_.memory, setup_, index));
    auto on_state = [this, index](replica_state state, const std::string& reason) {
      board_.set(static_cast<std::size_t>(index), state, reason);
    };
    replicas_.push_back(
        std::make_unique<replica>(index, shared, std::move(memory), std::move(on_state)));
  }
  std::vector<metrics::request_metrics*> requests;
  for (const auto& replica : replicas_) {
    requests.push_back(&replica->requests());
  }
  table_.measure(request_meter(std::move(requests), refusals_, time_));
  return {};
}

/// As operators told the process before this one.
void cluster::go_on_draining() {
  const auto& ordered = parts_.run->operators;
  if (ordered.is_draining != 0) {
    table_.start_draining();
  }
  for (std::int32_t index = 0; index < setup_.layout->sizes().data; ++index) {
    const auto& word = ordered.is_replica_draining.at(static_cast<std::size_t>(index));
    table_.set_draining(index, word != 0);
  }
}

/// Schedulers first, then who sends to them, then who may say that a replica runs.
void cluster::spawn_guardian() {
  guardian_config config{.limits = restart_limits_of(setup_), .time = &time_};
  for (std::size_t index = 0; index < replicas_.size(); ++index) {
    config.children.push_back(scheduler_child(index));
  }
  config.children.push_back(router_child());
  for (std::size_t index = 0; index < replicas_.size(); ++index) {
    config.children.push_back(supervisor_child(index));
  }
  const auto guardian = actors_->spawn(make_guardian, std::move(config));
  census_.add(caf::actor_cast<caf::strong_actor_ptr>(guardian));
  guardian_.set(guardian);
  caf::actor_cast<caf::actor>(guardian)->attach_functor([this](const caf::error&) {
    VDIST_CHECK(is_stopping_.load(), "G-4: the guardian has ended");
  });
  caf::anon_send(guardian, start_children{});
}

guardian_child cluster::router_child() {
  router_config config{.max_active = static_cast<std::size_t>(setup_.accepted_max()),
                       .table = &table_,
                       .journal = parts_.journal.get(),
                       .schedulers = {},
                       .points = parts_.points.get()};
  for (const auto& replica : replicas_) {
    config.schedulers.push_back(replica->scheduler());
  }
  return {.name = "router",
          .spawn =
              [this, config] {
                auto now = config;
                now.kept_by = kept_by();
                metrics::count(starts_.routers);
                const auto router = actors_->spawn(make_router, std::move(now));
                census_.add(caf::actor_cast<caf::strong_actor_ptr>(router));
                router_.set(router);
                return caf::actor_cast<caf::strong_actor_ptr>(router);
              },
          .on_replaced =
              [this] {
                for (std::size_t index = 0; index < replicas_.size(); ++index) {
                  tell_router_of(index);
                }
              },
          .on_given_up =
              [this](const std::string& reason) {
                give_up(reason);
              }};
}

/// Which replica holds whose KV.
std::unordered_map<request_id, std::int32_t> cluster::kept_by() const {
  std::unordered_map<request_id, std::int32_t> all;
  for (std::size_t index = 0; index < replicas_.size(); ++index) {
    for (const auto id : replicas_[index]->keepers()) {
      all.emplace(id, static_cast<std::int32_t>(index));
    }
  }
  return all;
}

guardian_child cluster::scheduler_child(std::size_t index) {
  return {.name = fmt::format("scheduler of replica {}", index),
          .spawn =
              [this, index] {
                if (is_lost(index)) {
                  return caf::strong_actor_ptr();
                }
                metrics::count(starts_.schedulers);
                return replicas_[index]->spawn_scheduler();
              },
          .on_replaced = [this, index] { tell_router_of(index); },
          .on_given_up =
              [this, index](const std::string& reason) {
                give_up_replica(index, reason);
              }};
}

guardian_child cluster::supervisor_child(std::size_t index) {
  return {.name = fmt::format("supervisor of replica {}", index),
          .spawn =
              [this, index] {
                if (is_lost(index)) {
                  return caf::strong_actor_ptr();
                }
                metrics::count(starts_.supervisors);
                return replicas_[index]->spawn_supervisor();
              },
          .on_replaced = {},
          .on_given_up =
              [this, index](const std::string& reason) {
                give_up_replica(index, reason);
              }};
}

bool cluster::is_lost(std::size_t index) const {
  return board_.get(index) == replica_state::failed;
}

/// C-2. The board is written before the router is told of a failure: either this reads it, or the
/// router that there is now gets that message.
void cluster::tell_router_of(std::size_t index) const {
  const auto replica = static_cast<std::int32_t>(index);
  if (is_lost(index)) {
    const std::string reason = "the replica has been given up";
    router_.send(replica_changed{replica, replica_state::failed, reason});
    replicas_[index]->end_lane(reason); // which may have ended and have told the predecessor
  } else {
    router_.send(replica_changed{replica, replica_state::restarted, "an actor was replaced"});
  }
}

/// C-4. On the thread of a supervisor; of several at once, one after the other: the last one sees that it is the last.
std::string
cluster::on_given_up(std::int32_t replica, std::optional<rank_id> rank, const std::string& reason) {
  const std::lock_guard lock(loss_mutex_);
  if (rank) {
    lost_ranks_.push_back(*rank);
  }
  const bool is_last = capacity_->lose(static_cast<std::size_t>(replica), time_.now(), reason);
  if (!is_last) {
    const auto& gauge = capacity_->gauge();
    log::warn("cluster: goes on with {} of {} workers; requests of replica {} move to others: {}",
              gauge.workers.load(),
              gauge.workers_configured.load(),
              replica,
              reason);
    return reason;
  }
  const bool may_shrink = parts_.host && parts_.host->is_child()
                          && setup_.config.fault_tolerance.shrink && has_run(*parts_.run);
  return may_shrink
             ? fmt::format("{}; {}",
                           reason,
                           go_on_with_fewer(fmt::format("replica {}: {}", replica, reason)).context)
             : reason;
}

/// Returns only when nothing smaller is left. The steps are in the order of Z-2.
error cluster::go_on_with_fewer(const std::string& reason) {
  auto planned = plan_reduction(setup_, lost_ranks_);
  if (!planned) {
    return planned.error();
  }
  const auto& sizes = setup_.layout->sizes();
  log::warn("cluster: goes on with {} of {} workers (pipeline {} -> {}, tensor {} -> {}; {}): {}",
            sizes.data * planned->pipeline * planned->tensor,
            sizes.data * planned->configured,
            sizes.pipeline,
            planned->pipeline,
            sizes.tensor,
            planned->tensor,
            planned->keeps_sums ? "sums keep their order"
                                : "sums get another order, tokens may differ",
            reason);
  planned->since = time_.now();
  planned->reason = reason;
  auto& board = **parts_.board;
  VDIST_FAILPOINT(*parts_.points, "cluster.reduce", {});
  board.vault_wanted = board.vault_starts + 1;
  VDIST_FAILPOINT(*parts_.points, "cluster.reduce", {});
  write_reduction(*parts_.run, *planned);
  VDIST_FAILPOINT(*parts_.points, "cluster.reduce", {});
  ::_exit(host::exit_restart);
}

/// C-3.
void cluster::give_up_replica(std::size_t index, const std::string& reason) {
  if (parts_.host && parts_.host->is_child()) {
    ::_exit(host::exit_escalated);
  }
  capacity_->lose(index, time_.now(), reason);
  board_.set(index, replica_state::failed, reason);
  router_.send(replica_changed{static_cast<std::int32_t>(index), replica_state::failed, reason});
  replicas_[index]->stop();
  replicas_[index]->end_lane(reason);
}

/// C-3. On the guardian's thread: no router acts any more.
void cluster::give_up(const std::string& reason) {
  if (parts_.host && parts_.host->is_child()) {
    ::_exit(host::exit_escalated);
  }
  board_.fail(fail(errc::closed, reason)); // first: who finds the route closed asks why
  router_.close();
  for (const auto& replica : replicas_) { // before their requests are ended
    replica->end_lane(reason);
  }
  for (std::int32_t replica = 0; replica < setup_.layout->sizes().data; ++replica) {
    capacity_->lose(static_cast<std::size_t>(replica), time_.now(), reason);
    for (const auto id : table_.requests_of(replica)) {
      const auto failed = protocol::finish_reason::failed;
      if (auto ended = parts_.journal->finish(id, failed, reason); !ended) {
        log::debug("cluster: {}", ended.error().context); // it had ended, unheard
      }
      table_.deliver(
          {.id = id, .position = table_.find(id)->delivered, .reason = failed, .message = reason});
    }
  }
}

} // namespace vdist::actors
