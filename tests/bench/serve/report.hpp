// tests/bench/serve/report.hpp — the figures of a load run, for people and for programs. The JSON has the keys of
// `vllm bench serve --save-result` where there is one, so that scripts for that read this.
#pragma once

#include "tests/bench/serve/figures.hpp"
#include "tests/bench/serve/workload.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vdist::bench::serve {

/// What a process of the server took during the run.
struct process_cost {
  std::string name;
  std::int64_t pid = 0;
  double memory_mib = 0;      // resident at the end of the run
  double memory_peak_mib = 0; // since its start
  double cpu_seconds = 0;     // during the run
};

struct report_head {
  std::string target; // URL
  std::string model;
  std::string workload;
  std::string arrivals; // for people: "open, 3000/s", "closed, 64 at a time"
  std::uint64_t seed = 0;
  bool is_stream = true;
  std::size_t lines_bad = 0;
  cut_lengths cut;
  std::optional<std::int32_t> max_model_len;
  std::vector<process_cost> server; // of our own server
};

/// Several lines, the last with its end.
[[nodiscard]] std::string table_of(const report_head& head, const figures& all);

/// One object.
[[nodiscard]] std::string json_of(const report_head& head, const figures& all);

} // namespace vdist::bench::serve
