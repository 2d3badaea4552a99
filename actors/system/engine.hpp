// actors/system/engine.hpp — a whole vdist cluster as one object, text in and text out. Programs of ours use it;
// programs of others include vdist/engine.hpp, which stands on it.
//
//   VDIST_ASSIGN(auto engine, actors::engine::start(config, env, {}));
//   VDIST_ASSIGN(auto generation, engine->generate({.prompt = "Once upon a time"}));
//   while (auto chunk = generation.sequences[0]->next(1s)) { … } // nullopt inside: nothing new yet
//
// Threads: start() and the destructor by one thread; generate() and status() by any; a sequence by
// one reader. An accepted request gets exactly one end; worker deaths in between change no token.
// Sequences end before their engine is destroyed.
#pragma once

#include "actors/control/cluster_status.hpp"
#include "actors/front_door/text_stream.hpp"
#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/system/isolation.hpp"
#include "actors/system/layer_watch.hpp"
#include "actors/system/model_setup.hpp"

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/base/fault_trace.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/recent_moments.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/metrics/engine_sample.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace vdist::actors {

/// What start() reports while it works, and never after it has returned; called on several threads,
/// never two at once. All may be empty.
struct engine_listener {
  phase_listener on_phase;
  std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>
      on_load; // over all ranks
};

/// What a program that embeds the engine brings along.
struct engine_surroundings {
  caf::actor_system* actors = nullptr; // to spawn into; outlives the engine. null: one of its own
  std::stop_token stop;                // start() gives up when it is told to: errc::cancelled
};

struct generate_request {
  std::string prompt;              // text; used when token_ids is empty
  std::vector<token_id> token_ids; // already tokenized
  api::sampling_params params;
  /// The client's own name for the request, unique while the ledger knows it: who sends it again,
  /// also to a process that has followed this one, gets the same generation from its start; with
  /// anything else under that key, stop strings aside: invalid_argument. Without a seed, it follows
  /// from the key. 0: none.
  std::uint64_t client_key = 0;
  /// Replicas that may run it; empty: all. When one of them ends, others go on with what it was running.
  std::vector<std::int32_t> replicas;
};

/// What generate() finds out about a request before it is accepted; needs no engine, so nothing has
/// to be loaded for it.
[[nodiscard]] result<void> check_request(const model_setup& setup, const generate_request& request);

/// n sequences of one prompt.
struct generation {
  std::int32_t prompt_tokens = 0;
  std::vector<std::shared_ptr<text_stream>> sequences; // shared with the router
};

/// Sums over all replicas.
struct engine_status {
  std::uint64_t active_requests = 0;
  std::uint64_t finished_requests = 0;
  std::uint64_t steps = 0;
  std::uint64_t computed_tokens = 0;
  std::uint64_t restarts = 0;       // of workers, since there is this cluster
  std::uint64_t actor_restarts = 0; // of routers, schedulers and supervisors
  std::uint64_t preemptions = 0;
  std::uint64_t prefix_tokens = 0;
  std::uint64_t prefix_hits = 0;
  std::uint64_t tokens_restored = 0;       // of requests that a new scheduler found with their KV
  std::uint64_t tokens_computed_again = 0; // … without; both also before this process
  double control_us_per_step =
      0; // plan, send, commit, and what collecting took beyond the slowest worker
  std::vector<std::uint32_t> epochs; // by replica
  std::int32_t workers = 0;          // of replicas that were not given up
  std::int32_t workers_configured = 0;
  std::uint64_t replicas_lost = 0; // given up by this process
  std::uint64_t reductions = 0;    // to fewer workers, since the start of the cluster
};

struct worker_count {
  std::int32_t living = 0; // of replicas that were not given up
  std::int32_t configured = 0;
};

/// Operators see and steer it through control::controllable, whose calls any thread may make.
class engine : public control::controllable {
public:
  /// Loads the model and starts all actors; returns when every replica runs. The first failure ends
  /// it.
  [[nodiscard]] static result<std::unique_ptr<engine>> start(const config::cluster_config& config,
                                                             const config::environment& env,
                                                             engine_listener listener);

  /// The same from a setup that was made before; on_phase goes on where set_up_model() ended.
  [[nodiscard]] static result<std::unique_ptr<engine>>
  start(model_setup setup,
        engine_listener listener,
        const host_access& access = {},
        const engine_surroundings& around = {});

  ~engine() override; // cancels what is under way
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// Tokenizes, validates, accepts. Errors: invalid_argument (empty or too long prompt, bad
  /// parameters), queue_full, closed (no replica is alive, or is_draining()).
  [[nodiscard]] result<generation> generate(const generate_request& request);

  /// Why the engine cannot go on, when no replica is left: what the last one was given up for. nullopt until then.
  [[nodiscard]] std::optional<error> failure() const;

  /// Whether drain() was called. True before generate() refuses the first request for it.
  [[nodiscard]] bool is_draining() const;

  /// Whether one of these replicas (all, when there are none) is there for new requests, though perhaps not just now. Does
  /// not wait for anybody.
  [[nodiscard]] bool takes_requests(std::span<const std::int32_t> replicas) const;

  /// What details() says of ports from now on.
  void announce(std::vector<control::port_details> ports);

  [[nodiscard]] control::cluster_status details() const override;
  [[nodiscard]] control::ledger_page ledger(std::size_t max) const override;
  [[nodiscard]] result<control::drain_progress> drain() override;
  [[nodiscard]] result<control::drain_progress> drain_replica(std::int32_t replica,
                                                              bool is_on) override;
  /// In restart_orders.hpp (P-1 to P-4).
  [[nodiscard]] result<control::restart_progress>
  restart(const control::restart_order& order) override;
  /// SIGKILL for a process; a worker that is a thread loses its actor. "node" is the child of
  /// vdist-run: a program that embeds the engine is left alone.
  [[nodiscard]] result<std::string> kill(const control::kill_target& target) override;
  [[nodiscard]] result<control::fault_page> faults(const control::fault_order& order) override;

  /// Rows of one layer of one rank from now on, until what is returned is destroyed (layer_watch.hpp). Any thread. Errors:
  /// unsupported (the sim device computes none), invalid_argument (no such rank, a layer that it does not have, rows_max, a
  /// rank that is watched already), resource_exhausted.
  [[nodiscard]] result<std::unique_ptr<actors::layer_watch>>
  watch_layer(const actors::layer_watch_config& config);

  /// The link to vdist-run if this process is its child, else null.
  [[nodiscard]] host::host_link* parent();

  /// Whether workers are processes of their own.
  [[nodiscard]] bool has_processes() const;

  [[nodiscard]] engine_status status() const;
  /// Metrics of the moment, of which parts are read from this engine as long as it lives. Asks no actor, waits for nobody.
  [[nodiscard]] metrics::engine_sample sample() const;
  /// The newest `max` recoveries of all replicas, by the time of their fault; also those that an earlier control process
  /// has seen. Does not block.
  [[nodiscard]] std::vector<recovery_summary> recoveries(std::size_t max) const;
  /// Spare workers, by place on the board. Does not block.
  [[nodiscard]] std::vector<control::spare_details> spares() const;
  /// Asks nobody.
  [[nodiscard]] worker_count workers() const;
  [[nodiscard]] const model_setup& setup() const;
  /// Defaults that the model recommends for requests.
  [[nodiscard]] api::sampling_params default_params() const;
  /// For fault scripts and tests.
  [[nodiscard]] failpoints& points();
  [[nodiscard]] fault_trace& trace();

private:
  struct impl;
  explicit engine(std::unique_ptr<impl> state);
  [[nodiscard]] result<void> wait_until_running();
  std::unique_ptr<impl> impl_;
};

} // namespace vdist::actors
