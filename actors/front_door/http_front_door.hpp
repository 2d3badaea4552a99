// actors/front_door/http_front_door.hpp — the OpenAI API over HTTP: routes, keys, and from bodies to orders for a backend.
//
//   POST /v1/completions, /v1/chat/completions, /tokenize, /detokenize
//   GET  /v1/models, /v1/models/<name>, /v1/cluster, /v1/cluster/events, /health, /live, /ready, /version, /metrics
//   GET  /    the live page, which needs no key; what it shows and asks, it gets from the routes above
//
// F-1 Every error is OpenAI's error object with its status: 400 naming the parameter, 401, 404, 405, 409, 413, 429 and 503 with
// Retry-After, … F-2 No io thread blocks or computes: bodies are parsed, templates rendered and orders submitted by a
// pool of submit_threads behind a queue of submit_queue_max, beyond which it is 429. F-3 Every POST that generates has a name
// (Idempotency-Key, drawn if absent, returned): the same again attaches to the same generation, with Last-Event-ID behind
// that event; another body under the name is 409. F-4 Until open(), and while the backend drains, requests get 503;
// /live is always 200, /ready tells, /metrics has zeros until open(). F-5 Without a legal key only /, /live, /ready and /health
// answer. F-6 There may be several ports, each for some replicas: these alone are asked to run what comes there, and /health
// and /ready speak of them (503, and the requests, too, while none of them takes any; "replicas" names them). Names (F-3)
// are those of the whole front door, so a client may come back to any port. A port has io threads and connections of its own;
// pool, lane and keys are everybody's. F-7 Snapshots of the cluster (live_snapshot.hpp) are made once for all who watch, at
// most live.watchers_max; beyond them it is 503.
//
// start(), open(), drain() and close() by one thread; everything else inside.
#pragma once

#include "actors/front_door/api_keys.hpp"
#include "actors/front_door/live_feed.hpp"
#include "actors/front_door/serving_backend.hpp"

#include "transport/http/server_config.hpp"
#include "transport/http/statistics.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vdist::actors {

/// Choices of one request: prompts times n.
inline constexpr std::size_t choices_max = 128;

/// F-6.
struct door_port {
  std::uint16_t port = 0;             // 0: any free one
  std::vector<std::int32_t> replicas; // that run what comes there; empty: all
};

struct front_door_config {
  http::server_config http;     // of each port; error_answer is the front door's
  std::vector<door_port> ports; // empty: http.port, for all replicas
  api_keys keys;
  std::size_t submit_threads = 4;
  std::size_t submit_queue_max = 1024;
  std::chrono::seconds return_time{30}; // generation_answer.hpp, G-3
  live_feed_settings live;
  /// How long a port that is in use is tried again: a predecessor may be about to end.
  std::chrono::milliseconds listen_patience{0};
};

class http_front_door {
public:
  /// Listens. `clock` is borrowed. Errors: as http::server::start().
  [[nodiscard]] static result<std::unique_ptr<http_front_door>>
  start(front_door_config config, served_model model, const clock& time);

  /// As close().
  ~http_front_door();
  http_front_door(const http_front_door&) = delete;
  http_front_door& operator=(const http_front_door&) = delete;

  /// From now on requests are served. Borrowed until close().
  void open(serving_backend& backend);

  /// Accepts no connection any more, ends the snapshots, and lets answers end. Error: timed_out, some have not.
  [[nodiscard]] result<void> drain(time_point deadline);

  /// Ends all connections; sequences that have not ended are cancelled. A second call does nothing.
  void close();

  /// The first one.
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// As configured, with the port that is listened on.
  [[nodiscard]] std::vector<door_port> ports() const;
  /// "http://127.0.0.1:8000", of the index-th port.
  [[nodiscard]] std::string url(std::size_t index = 0) const;
  /// Sums over the ports. Any thread.
  [[nodiscard]] http::statistics stats() const;
  /// Answers that generate and are not over. Any thread.
  [[nodiscard]] std::size_t answers_under_way() const;

private:
  struct impl;
  explicit http_front_door(std::unique_ptr<impl> inside);

  std::unique_ptr<impl> impl_;
};

} // namespace vdist::actors
