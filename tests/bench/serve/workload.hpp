// tests/bench/serve/workload.hpp — what a load run asks for: lengths of prompts and answers, and when each request is due.
// Made before the run from a name and a seed: the same twice. Lengths only; prompts are made when they are sent
// (request_body.hpp), so a workload of a million requests is small.
//
//   none               no request: for connections that stand idle
//   random:IN/OUT      every request alike
//   sharegpt           log-normal lengths (sharegpt_lengths), no data needed
//   azure-code, azure-conv, mooncake, mooncake-synthetic    recorded traces, from a folder of trace files
//   FILE.jsonl         a line per request: {"timestamp": ms, "input_length": n, "output_length": n}, where "prompt": "text"
//                      may stand for input_length and "max_tokens" for output_length; timestamp is optional
//
// W-1 The same name, seed and files give the same requests. W-2 A line that cannot be read is counted and left out; a file
// without one that can is an error. W-3 Times of a trace begin at 0 and never fall.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::bench::serve {

struct planned_request {
  duration at{}; // due so long after the run's start; of a closed loop ignored
  std::int32_t input_tokens = 0;
  std::int32_t output_tokens = 0;
  std::string text; // the prompt itself where the file has it; empty: made of input_tokens
};

struct workload {
  std::string name;
  std::vector<planned_request> requests;
  bool has_times = false;    // of a trace
  std::size_t lines_bad = 0; // W-2
};

struct workload_options {
  std::string name = "random:1024/128";
  std::size_t requests = 0; // 0: all of a trace, else requests_default
  std::uint64_t seed = 0;
  std::filesystem::path trace_folder;
};

inline constexpr std::size_t requests_default = 1000;

/// Errors: invalid_argument (the name), not_found (a file), corrupt (W-2).
[[nodiscard]] result<workload> make_workload(const workload_options& options);

/// The names above, for people.
[[nodiscard]] std::string workload_names();

/// Text of a trace of the Azure data set: TIMESTAMP,ContextTokens,GeneratedTokens. Error: corrupt.
[[nodiscard]] result<workload> read_azure_trace(std::string_view text);

/// Text of a .jsonl file as above; Mooncake's traces have that form. Error: corrupt.
[[nodiscard]] result<workload> read_jsonl_trace(std::string_view text);

/// Arrivals of a Poisson process of `per_second`, by seed. Infinite: all at once.
void arrive_by_poisson(workload& load, double per_second, std::uint64_t seed);

/// A trace at `speed` times its pace.
void speed_up(workload& load, double speed);

/// What had to be cut so that prompt and answer fit.
struct cut_lengths {
  std::size_t requests = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
};

/// An answer keeps its length up to half of `max_model_len`; its prompt gives way first. Texts stay as they are.
cut_lengths cut_to(workload& load, std::int32_t max_model_len);

} // namespace vdist::bench::serve
