// vdist/embedding/engine_core.hpp — what a vdist::engine is made of: the cluster and the thread that owns it.
//
//   owner thread:  load ──▶ wait for close() ──▶ wait for callers to leave ──▶ destroy the cluster ──▶ end
//
// The owner thread makes and destroys the cluster, so that nobody's destructor can hang on a worker that is stuck: close()
// waits for it with a deadline and leaves it behind.
//
// C-1 The cluster is used between enter() and the end of what it returned, and not destroyed meanwhile.
// C-2 close() begins with refusing callers, closing streams and refusing watches; the owner thread ends what watches have
//     inside; only then does the cluster end (S-1, W-1).
// C-3 Nothing of an abandoned engine refers to its vdist::engine, its options excepted, which are copies.
#pragma once

#include "actors/system/engine.hpp"

#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/config/environment.hpp"

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <unordered_map>
#include <utility>

#include "vdist/embedding/event_thread.hpp"
#include "vdist/engine.hpp"

namespace vdist::embedding {

class stream_state;
class watch_state;

struct engine_launch {
  config::cluster_config config;
  config::environment environment;
  engine_options options;
  caf::actor_system* actors = nullptr; // borrowed; null: the cluster has its own
};

class engine_core : public std::enable_shared_from_this<engine_core> {
public:
  /// Starts the owner thread, and waits as the options say.
  [[nodiscard]] static expected<engine> start(engine_launch launch);

  [[nodiscard]] static const std::shared_ptr<engine_core>& of(const engine& handle) {
    return handle.core_;
  }

  explicit engine_core(engine_launch launch);

  [[nodiscard]] expected<void> wait_until_ready(std::chrono::nanoseconds timeout);
  [[nodiscard]] expected<stream> generate(const generate_request& request);
  [[nodiscard]] engine_health health();
  [[nodiscard]] expected<engine_stats> stats();
  [[nodiscard]] expected<model_description> model();
  [[nodiscard]] expected<layer_watch> watch_layer(const layer_watch_request& request);
  [[nodiscard]] expected<void> drain(std::chrono::nanoseconds timeout);
  [[nodiscard]] expected<void> close(std::chrono::nanoseconds timeout);

  [[nodiscard]] std::chrono::nanoseconds close_deadline() const {
    return launch_.options.close_deadline;
  }

  /// True: the engine has begun to close; after `timeout` at the latest.
  [[nodiscard]] bool wait_for_close(std::chrono::nanoseconds timeout);
  /// Of a stream that ends, and of a watch that has.
  void forget(const stream_state& stream);
  void forget(const watch_state& watch);

  /// C-1. Of the cluster, for tests too.
  class user {
  public:
    explicit user(engine_core& core) : core_(&core) {}

    user(user&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}

    user& operator=(user&&) = delete;

    ~user() {
      if (core_ != nullptr) {
        core_->leave();
      }
    }

    [[nodiscard]] actors::engine* operator->() const { return core_->cluster_.get(); }

  private:
    engine_core* core_;
  };

  [[nodiscard]] expected<user> enter();

private:
  using watch_list = std::unordered_map<const watch_state*, std::shared_ptr<watch_state>>;

  void own();
  [[nodiscard]] result<std::unique_ptr<actors::engine>> load();
  void leave();
  [[nodiscard]] engine_error why_not_running() const; // under mutex_
  /// False: it is closing.
  [[nodiscard]] bool add(const std::shared_ptr<stream_state>& stream);
  [[nodiscard]] bool add(const std::shared_ptr<watch_state>& watch);

  const engine_launch launch_;
  const std::shared_ptr<event_thread> events_ = std::make_shared<event_thread>();
  std::stop_source stop_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<actors::engine> cluster_; // set and reset by the owner thread, with the lock held
  bool has_loaded_ = false;                 // or failed; guarded by mutex_, as all below
  std::optional<engine_error> failure_;     // of the start
  bool is_closing_ = false;
  bool has_ended_ = false;   // the cluster has been destroyed
  bool is_all_gone_ = false; // … and no callback runs any more
  std::size_t users_ = 0;
  std::unordered_map<const stream_state*, std::weak_ptr<stream_state>> streams_;
  watch_list watches_; // until they have ended, whoever else has them
};

/// The configuration, or what is wrong with it, into an engine. `actors`: as engine_launch.
[[nodiscard]] expected<engine> start_engine(result<config::cluster_config> config,
                                            engine_options options,
                                            caf::actor_system* actors = nullptr);

/// Of a struct and the settings of the options, which win.
[[nodiscard]] result<config::cluster_config> parse_config(const engine_config& config,
                                                          const engine_options& options);

} // namespace vdist::embedding
