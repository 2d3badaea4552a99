// tests/bench/serve/serve_bench.hpp — `vdist-bench serve`: a load of requests on a server that speaks OpenAI's API, and what
// its clients see of it.
#pragma once

#include "runtime/base/result.hpp"

#include <CLI/App.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace vdist::bench::serve {

struct serve_options {
  std::string target; // http://… : a server that runs; else the configuration of one to start
  std::vector<std::string> overrides; // of the configuration
  std::string workload = "random:1024/128";
  std::string traces; // folder of the trace files; empty: traces/ of the test data
  double open_rate =
      0; // requests per second; infinite: all at once; 0: the trace's own times, else infinite
  std::size_t closed = 0; // requests at a time; with a rate its bound
  double speed = 1;       // of a trace's own times
  std::size_t requests = 0;
  std::uint64_t seed = 0;
  bool is_whole = false; // not streamed
  bool is_chat = false;
  bool may_end = false; // at the model's end token
  std::string usage;    // none, final, continuous; empty: continuous of our own server, else final
  std::string goodput;
  double pace_ms = 0;             // of the device; 0: unknown
  std::string model;              // empty: the server's first
  std::int32_t max_model_len = 0; // 0: as the server says
  std::uint32_t vocabulary = 1024;
  std::string api_key_file; // empty: OPENAI_API_KEY
  double timeout_s = 600;   // of one request
  std::size_t idle = 0;
  double hold_s = 0;
  std::string json;
  bool is_quiet = false;
};

/// Declares the options of the subcommand.
void add_options(CLI::App& sub, serve_options& into);

/// Prints the table to stdout and progress to stderr. Errors: invalid_argument, not_found, and what own_server::start() and
/// run_load() return; internal: not one request was ok.
[[nodiscard]] result<void> bench_serve(const serve_options& options);

} // namespace vdist::bench::serve
