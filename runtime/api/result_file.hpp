// runtime/api/result_file.hpp — the output of an offline batch: one JSON object per finished
// sequence. Text from a model may end inside a character: what is not valid UTF-8 becomes U+FFFD
// before it is written. Log probabilities that are not finite are written as -9999, since JSON has
// no infinity. Lines end with '\n'.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/request.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vdist::api {

/// One token with its log probability.
struct token_info {
  token_id id = 0;
  std::string text;
  float logprob = 0;
};

/// The chosen token of one position and its likeliest alternatives.
struct position_logprobs {
  token_info chosen;
  std::vector<token_info> top; // falling log probability
};

/// Milliseconds. tpot is the mean over all tokens behind the first; 0 with fewer than two.
struct timings {
  double ttft_ms = 0;
  double tpot_ms = 0;
  double total_ms = 0;
};

struct file_result {
  std::string id;
  std::string text;
  std::vector<token_id> token_ids;
  protocol::finish_reason reason = protocol::finish_reason::stop;
  std::int32_t prompt_tokens = 0;
  timings times;
  std::optional<std::vector<position_logprobs>> logprobs; // set when asked for
  std::optional<std::int32_t> index;                      // set when n > 1
};

[[nodiscard]] std::string to_line(const file_result& value);

/// {"id": …, "error": {"code": …, "message": …}}, with "index" when only one of n sequences failed.
[[nodiscard]] std::string error_line(std::string_view id,
                                     const error& cause,
                                     std::optional<std::int32_t> index = std::nullopt);

/// What an output file of an earlier run holds.
struct finished_requests {
  std::unordered_map<std::string, std::vector<std::int32_t>>
      indices;                   // id → sequences that are there, rising
  std::uint64_t valid_bytes = 0; // truncate the file to this, then append

  /// Whether all n sequences of a request are there.
  [[nodiscard]] bool is_finished(const std::string& id, std::int32_t n) const;
  /// Whether one sequence is there.
  [[nodiscard]] bool has(const std::string& id, std::int32_t index) const;
};

/// Reads an existing output file; a file that does not exist is empty. A last line that is torn (no
/// line end, or not a result) is not counted and lies behind valid_bytes. A bad line in front of a
/// good one is corrupt: somebody edited the file, and cutting it would destroy results. Error lines
/// of a whole request count as finished for every index.
[[nodiscard]] result<finished_requests> read_finished(const std::filesystem::path& file);

} // namespace vdist::api
