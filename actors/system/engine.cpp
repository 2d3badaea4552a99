#include "actors/system/engine.hpp"

#include "actors/control/protocol.hpp"
#include "actors/system/cluster.hpp"
#include "actors/system/cluster_details.hpp"
#include "actors/system/cluster_metrics.hpp"
#include "actors/system/restart_orders.hpp"

#include "runtime/api/to_protocol.hpp"
#include "runtime/base/log.hpp"
#include "runtime/config/fault_script.hpp"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <mutex>
#include <numeric>
#include <random>
#include <unistd.h>
#include <utility>

#include "host/programs.hpp"
#include "host/standby.hpp"
#include "host/supervisor.hpp"

namespace vdist::actors {

namespace {

constexpr std::chrono::seconds reply_deadline{30};
/// Of questions whose answer people wait for.
constexpr std::chrono::seconds details_deadline{2};

result<std::vector<token_id>> tokenize(const model_setup& setup, const generate_request& request) {
  if (!request.token_ids.empty()) {
    return request.token_ids;
  }
  if (!setup.tokenizer) {
    return fail(errc::invalid_argument, "prompt: the model has no tokenizer; send token_ids");
  }
  if (request.prompt.empty()) {
    return fail(errc::invalid_argument, "prompt: it is empty (legal: at least one character)");
  }
  return setup.tokenizer->encode(request.prompt, text::special_tokens::add);
}

api::model_limits limits_of(const model_setup& setup) {
  return {.vocabulary = setup.vocabulary,
          .max_model_len = setup.max_model_len,
          .eos_ids = setup.eos_ids,
          .default_max_tokens = setup.defaults.max_new_tokens};
}

/// Never 0, which means none.
std::uint64_t key_of_sequence(std::uint64_t key, std::int32_t index) {
  const auto mixed = api::sequence_seed(key, index);
  return mixed != 0 ? mixed : 1;
}

} // namespace

struct engine::impl {
  engine_listener listener;
  actors::cluster cluster;
  const time_point started = cluster.time().now();
  std::atomic<bool> is_draining{false};
  std::filesystem::path programs; // as host_access
  std::mt19937_64 seeds;
  std::uint64_t seed_base = random_u64(); // of requests that bring a key and no seed
  std::mt19937_64 keys; // of clients that bring none; never drawn twice, also by who follows
  std::mutex draw_mutex;
  std::vector<control::port_details> ports; // guarded by ports_mutex
  std::mutex ports_mutex;

  impl(model_setup made, engine_listener with, caf::actor_system* borrowed)
      : listener(std::move(with)),
        cluster(
            std::move(made),
            [this](std::uint64_t done, std::uint64_t total) {
              if (listener.on_load) {
                listener.on_load(done, total);
              }
            },
            borrowed),
        seeds(random_u64()),
        keys(random_u64()) {}

  result<void> start(const host_access& access) {
    VDIST_TRY(cluster.start(access));
    programs = access.programs;
    is_draining = operators().is_draining != 0;
    if (const auto& host = cluster.parts().host) {
      seed_base = host->board()->cluster; // whoever follows this process resolves the same
      seeds.seed(seed_base);
    }
    return {};
  }

  std::uint64_t draw(std::mt19937_64& from) {
    const std::lock_guard lock(draw_mutex);
    return from();
  }

  /// With a key the seed follows from it: asked for again, also of the process that follows this
  /// one, it is the same request (O-4).
  std::uint64_t resolve_seed(const generate_request& request) {
    if (request.params.seed) {
      return *request.params.seed;
    }
    return request.client_key != 0 ? api::sequence_seed(seed_base ^ request.client_key, 1)
                                   : draw(seeds);
  }

  template <class Answer, class Handle, class Question>
  std::optional<Answer> ask(const route<Handle>& whom, const Question& question) const {
    return cluster.ask<Answer>(whom, details_deadline, [&question] { return question; });
  }

  [[nodiscard]] operator_words& operators() { return cluster.parts().run->operators; }

  [[nodiscard]] result<control::restart_progress>
  restart_workers(const control::restart_order& order);
  [[nodiscard]] result<control::restart_progress> restart_node(const control::restart_order& order);
  [[nodiscard]] result<void> check_program(const char* name) const;
  [[nodiscard]] bool has_other_taker(std::int32_t replica);

  result<std::shared_ptr<text_stream>> make_stream(const api::sampling_params& params) const {
    return text_stream::make({.tokenizer = cluster.setup().tokenizer,
                              .stop = params.stop,
                              .include_stop = params.include_stop_str_in_output,
                              .skip_special_tokens = params.skip_special_tokens,
                              .wants_logprobs = params.logprobs.has_value()});
  }

  /// A router that ends before it has answered may have accepted the request: its successor knows
  /// the key, and gives the request to the stream that comes with it (O-4). Every try has a stream
  /// of its own.
  result<std::shared_ptr<text_stream>> submit_sequence(const protocol::request& request,
                                                       const generate_request& wanted,
                                                       std::int32_t followers) {
    const auto& params = wanted.params;
    VDIST_ASSIGN(auto stream, make_stream(params));
    const auto shared = std::make_shared<protocol::request>(request); // with the router
    bool is_first = true;
    const auto question = [&stream, &shared, &wanted, &params, &is_first, followers, this] {
      if (!std::exchange(is_first, false)) {
        stream = *make_stream(params); // made once, it can be made again
      }
      return submit{shared, stream, followers, wanted.replicas};
    };
    const auto reply = cluster.ask<submit_reply>(cluster.router(), reply_deadline, question);
    if (!reply) {
      return cluster.failure().value_or(
          fail(errc::timed_out, "submit: the router does not answer"));
    }
    if (reply->status != errc::ok) {
      return fail(reply->status, reply->message);
    }
    stream->on_cancel([router = cluster.router(), id = reply->id] { router.send(cancel{id}); });
    stream->set_id(reply->id);
    return stream;
  }
};

engine::engine(std::unique_ptr<impl> state) : impl_(std::move(state)) {}

engine::~engine() = default;

result<std::unique_ptr<engine>> engine::start(const config::cluster_config& config,
                                              const config::environment& env,
                                              engine_listener listener) {
  const auto on_phase =
      listener.on_phase ? listener.on_phase : [](std::string_view, const std::string&) {
      };
  VDIST_ASSIGN(auto setup, set_up_model(config, env, on_phase));
  return start(std::move(setup), std::move(listener), {.programs = env.programs});
}

result<std::unique_ptr<engine>> engine::start(model_setup setup,
                                              engine_listener listener,
                                              const host_access& access,
                                              const engine_surroundings& around) {
  if (setup.shortage) {
    return *setup.shortage;
  }
  std::unique_ptr<engine> started(
      new engine(std::make_unique<impl>(std::move(setup), std::move(listener), around.actors)));
  VDIST_TRY(started->impl_->start(access));
  const std::stop_callback calls_off(
      around.stop, [&cluster = started->impl_->cluster] { cluster.give_up_waiting(); });
  VDIST_TRY(started->wait_until_running());
  return started;
}

result<void> engine::wait_until_running() {
  auto& state = *impl_;
  VDIST_TRY(state.cluster.wait_until_running());
  if (state.listener.on_phase) {
    std::size_t bytes = 0;
    for (const auto& worker : state.cluster.setup().memory) {
      bytes += worker.weights;
    }
    state.listener.on_phase("weights",
                            fmt::format("{:.1f} MiB on {} workers",
                                        static_cast<double>(bytes) / (1 << 20),
                                        state.cluster.setup().memory.size()));
  }
  return {};
}

result<void> check_request(const model_setup& setup, const generate_request& request) {
  VDIST_TRY(api::validate(request.params));
  VDIST_ASSIGN(const auto prompt, tokenize(setup, request));
  VDIST_TRY(api::make_request(prompt, request.params, 0, limits_of(setup)));
  return {};
}

result<generation> engine::generate(const generate_request& request) {
  VDIST_TRY(api::validate(request.params));
  VDIST_ASSIGN(const auto prompt, tokenize(impl_->cluster.setup(), request));
  const auto seed = impl_->resolve_seed(request);
  const auto key = request.client_key != 0 ? request.client_key : impl_->draw(impl_->keys);
  const auto limits = limits_of(impl_->cluster.setup());
  generation made{.prompt_tokens = static_cast<std::int32_t>(prompt.size()), .sequences = {}};
  for (std::int32_t index = 0; index < request.params.n; ++index) {
    VDIST_ASSIGN(
        auto sequence,
        api::make_request(prompt, request.params, api::sequence_seed(seed, index), limits));
    sequence.client_key = key_of_sequence(key, index);
    auto stream = impl_->submit_sequence(sequence, request, request.params.n - 1 - index);
    if (!stream) {
      for (const auto& accepted : made.sequences) {
        accepted->cancel();
      }
      return stream.error();
    }
    made.sequences.push_back(std::move(*stream));
  }
  return made;
}

std::optional<error> engine::failure() const {
  return impl_->cluster.failure();
}

engine_status engine::status() const {
  engine_status status;
  std::uint64_t control_ns = 0;
  for (const auto& replica : impl_->cluster.replicas()) {
    const auto& times = replica->times();
    status.steps += times.steps;
    status.computed_tokens += times.tokens;
    control_ns += control_ns_of(times);
    const auto scheduler = replica->scheduler_stats();
    status.preemptions += scheduler.preemptions;
    status.prefix_tokens += scheduler.prefix_tokens;
    status.prefix_hits += scheduler.prefix_hits;
    status.tokens_restored += replica->kept().restored;
    status.tokens_computed_again += replica->kept().computed_again;
    const auto answer = impl_->ask<replica_status>(replica->supervisor(), get_replica_status{});
    const auto group = answer.value_or(replica_status{});
    status.restarts += replica->restarts();
    status.epochs.push_back(group.now.value);
  }
  const auto& capacity = impl_->cluster.capacity().gauge();
  status.workers = capacity.workers;
  status.workers_configured = capacity.workers_configured;
  status.replicas_lost = capacity.replicas_lost;
  status.reductions = capacity.reductions;
  if (status.steps > 0) {
    status.control_us_per_step =
        static_cast<double>(control_ns) / 1000.0 / static_cast<double>(status.steps);
  }
  if (const auto router = impl_->ask<router_status>(impl_->cluster.router(), get_router_status{})) {
    status.active_requests = router->active;
    status.finished_requests = router->finished;
  }
  if (const auto guardian =
          impl_->ask<guardian_status>(impl_->cluster.guardian(), get_guardian_status{})) {
    status.actor_restarts =
        std::accumulate(guardian->restarts.begin(), guardian->restarts.end(), std::uint64_t{0});
  }
  return status;
}

metrics::engine_sample engine::sample() const {
  auto sample = sample_of(impl_->cluster);
  sample.is_draining = is_draining();
  for (const auto& spare : spares()) {
    ++(spare.is_ready ? sample.spares_ready : sample.spares_preparing);
  }
  return sample;
}

std::vector<recovery_summary> engine::recoveries(std::size_t max) const {
  return recoveries_of(recent_moments(impl_->cluster.parts().run->moments).read(), max);
}

/// A generic one is ready as soon as it is there; a prepared one rests when it is through.
std::vector<control::spare_details> engine::spares() const {
  std::vector<control::spare_details> found;
  if (const auto& board = impl_->cluster.parts().board) {
    for (const auto& entry : (*board)->lives) {
      const auto pid = host::holder_of(entry);
      const auto key = host::identity_of(entry);
      if (pid == 0 || !host::is_spare(key)) {
        continue;
      }
      const auto rank = host::rank_of_spare(key);
      const bool rests = phase_of(entry.progress.word.load()) == work_phase::idle;
      found.push_back({.pid = pid, .rank = rank, .is_ready = rests || rank == host::no_rank});
    }
  }
  return found;
}

worker_count engine::workers() const {
  const auto& gauge = impl_->cluster.capacity().gauge();
  return {.living = gauge.workers, .configured = gauge.workers_configured};
}

result<std::unique_ptr<layer_watch>> engine::watch_layer(const layer_watch_config& config) {
  VDIST_TRY(check_layer_watch(setup(), config));
  const auto replica = setup().layout->replica_of(rank_id(config.rank));
  return impl_->cluster.replicas()[static_cast<std::size_t>(replica)]->watch_layer(config);
}

host::host_link* engine::parent() {
  auto* const host = impl_->cluster.parts().host.get();
  return host != nullptr && host->is_child() ? host : nullptr;
}

bool engine::has_processes() const {
  return impl_->cluster.parts().host != nullptr;
}

bool engine::is_draining() const {
  return impl_->is_draining;
}

bool engine::takes_requests(std::span<const std::int32_t> replicas) const {
  if (is_draining()) {
    return false;
  }
  const auto takes = [this](std::size_t index, bool may_drain) {
    const auto& draining = impl_->operators().is_replica_draining;
    return index < impl_->cluster.replicas().size()
           && impl_->cluster.state_of(index) != replica_state::failed
           && (may_drain || draining.at(index) == 0);
  };
  if (!replicas.empty()) {
    return std::any_of(replicas.begin(), replicas.end(), [&takes](std::int32_t one) {
      return takes(static_cast<std::size_t>(one), false);
    });
  }
  for (std::size_t index = 0; index < impl_->cluster.replicas().size(); ++index) {
    if (takes(index, true)) { // where all drain, those who drain take them
      return true;
    }
  }
  return false;
}

void engine::announce(std::vector<control::port_details> ports) {
  const std::lock_guard lock(impl_->ports_mutex);
  impl_->ports = std::move(ports);
}

control::cluster_status engine::details() const {
  auto& state = *impl_;
  auto status = describe_cluster(state.cluster.setup());
  {
    const std::lock_guard lock(state.ports_mutex);
    status.ports = state.ports;
  }
  const auto processes = state.cluster.processes();
  status.isolation = processes.empty() ? "thread" : "process";
  status.uptime_s =
      std::chrono::duration<double>(state.cluster.time().now() - state.started).count();
  for (std::size_t index = 0; index < state.cluster.replicas().size(); ++index) {
    const auto& replica = *state.cluster.replicas()[index];
    const auto answer = state.ask<replica_status>(replica.supervisor(), get_replica_status{});
    auto known = answer.value_or(replica_status{.replica = static_cast<std::int32_t>(index)});
    known.restarts = replica.restarts();
    status.replicas.push_back(describe_replica(state.cluster.setup(),
                                               {.times = &replica.times(),
                                                .scheduler = replica.scheduler_stats(),
                                                .status = std::move(known),
                                                .capacity = state.cluster.capacity().of(index),
                                                .now = state.cluster.time().now()},
                                               processes));
  }
  status.capacity = sum_of_capacities(status.replicas);
  if (const auto router = state.ask<router_status>(state.cluster.router(), get_router_status{})) {
    status.active = router->active;
    status.accepted = router->accepted;
    status.finished = router->finished;
    status.is_draining = router->is_draining;
    for (std::size_t index = 0; index < status.replicas.size(); ++index) {
      status.replicas[index].is_draining = router->draining_by_replica.at(index);
      status.replicas[index].active = router->active_by_replica.at(index);
    }
  }
  for (const auto& one : processes) {
    if (one.key.role != protocol::process_role::worker) {
      const bool is_node = one.key.role == protocol::process_role::control;
      status.processes.push_back({std::string(protocol::to_string(one.key.role)),
                                  one.pid,
                                  is_node ? state.cluster.parts().host->node_starts() : 0});
    }
  }
  status.spares = spares();
  if (processes.empty()) {
    status.processes.push_back({"node", static_cast<std::int32_t>(::getpid())});
  }
  return status;
}

control::ledger_page engine::ledger(std::size_t max) const {
  return describe_ledger(*impl_->cluster.parts().journal, max, impl_->cluster.time().now());
}

result<control::drain_progress> engine::drain() {
  impl_->operators().is_draining = 1; // before anybody is told: a successor goes on with it
  impl_->is_draining = true;
  const auto answer = impl_->ask<router_status>(impl_->cluster.router(), actors::drain{});
  if (!answer) {
    return fail(errc::timed_out, "drain: the router does not answer");
  }
  return control::drain_progress{answer->active};
}

/// Whether another replica takes requests.
bool engine::impl::has_other_taker(std::int32_t replica) {
  for (std::size_t index = 0; index < cluster.replicas().size(); ++index) {
    const bool takes = operators().is_replica_draining.at(index) == 0
                       && cluster.state_of(index) != replica_state::failed;
    if (takes && static_cast<std::int32_t>(index) != replica) {
      return true;
    }
  }
  return false;
}

result<control::drain_progress> engine::drain_replica(std::int32_t replica, bool is_on) {
  const auto count = static_cast<std::int32_t>(impl_->cluster.replicas().size());
  if (replica < 0 || replica >= count) {
    return fail(errc::invalid_argument,
                fmt::format("drain: no such replica (asked={} legal=0 to {})", replica, count - 1));
  }
  const auto index = static_cast<std::size_t>(replica);
  auto& word = impl_->operators().is_replica_draining.at(index);
  if (is_on && word == 0 && !impl_->has_other_taker(replica)) {
    return fail(errc::invalid_argument,
                fmt::format("drain: replica {} is the last one that takes requests: resume another "
                            "one before, or drain the whole cluster",
                            replica));
  }
  word = is_on ? 1 : 0; // before anybody is told, as above
  const auto answer =
      impl_->ask<router_status>(impl_->cluster.router(), actors::drain_replica{replica, is_on});
  if (!answer) {
    return fail(errc::timed_out, "drain: the router does not answer");
  }
  return control::drain_progress{answer->active_by_replica.at(index)};
}

/// A file that was replaced by one of another version would make a cluster that cannot go on.
result<void> engine::impl::check_program(const char* name) const {
  VDIST_ASSIGN(const auto folder, host::find_programs(programs));
  return host::check_program(folder / name);
}

result<control::restart_progress> engine::restart(const control::restart_order& order) {
  using kind = control::restart_order::kind;
  auto& state = *impl_;
  const auto node = !has_processes()      ? node_kind::whole
                    : parent() == nullptr ? node_kind::embedded
                                          : node_kind::child;
  VDIST_TRY(check_restart(order, setup().layout->sizes(), node));
  if (order.what == kind::none) {
    release_restart(state.operators(), order.claim);
    return control::restart_progress{.is_done = true, .text = {}};
  }
  VDIST_TRY(claim_restart(state.operators(), order.claim, ns_of(state.cluster.time().now())));
  return order.what == kind::node ? state.restart_node(order) : state.restart_workers(order);
}

result<control::restart_progress>
engine::impl::restart_workers(const control::restart_order& order) {
  const auto& layout = *cluster.setup().layout;
  const bool is_whole = order.what == control::restart_order::kind::replica;
  const auto index = is_whole ? order.index : layout.replica_of(rank_id(order.index));
  const auto& supervisor = cluster.replicas()[static_cast<std::size_t>(index)]->supervisor();
  const auto status = ask<replica_status>(supervisor, get_replica_status{});
  if (!status) {
    return control::restart_progress{.text = fmt::format("replica {} does not answer", index)};
  }
  VDIST_ASSIGN(auto need, need_of(order, layout.ranks_of_replica(index).front().value, *status));
  if (need.wait) {
    return control::restart_progress{.text = *need.wait};
  }
  if (!need.wanted.empty()) {
    if (cluster.parts().host) {
      VDIST_TRY(check_program("vdist-worker"));
    }
    supervisor.send(replace_workers{std::move(need.wanted)});
    return control::restart_progress{.text = "it is being replaced"};
  }
  const auto first = layout.ranks_of_replica(index).front().value;
  const auto slot = static_cast<std::size_t>(is_whole ? 0 : order.index - first);
  return control::restart_progress{
      .is_done = true,
      .text = is_whole ? fmt::format("{} workers", status->incarnations.size())
                       : fmt::format("incarnation {}", status->incarnations.at(slot))};
}

/// Its end is no different from any other: nothing is torn down that a successor needs, workers go on.
result<control::restart_progress> engine::impl::restart_node(const control::restart_order& order) {
  const auto starts = cluster.parts().host->node_starts();
  if (starts > order.above.front()) {
    return control::restart_progress{.is_done = true,
                                     .text = fmt::format("incarnation {}", starts)};
  }
  for (std::size_t index = 0; index < cluster.replicas().size(); ++index) {
    const auto now = cluster.state_of(index);
    if (now != replica_state::running && now != replica_state::failed) {
      return control::restart_progress{.text = fmt::format("replica {} recovers", index)};
    }
  }
  VDIST_TRY(check_program("vdist-node"));
  log::info("node: it is replaced as planned");
  ::_exit(host::exit_restart);
}

result<std::string> engine::kill(const control::kill_target& target) {
  const auto processes = impl_->cluster.processes();
  VDIST_TRY(check_target(target, impl_->cluster.setup(), processes));
  if (processes.empty()) {
    const auto index = impl_->cluster.setup().layout->replica_of(rank_id(target.rank));
    const auto first = impl_->cluster.setup().layout->ranks_of_replica(index).front().value;
    impl_->cluster.replicas()[static_cast<std::size_t>(index)]->supervisor().send(
        end_worker{target.rank - first});
    return fmt::format("{} (a thread)", control::to_string(target));
  }
  VDIST_ASSIGN(const auto victim, find_process(target, processes));
  impl_->cluster.parts().host->kill(victim.key);
  return fmt::format("{} (pid {})", control::to_string(target), victim.pid);
}

result<control::fault_page> engine::faults(const control::fault_order& order) {
  auto& points = *impl_->cluster.parts().points;
  if (order.what == control::fault_order::kind::clear) {
    points.clear();
  } else if (order.what == control::fault_order::kind::arm) {
    const auto victims =
        has_processes() ? config::fault_victims::processes : config::fault_victims::threads;
    VDIST_ASSIGN(const auto rule, config::parse_fault_rule(order.rule, victims));
    VDIST_TRY(points.arm(rule));
    log::warn("faults: armed by an operator: {}", to_string(rule));
  }
  control::fault_page page;
  for (const auto& one : points.list()) {
    page.rules.push_back({to_string(one.rule), one.hits});
  }
  return page;
}

const model_setup& engine::setup() const {
  return impl_->cluster.setup();
}

api::sampling_params engine::default_params() const {
  return api::default_params(impl_->cluster.setup().defaults);
}

failpoints& engine::points() {
  return *impl_->cluster.parts().points;
}

fault_trace& engine::trace() {
  return *impl_->cluster.parts().trace;
}

} // namespace vdist::actors
