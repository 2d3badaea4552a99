#include "actors/run/serve_run.hpp"

#include "actors/front_door/live_snapshot.hpp"
#include "actors/gateway/board_areas.hpp"
#include "actors/run/command_line.hpp"
#include "actors/run/interrupt.hpp"
#include "actors/system/cluster_metrics.hpp"

#include "transport/http/server.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <numeric>
#include <poll.h>
#include <utility>

namespace vdist::actors {

namespace {

/// Between two looks at signals and at the engine; a signal ends a wait at once.
constexpr std::chrono::milliseconds look_up_interval{200};
/// A predecessor that was killed has let go of its port well within this.
constexpr std::chrono::seconds successor_patience{10};

std::vector<std::string> origins_of(std::string_view list) {
  std::vector<std::string> all;
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    auto one = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    const auto first = one.find_first_not_of(' ');
    if (first != std::string_view::npos) {
      one = one.substr(first, one.find_last_not_of(' ') - first + 1);
      all.emplace_back(one);
    }
  }
  return all;
}

/// All workers run on one host, so all replicas are here.
std::vector<std::int32_t> replicas_of_this_node(const config::cluster_config& config) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(config.parallel.data));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void pause() {
  ::poll(nullptr, 0, static_cast<int>(look_up_interval.count()));
}

} // namespace

result<front_door_config> front_door_config_of(const config::server_section& settings) {
  front_door_config made;
  VDIST_ASSIGN(made.keys, api_keys::load(settings));
  VDIST_TRY(check_exposure(settings, made.keys));
  made.http.host = settings.host;
  made.http.port = static_cast<std::uint16_t>(settings.port);
  made.http.io_threads = static_cast<std::size_t>(settings.io_threads);
  made.http.bounds.body_bytes_max = static_cast<std::size_t>(settings.max_body_bytes);
  made.http.bounds.connections_max = static_cast<std::size_t>(settings.connections_max);
  if (!settings.tls_certificate.empty()) {
    made.http.tls = http::tls_files{.certificate_chain = settings.tls_certificate,
                                    .private_key = settings.tls_key};
  }
  made.http.allowed_origins = origins_of(settings.cors_origins);
  made.submit_threads = static_cast<std::size_t>(settings.submit_threads);
  made.submit_queue_max = static_cast<std::size_t>(settings.submit_queue_max);
  made.return_time = std::chrono::seconds(settings.resume_s);
  return made;
}

std::vector<door_port> door_ports_of(const config::cluster_config& config) {
  const auto first = static_cast<std::uint16_t>(config.server.port);
  auto local = replicas_of_this_node(config);
  switch (config.server.balancing) {
  case config::balancing_kind::internal:
    break;
  case config::balancing_kind::hybrid:
    return {{.port = first, .replicas = std::move(local)}};
  case config::balancing_kind::external: {
    std::vector<door_port> all;
    for (const auto replica : local) {
      const auto port = first == 0 ? 0 : first + replica; // config/rules.cpp: they are all legal
      all.push_back({.port = static_cast<std::uint16_t>(port), .replicas = {replica}});
    }
    return all;
  }
  }
  return {{.port = first, .replicas = {}}};
}

result<void> check_ports(const config::cluster_config& config) {
  for (const auto& one : door_ports_of(config)) {
    if (one.port != 0) {
      http::server_config wanted;
      wanted.host = config.server.host;
      wanted.port = one.port;
      VDIST_TRY(http::check_port(wanted));
    }
  }
  return {};
}

served_model served_model_of(const model_setup& setup, api::sampling_params defaults) {
  const auto& folder = setup.folder;
  return {.name = served_name_of(setup),
          .created = std::chrono::duration_cast<std::chrono::seconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count(),
          .max_model_len = setup.max_model_len,
          .tokenizer = setup.tokenizer,
          .defaults = std::move(defaults),
          .chat = folder.folder.empty() ? text::jinja::model_template()
                                        : text::jinja::model_template::load(folder.folder),
          .version = std::string(version),
          .replicas = setup.layout->sizes().data};
}

result<void> engine_backend::check(const prompt_order& order) const {
  return check_request(engine_.setup(),
                       {.prompt = {}, .token_ids = order.token_ids, .params = order.params});
}

result<std::vector<std::shared_ptr<text_stream>>>
engine_backend::submit(const prompt_order& order) {
  VDIST_ASSIGN(auto made,
               engine_.generate({.prompt = {},
                                 .token_ids = order.token_ids,
                                 .params = order.params,
                                 .client_key = order.client_key,
                                 .replicas = order.replicas}));
  return std::move(made.sequences);
}

result<void> engine_backend::health(std::span<const std::int32_t> replicas) {
  if (const auto failure = engine_.failure()) {
    return *failure;
  }
  const auto now = engine_.details();
  const bool can_step =
      std::any_of(now.replicas.begin(), now.replicas.end(), [replicas](const auto& one) {
        const bool is_meant =
            replicas.empty() || (std::ranges::count(replicas, one.replica) > 0 && !one.is_draining);
        return is_meant && one.state == "running";
      });
  return can_step ? result<void>()
                  : fail(errc::closed,
                         replicas.empty()
                             ? std::string("health: no replica takes steps now")
                             : fmt::format("health: no replica of this port takes requests now "
                                           "(replicas={})",
                                           fmt::join(replicas, " ")));
}

bool engine_backend::is_draining(std::span<const std::int32_t> replicas) const {
  return !engine_.takes_requests(replicas);
}

std::string engine_backend::describe_cluster() {
  return cluster_json(engine_.details(), engine_.recoveries(recoveries_shown_max));
}

cluster_observation engine_backend::observe() {
  cluster_observation look{.status = engine_.details(),
                           .recoveries = engine_.recoveries(recoveries_shown_max),
                           .at_ns = ns_of(system_clock().now())};
  for (const auto& replica : engine_.sample().replicas) {
    if (replica.requests) {
      add_requests(look, *replica.requests);
    }
  }
  return look;
}

result<std::unique_ptr<serve_run>> serve_run::listen(const model_setup& setup,
                                                     api::sampling_params defaults,
                                                     host::board_words* board) {
  const auto& settings = setup.config.server;
  VDIST_ASSIGN(auto config, front_door_config_of(settings));
  config.ports = door_ports_of(setup.config);
  if (board != nullptr) {
    if (board->node_starts > 1) {
      config.listen_patience = successor_patience;
    }
    const auto& words = run_on(*board).http_ports;
    for (std::size_t index = 0; index < config.ports.size(); ++index) {
      auto& port = config.ports[index].port;
      if (port == 0) {
        port = static_cast<std::uint16_t>(words.at(index)); // V-3; 0: there was none
      }
    }
  }
  std::unique_ptr<serve_run> made(new serve_run(std::chrono::seconds(settings.drain_s)));
  VDIST_ASSIGN(made->door_,
               http_front_door::start(
                   std::move(config), served_model_of(setup, std::move(defaults)), made->time_));
  if (board != nullptr) {
    const auto ports = made->door_->ports();
    for (std::size_t index = 0; index < ports.size(); ++index) {
      run_on(*board).http_ports.at(index) = ports[index].port;
    }
  }
  return made;
}

std::vector<std::string> serve_run::urls() const {
  std::vector<std::string> all;
  const auto ports = door_->ports();
  for (std::size_t index = 0; index < ports.size(); ++index) {
    const auto& replicas = ports[index].replicas;
    all.push_back(door_->url(index));
    if (!replicas.empty()) {
      all.back() +=
          fmt::format(" (replica{} {})", replicas.size() == 1 ? "" : "s", fmt::join(replicas, " "));
    }
  }
  return all;
}

result<void> serve_run::serve(engine& engine) {
  engine_backend backend(engine);
  std::vector<control::port_details> ports;
  for (auto& one : door_->ports()) {
    ports.push_back({.port = one.port, .replicas = std::move(one.replicas)});
  }
  engine.announce(std::move(ports));
  door_->open(backend);
  auto ended = wait_for_end(engine);
  if (ended) {
    drain(engine);
  }
  door_->close(); // before the backend
  return ended;
}

/// Success: SIGTERM.
result<void> serve_run::wait_for_end(engine& engine) {
  while (!is_interrupted()) {
    if (const auto failure = engine.failure()) {
      return *failure;
    }
    pause();
  }
  return interrupted_by() == SIGTERM ? result<void>() : fail(errc::cancelled, "interrupted");
}

void serve_run::drain(engine& engine) {
  const auto deadline = time_.now() + drain_time_;
  if (const auto told = engine.drain(); !told) {
    log::warn("serve: {}", told.error().context);
  }
  while (door_->answers_under_way() > 0 && time_.now() < deadline) { // V-5
    pause();
  }
  if (const auto drained = door_->drain(deadline); !drained) {
    log::warn("serve: {}: they are cut", drained.error().context);
  }
}

} // namespace vdist::actors
