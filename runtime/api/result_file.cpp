#include "runtime/api/result_file.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/json.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

namespace vdist::api {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// JSON has no infinity; this is what the OpenAI API writes for a token that cannot occur.
constexpr double logprob_of_impossible = -9999.0;

/// Levels of a result line: object, logprobs, position, top, token; some to spare for later fields.
constexpr std::size_t result_depth_max = 8;

/// Every index, for an error that concerns the whole request.
constexpr std::int32_t all_indices = -1;

double finite(double logprob) {
  return std::isfinite(logprob) ? logprob : logprob_of_impossible;
}

ordered_json to_json(const token_info& token) {
  return {{"id", token.id}, {"text", token.text}, {"logprob", finite(token.logprob)}};
}

ordered_json to_json(const std::vector<position_logprobs>& positions) {
  ordered_json list = ordered_json::array();
  for (const position_logprobs& position : positions) {
    ordered_json entry = to_json(position.chosen);
    entry["top"] = ordered_json::array();
    for (const token_info& token : position.top) {
      entry["top"].push_back(to_json(token));
    }
    list.push_back(std::move(entry));
  }
  return list;
}

/// Microseconds are enough, and shorter to read.
double rounded_ms(double ms) {
  return std::isfinite(ms) ? std::round(ms * 1000) / 1000 : 0;
}

/// The id and index of one line of an earlier output; an error when the line is not one of ours.
result<std::pair<std::string, std::int32_t>> read_result_line(std::string_view text) {
  VDIST_ASSIGN(const json object, parse_object(text, result_depth_max));
  const auto id = object.find("id");
  const bool is_error = object.contains("error");
  if (id == object.end() || !id->is_string() || (!is_error && !object.contains("token_ids"))) {
    return fail(errc::corrupt, "not a result");
  }
  const auto index = object.find("index");
  if (index == object.end()) {
    return std::pair(id->get<std::string>(), is_error ? all_indices : 0);
  }
  VDIST_ASSIGN(const std::int32_t number, read_int32("index", *index));
  return std::pair(id->get<std::string>(), number);
}

void add(finished_requests& finished, const std::pair<std::string, std::int32_t>& entry) {
  std::vector<std::int32_t>& indices = finished.indices[entry.first];
  const auto at = std::lower_bound(indices.begin(), indices.end(), entry.second);
  if (at == indices.end() || *at != entry.second) {
    indices.insert(at, entry.second);
  }
}

} // namespace

std::string to_line(const file_result& value) {
  ordered_json line;
  line["id"] = value.id;
  if (value.index) {
    line["index"] = *value.index;
  }
  line["text"] = value.text;
  line["token_ids"] = value.token_ids;
  line["finish_reason"] = protocol::to_string(value.reason);
  line["prompt_tokens"] = value.prompt_tokens;
  line["timings"] = {{"ttft_ms", rounded_ms(value.times.ttft_ms)},
                     {"tpot_ms", rounded_ms(value.times.tpot_ms)},
                     {"total_ms", rounded_ms(value.times.total_ms)}};
  if (value.logprobs) {
    line["logprobs"] = to_json(*value.logprobs);
  }
  return dump_line(line);
}

std::string error_line(std::string_view id, const error& cause, std::optional<std::int32_t> index) {
  ordered_json line;
  line["id"] = id;
  if (index) {
    line["index"] = *index;
  }
  line["error"] = {{"code", to_string(cause.code)}, {"message", cause.context}};
  return dump_line(line);
}

bool finished_requests::has(const std::string& id, std::int32_t index) const {
  const auto found = indices.find(id);
  return found != indices.end()
         && (found->second.front() == all_indices
             || std::binary_search(found->second.begin(), found->second.end(), index));
}

bool finished_requests::is_finished(const std::string& id, std::int32_t n) const {
  for (std::int32_t index = 0; index < n; ++index) {
    if (!has(id, index)) {
      return false;
    }
  }
  return true;
}

result<finished_requests> read_finished(const std::filesystem::path& file) {
  finished_requests finished;
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status)) {
    return finished;
  }
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(status)) {
    return fail(errc::io_failed,
                fmt::format("read earlier output: cannot open (file={})", file.string()));
  }
  std::string text;
  std::uint64_t line = 0;
  std::uint64_t bad_line = 0; // the last line that was not a result; 0: none
  // A line is bounded by the file that this program wrote itself; a line without an end is torn
  // (eof is set).
  while (std::getline(in, text) && !in.eof()) {
    ++line;
    if (bad_line != 0) {
      return fail(errc::corrupt,
                  fmt::format("read earlier output: not a result of this program (file={}, "
                              "line={}); choose another "
                              "output file or repair this one",
                              file.string(),
                              bad_line));
    }
    if (const auto entry = read_result_line(text)) {
      add(finished, *entry);
      finished.valid_bytes += text.size() + 1;
    } else {
      bad_line = line;
    }
  }
  if (in.bad()) {
    return fail(errc::io_failed,
                fmt::format("read earlier output: cannot read (file={})", file.string()));
  }
  return finished;
}

} // namespace vdist::api
