// actors/front_door/serving_backend.hpp — what the HTTP front door needs of whoever computes: an engine, or a test's
// own. The front door owns none of it.
#pragma once

#include "actors/front_door/cluster_observation.hpp"
#include "actors/front_door/text_stream.hpp"

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/metrics/engine_sample.hpp"
#include "runtime/text/jinja/model_template.hpp"
#include "runtime/text/tokenizer.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vdist::actors {

/// n sequences of one prompt.
struct prompt_order {
  std::vector<token_id> token_ids;
  api::sampling_params params;
  std::uint64_t client_key = 0; // as generate_request::client_key; never 0
  std::vector<std::int32_t> replicas = {}; // that may run it; empty: all
};

/// Any thread, for every function.
class serving_backend {
public:
  virtual ~serving_backend() = default;

  /// What can be said without asking anybody. Error: invalid_argument.
  [[nodiscard]] virtual result<void> check(const prompt_order& order) const = 0;

  /// Accepts it, or finds it again by its key: then its streams begin anew. Blocks, with a deadline. One stream per
  /// sequence, none of which has been read. Errors: queue_full, closed, timed_out; invalid_argument when the key was
  /// given to another order.
  [[nodiscard]] virtual result<std::vector<std::shared_ptr<text_stream>>>
  submit(const prompt_order& order) = 0;

  /// Whether one of these replicas (all, when there are none) can take a step now, of a new request. Blocks, with a
  /// deadline. Error: why not.
  [[nodiscard]] virtual result<void> health(std::span<const std::int32_t> replicas) = 0;

  /// Whether new requests for these replicas (all, when there are none) are refused until somebody decides otherwise.
  [[nodiscard]] virtual bool is_draining(std::span<const std::int32_t> replicas) const = 0;

  /// Topology, epochs, workers, load as JSON. Blocks, with a deadline.
  [[nodiscard]] virtual std::string describe_cluster() = 0;

  /// What it has measured; parts are read from the backend as long as that lives. Waits for nobody.
  [[nodiscard]] virtual metrics::engine_sample sample() const = 0;

  /// What the live page shows. Blocks, with a deadline.
  [[nodiscard]] virtual cluster_observation observe() = 0;
};

/// What is served; constant while it is.
struct served_model {
  std::string name;                                 // in requests and answers
  std::int64_t created = 0;                         // seconds since 1970
  std::int32_t max_model_len = 0;                   // prompt and generated tokens of a request
  std::shared_ptr<const text::tokenizer> tokenizer; // null: token ids only
  api::sampling_params defaults;
  text::jinja::model_template chat;
  std::string version;       // of the server
  std::int32_t replicas = 1; // of the backend, for metrics while there is none
};

} // namespace vdist::actors
