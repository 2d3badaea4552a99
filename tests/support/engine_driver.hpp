// tests/support/engine_driver.hpp — a whole engine in this process, fed with requests; gathers what
// came out of it. Every sequence is read to its end, and that it has exactly one is checked while
// reading.
#pragma once

#include "actors/system/engine.hpp"

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing {

using actors::engine;
using actors::engine_status;
using actors::generate_request;

/// What a reader got of one sequence. Log probabilities are compared bit by bit.
struct heard {
  std::string text;
  std::vector<token_id> token_ids;
  std::vector<api::position_logprobs> logprobs;
  protocol::finish_reason reason = protocol::finish_reason::none;
  std::string message;
};

bool operator==(const heard& left, const heard& right);
std::ostream& operator<<(std::ostream& out, const heard& value);

class engine_driver {
public:
  /// `toml` is a cluster.toml; `overrides` are key=value as behind --set. A failure to start fails
  /// the test case.
  explicit engine_driver(std::string_view toml, const std::vector<std::string>& overrides = {});

  /// All at once. One result per sequence, in the order of requests, n sequences of a request side
  /// by side.
  [[nodiscard]] std::vector<heard> run(const std::vector<generate_request>& requests);
  /// One after the other: each runs alone.
  [[nodiscard]] std::vector<heard> run_alone(const std::vector<generate_request>& requests);

  [[nodiscard]] engine& get() { return *engine_; }

  /// Status once the router has seen the end of every request: a stop string ends a stream before
  /// its request.
  [[nodiscard]] engine_status settled();

private:
  std::unique_ptr<engine> engine_;
};

/// Reads a stream to its end; checks that it ends once. Fails the test case when nothing comes for
/// a minute.
[[nodiscard]] heard read_to_end(actors::text_stream& stream);

/// The demo model of the source tree on the CPU: small batches, no log lines. Overrides are added
/// on top.
[[nodiscard]] std::string tiny_tales_config();

/// The sim device without a model: 8 layers, 8 heads, no simulated time.
[[nodiscard]] std::string sim_config();

} // namespace vdist::testing
