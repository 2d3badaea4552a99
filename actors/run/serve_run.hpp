// actors/run/serve_run.hpp — vdist-run as a server: the HTTP front door in front of an engine, until a signal.
// V-1 What is wrong with settings, keys and certificate, or the port in use, is found before anything is loaded. V-2 While
// the model is loaded the server answers already: /live, and 503 to the rest. V-3 A control process that follows one that
// has died listens on the same ports, also when the system had chosen them. V-4 server.balancing says which ports there
// are: one for all replicas (internal), one per replica, from server.port on (external), or one per node for the replicas of
// that node (hybrid); what is accepted at one goes on wherever it can, when its replica ends. V-5 While it drains, new
// connections are answered as long as somebody waits for the rest of an answer: 503 to who wants one, and /live, /ready,
// /health and /metrics.
#pragma once

#include "actors/front_door/http_front_door.hpp"
#include "actors/system/engine.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/board.hpp"

namespace vdist::actors {

/// V-1, without a port. Errors: bad_configuration, not_found.
[[nodiscard]] result<front_door_config>
front_door_config_of(const config::server_section& settings);

/// V-4. The i-th of several is server.port + i, or each the system's choice.
[[nodiscard]] std::vector<door_port> door_ports_of(const config::cluster_config& config);

/// Whether all ports could be listened on now. Errors: as http::server::start().
[[nodiscard]] result<void> check_ports(const config::cluster_config& config);

/// `defaults`: of requests, below what they say.
[[nodiscard]] served_model served_model_of(const model_setup& setup, api::sampling_params defaults);

/// An engine as the front door sees it. Borrowed.
class engine_backend final : public serving_backend {
public:
  explicit engine_backend(engine& one) : engine_(one) {}

  [[nodiscard]] result<void> check(const prompt_order& order) const override;
  [[nodiscard]] result<std::vector<std::shared_ptr<text_stream>>>
  submit(const prompt_order& order) override;
  [[nodiscard]] result<void> health(std::span<const std::int32_t> replicas) override;
  [[nodiscard]] bool is_draining(std::span<const std::int32_t> replicas) const override;
  [[nodiscard]] std::string describe_cluster() override;
  [[nodiscard]] cluster_observation observe() override;

  [[nodiscard]] metrics::engine_sample sample() const override { return engine_.sample(); }

private:
  engine& engine_;
};

class serve_run {
public:
  /// Listens. `board`: of the host, null without one; outlives this. Errors: as front_door_config_of() and
  /// http_front_door::start().
  [[nodiscard]] static result<std::unique_ptr<serve_run>>
  listen(const model_setup& setup, api::sampling_params defaults, host::board_words* board);

  /// Serves until a signal: SIGTERM lets requests end within server.drain_s, then everything is over. Blocks. Errors:
  /// cancelled (SIGINT), and what the engine fails for.
  [[nodiscard]] result<void> serve(engine& engine);

  /// Of each port, with the replicas that run what comes there: "http://127.0.0.1:8000 (replica 0)".
  [[nodiscard]] std::vector<std::string> urls() const;

private:
  explicit serve_run(duration drain_time) : drain_time_(drain_time) {}

  [[nodiscard]] result<void> wait_for_end(engine& engine);
  void drain(engine& engine);

  system_clock time_;
  duration drain_time_;
  std::unique_ptr<http_front_door> door_;
};

} // namespace vdist::actors
