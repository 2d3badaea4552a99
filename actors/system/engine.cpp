#include "actors/system/engine.hpp"

#include "actors/control/protocol.hpp"
#include "actors/router/router.hpp"
#include "actors/system/cluster_details.hpp"
#include "actors/system/machine.hpp"
#include "actors/system/replica.hpp"

#include "runtime/api/to_protocol.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fmt/format.h>
#include <random>
#include <unistd.h>
#include <utility>

namespace vdist {

namespace {

using namespace actors;

constexpr std::chrono::seconds reply_deadline{30};
/// Of questions whose answer people wait for.
constexpr std::chrono::seconds details_deadline{2};
constexpr std::size_t actor_threads = 2;
/// A spinner costs its core: it pays only where every lane and the step threads have one of their
/// own.
constexpr std::chrono::microseconds spin_on_free_cores{200};
constexpr std::chrono::microseconds spin_on_shared_cores{20};
/// Bells and the fence wake sleepers; the slice is for the case that a wake-up is lost, and costs
/// an idle cluster a look per sleeper.
constexpr std::chrono::milliseconds sleep_slice{500};

/// The states of all replicas, for whoever waits for them. Thread-safe.
class replica_board {
public:
  explicit replica_board(std::size_t replicas) : states_(replicas, replica_state::loading) {}

  void set(std::size_t replica, replica_state state, const std::string& reason) {
    {
      const std::lock_guard lock(mutex_);
      states_[replica] = state;
      if (state == replica_state::failed && !failure_) {
        failure_ = fail(errc::closed, fmt::format("replica {}: {}", replica, reason));
      }
    }
    changed_.notify_all();
  }

  /// Returns when all run, or with the first failure. Loading is bounded by the recovery machine's
  /// own deadline.
  [[nodiscard]] result<void> wait_until_running() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
      return failure_ || std::all_of(states_.begin(), states_.end(), [](replica_state s) {
               return s == replica_state::running;
             });
    });
    return failure_ ? result<void>(*failure_) : result<void>();
  }

  [[nodiscard]] std::optional<error> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<replica_state> states_;
  std::optional<error> failure_;
};

/// Sums the loading of all ranks up.
class load_meter {
public:
  load_meter(std::size_t ranks, std::function<void(std::uint64_t, std::uint64_t)> report)
      : done_(ranks), total_(ranks), report_(std::move(report)) {}

  void set(std::size_t rank, std::uint64_t done, std::uint64_t total) {
    const std::lock_guard lock(mutex_);
    done_[rank] = done;
    total_[rank] = total;
    std::uint64_t sum_done = 0;
    std::uint64_t sum_total = 0;
    for (std::size_t i = 0; i < done_.size(); ++i) {
      sum_done += done_[i];
      sum_total += total_[i];
    }
    if (report_) {
      report_(sum_done, sum_total);
    }
  }

  /// Nobody listens any more: a worker that is replaced later loads in silence.
  void close() {
    const std::lock_guard lock(mutex_);
    report_ = nullptr;
  }

private:
  std::mutex mutex_;
  std::vector<std::uint64_t> done_;
  std::vector<std::uint64_t> total_;
  std::function<void(std::uint64_t, std::uint64_t)> report_;
};

std::uint64_t random_u64() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

/// CAF reads no file and no command line here; its default policy burns half a core when idle.
struct quiet_actor_config : caf::actor_system_config {
  quiet_actor_config() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", actor_threads);
    set("logger.verbosity", caf::atom("quiet"));
  }
};

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

/// nullopt: no answer in time.
template <class Answer, class Actor, class Question>
std::optional<Answer> ask(caf::actor_system& system, const Actor& actor, const Question& question) {
  caf::scoped_actor self{system};
  std::optional<Answer> answer;
  self->request(actor, details_deadline, question)
      .receive([&answer](const Answer& value) { answer = value; }, [](const caf::error&) {});
  return answer;
}

frame::wait_settings wait_settings_of(const model_setup& setup) {
  const auto threads = setup.layout->world() + setup.layout->sizes().data;
  const bool has_free_cores = threads <= available_cores();
  return {.spin_budget = has_free_cores ? spin_on_free_cores : spin_on_shared_cores,
          .slice_max = sleep_slice};
}

} // namespace

struct engine::impl {
  model_setup setup;
  engine_listener listener;
  system_clock time;
  const time_point started = time.now();
  std::atomic<bool> is_draining{false};
  isolated_parts parts;
  request_table table;
  replica_board board;
  load_meter loads;
  std::mt19937_64 seeds;
  std::mutex seed_mutex;

  quiet_actor_config actor_config;
  std::unique_ptr<caf::actor_system> system;
  std::unique_ptr<lane_threads> threads;
  std::vector<std::unique_ptr<replica>> replicas;
  router_actor router;

  impl(model_setup made, engine_listener with)
      : setup(std::move(made)),
        listener(std::move(with)),
        table(setup.layout->sizes().data),
        board(static_cast<std::size_t>(setup.layout->sizes().data)),
        loads(static_cast<std::size_t>(setup.layout->world()),
              [this](std::uint64_t done, std::uint64_t total) {
                if (listener.on_load) {
                  listener.on_load(done, total);
                }
              }),
        seeds(random_u64()),
        threads(std::make_unique<lane_threads>()) {}

  /// Processes first, then actors: no child is made while threads hold locks.
  result<void> start(const host_access& access) {
    VDIST_ASSIGN(parts, make_isolated_parts(setup.config.cluster.isolation, access, time));
    if (setup.device == config::device_kind::cuda) {
      VDIST_TRY(use_devices(parts, setup));
    }
    system = std::make_unique<caf::actor_system>(actor_config);
    return spawn_all();
  }

  /// Actors end first, because a recovery that is under way starts lanes; lanes end before the
  /// actor system does, because their reports hold actor handles.
  ~impl() {
    if (!system) {
      return; // never started
    }
    for (auto& replica : replicas) {
      replica->stop();
    }
    if (router) { // else it was never spawned
      caf::anon_send_exit(router, caf::exit_reason::user_shutdown);
      router = nullptr;
    }
    system->await_all_actors_done();
    parts.host.reset(); // ends what is left of the worker processes
    threads.reset();
    replicas.clear();
    system.reset();
  }

  result<void> spawn_all() {
    const system_parts shared{
        .setup = &setup,
        .actors = system.get(),
        .host = parts.host.get(),
        .memory = parts.memory.get(),
        .journal = parts.journal.get(),
        .points = parts.points.get(),
        .time = &time,
        .threads = threads.get(),
        .waits = wait_settings_of(setup),
        .cluster = random_u64(),
        .on_load = [this](std::int32_t rank, std::uint64_t done, std::uint64_t total) {
          loads.set(static_cast<std::size_t>(rank), done, total);
        }};
    const auto data = setup.layout->sizes().data;
    router_config config{.max_active = static_cast<std::size_t>(setup.accepted_max()),
                         .table = &table,
                         .journal = parts.journal.get()};
    for (std::int32_t index = 0; index < data; ++index) {
      const auto first = setup.layout->ranks_of_replica(index).front();
      VDIST_ASSIGN(auto words, map_words<replica_words>(*parts.memory, replica_words_key(first)));
      replicas.push_back(std::make_unique<replica>(index, shared, std::move(words)));
      config.schedulers.push_back(replicas.back()->spawn_scheduler());
    }
    router = system->spawn(make_router, std::move(config));
    for (std::size_t index = 0; index < replicas.size(); ++index) {
      replicas[index]->start(router, [this, index](replica_state state, const std::string& reason) {
        board.set(index, state, reason);
      });
    }
    return {};
  }

  /// Empty when workers are threads.
  [[nodiscard]] std::vector<host::process_info> processes() const {
    return parts.host ? parts.host->processes() : std::vector<host::process_info>();
  }

  std::uint64_t draw_seed() {
    const std::lock_guard lock(seed_mutex);
    return seeds();
  }

  result<std::shared_ptr<text_stream>> submit_sequence(const protocol::request& request,
                                                       const api::sampling_params& params) {
    VDIST_ASSIGN(auto stream,
                 text_stream::make({.tokenizer = setup.tokenizer,
                                    .stop = params.stop,
                                    .include_stop = params.include_stop_str_in_output,
                                    .skip_special_tokens = params.skip_special_tokens,
                                    .wants_logprobs = params.logprobs.has_value()}));
    caf::scoped_actor self{*system};
    submit_reply reply;
    self->request(
            router, reply_deadline, submit{std::make_shared<protocol::request>(request), stream})
        .receive([&reply](const submit_reply& value) { reply = value; },
                 [&reply, this](const caf::error& cause) {
                   reply = {.status = errc::timed_out,
                            .message = "router: " + system->render(cause)};
                 });
    if (reply.status != errc::ok) {
      return fail(reply.status, reply.message);
    }
    stream->on_cancel([router = router, id = reply.id] { caf::anon_send(router, cancel{id}); });
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

result<std::unique_ptr<engine>>
engine::start(model_setup setup, engine_listener listener, const host_access& access) {
  if (setup.shortage) {
    return *setup.shortage;
  }
  std::unique_ptr<engine> started(
      new engine(std::make_unique<impl>(std::move(setup), std::move(listener))));
  VDIST_TRY(started->impl_->start(access));
  VDIST_TRY(started->wait_until_running());
  return started;
}

result<void> engine::wait_until_running() {
  auto& state = *impl_;
  const auto running = state.board.wait_until_running();
  state.loads.close();
  VDIST_TRY(running);
  if (state.listener.on_phase) {
    std::size_t bytes = 0;
    for (const auto& worker : state.setup.memory) {
      bytes += worker.weights;
    }
    state.listener.on_phase("weights",
                            fmt::format("{:.1f} MiB on {} workers",
                                        static_cast<double>(bytes) / (1 << 20),
                                        state.setup.memory.size()));
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
  VDIST_ASSIGN(const auto prompt, tokenize(impl_->setup, request));
  const auto seed = request.params.seed ? *request.params.seed : impl_->draw_seed();
  const auto limits = limits_of(impl_->setup);
  generation made{.prompt_tokens = static_cast<std::int32_t>(prompt.size()), .sequences = {}};
  for (std::int32_t index = 0; index < request.params.n; ++index) {
    VDIST_ASSIGN(
        const auto sequence,
        api::make_request(prompt, request.params, api::sequence_seed(seed, index), limits));
    auto stream = impl_->submit_sequence(sequence, request.params);
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
  return impl_->board.failure();
}

engine_status engine::status() const {
  engine_status status;
  std::uint64_t control_ns = 0;
  for (const auto& replica : impl_->replicas) {
    const auto& times = replica->times();
    status.steps += times.steps;
    status.computed_tokens += times.tokens;
    control_ns += control_ns_of(times);
    const auto scheduler = replica->scheduler_stats();
    status.preemptions += scheduler.preemptions;
    status.prefix_tokens += scheduler.prefix_tokens;
    status.prefix_hits += scheduler.prefix_hits;
    caf::scoped_actor self{*impl_->system};
    self->request(replica->supervisor(), reply_deadline, get_replica_status{})
        .receive(
            [&status](const replica_status& value) {
              status.restarts += value.restarts;
              status.epochs.push_back(value.now.value);
            },
            [&status](const caf::error&) { status.epochs.push_back(0); });
  }
  if (status.steps > 0) {
    status.control_us_per_step =
        static_cast<double>(control_ns) / 1000.0 / static_cast<double>(status.steps);
  }
  caf::scoped_actor self{*impl_->system};
  self->request(impl_->router, reply_deadline, get_router_status{})
      .receive(
          [&status](const router_status& value) {
            status.active_requests = value.active;
            status.finished_requests = value.finished;
          },
          [](const caf::error&) {});
  return status;
}

bool engine::is_draining() const {
  return impl_->is_draining;
}

control::cluster_status engine::details() const {
  auto& state = *impl_;
  auto status = describe_cluster(state.setup);
  const auto processes = state.processes();
  status.isolation = processes.empty() ? "thread" : "process";
  status.uptime_s = std::chrono::duration<double>(state.time.now() - state.started).count();
  for (std::size_t index = 0; index < state.replicas.size(); ++index) {
    const auto& replica = *state.replicas[index];
    const auto answer =
        ask<replica_status>(*state.system, replica.supervisor(), get_replica_status{});
    const replica_status unknown{.replica = static_cast<std::int32_t>(index)};
    status.replicas.push_back(describe_replica(state.setup,
                                               {.times = &replica.times(),
                                                .scheduler = replica.scheduler_stats(),
                                                .status = answer.value_or(unknown)},
                                               processes));
  }
  if (const auto router = ask<router_status>(*state.system, state.router, get_router_status{})) {
    status.active = router->active;
    status.accepted = router->accepted;
    status.finished = router->finished;
    status.is_draining = router->is_draining;
  }
  for (const auto& one : processes) {
    if (one.key.role != protocol::process_role::worker) {
      status.processes.push_back({std::string(protocol::to_string(one.key.role)), one.pid});
    }
  }
  if (processes.empty()) {
    status.processes.push_back({"node", static_cast<std::int32_t>(::getpid())});
  }
  return status;
}

control::ledger_page engine::ledger(std::size_t max) const {
  return describe_ledger(*impl_->parts.journal, max, impl_->time.now());
}

result<control::drain_progress> engine::drain() {
  impl_->is_draining = true;
  const auto answer = ask<router_status>(*impl_->system, impl_->router, actors::drain{});
  if (!answer) {
    return fail(errc::timed_out, "drain: the router does not answer");
  }
  return control::drain_progress{answer->active};
}

result<std::string> engine::kill(const control::kill_target& target) {
  const auto processes = impl_->processes();
  VDIST_TRY(check_target(target, impl_->setup, processes));
  if (processes.empty()) {
    const auto index = impl_->setup.layout->replica_of(rank_id(target.rank));
    const auto first = impl_->setup.layout->ranks_of_replica(index).front().value;
    caf::anon_send(impl_->replicas[static_cast<std::size_t>(index)]->supervisor(),
                   end_worker{target.rank - first});
    return fmt::format("{} (a thread)", control::to_string(target));
  }
  VDIST_ASSIGN(const auto victim, find_process(target, processes));
  impl_->parts.host->kill(victim.key);
  return fmt::format("{} (pid {})", control::to_string(target), victim.pid);
}

const model_setup& engine::setup() const {
  return impl_->setup;
}

api::sampling_params engine::default_params() const {
  return api::default_params(impl_->setup.defaults);
}

failpoints& engine::points() {
  return *impl_->parts.points;
}

} // namespace vdist
