// runtime/api/request_file.hpp — the input of an offline batch: one JSON object per line.
//   {"id": "a1", "prompt": "Once upon a time", "max_tokens": 64, "temperature": 0.7}
//   {"id": 17, "token_ids": [1, 306, 471], "n": 2, "logprobs": 3}
// Strict, because people mistype: an unknown or doubled field, a wrong type, a value out of range,
// invalid UTF-8, both or neither of prompt and token_ids give errc::invalid_argument with file,
// line and field. Parameters have the names of sampling_params; those that a line does not name
// come from the base parameters. Bytes are never trusted.
#pragma once

#include "runtime/api/sampling_params.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vdist::api {

inline constexpr std::size_t line_bytes_max = 16 * 1024 * 1024;
inline constexpr std::size_t id_bytes_max = 512;
inline constexpr std::size_t token_ids_max = 1024 * 1024;
/// A line is an object of scalars, lists and one object (logit_bias): two levels, one to spare for
/// a clear message.
inline constexpr std::size_t json_depth_max = 3;

struct file_request {
  std::string id;                  // the line number when the line names none
  std::uint64_t line = 0;          // 1-based
  std::string prompt;              // text; empty when token_ids are given
  std::vector<token_id> token_ids; // empty when a text is given
  sampling_params params;          // complete and valid

  [[nodiscard]] bool is_tokenized() const { return !token_ids.empty(); }
};

/// One line without its line end. `file` and `line` are for messages; `base` holds the defaults.
[[nodiscard]] result<file_request> parse_request_line(std::string_view text,
                                                      std::string_view file,
                                                      std::uint64_t line,
                                                      const sampling_params& base);

/// Reads a stream line by line; holds one line and the ids seen so far. Blank lines are skipped,
/// "\r\n" is accepted.
class request_reader {
public:
  /// `in` is borrowed and must outlive the reader.
  request_reader(std::istream& in, std::string file, sampling_params base);

  /// The next request, nullopt at the end, or the error of the line. After an error of a line the
  /// next call goes on with the line behind it; ids of earlier lines may not come again.
  [[nodiscard]] result<std::optional<file_request>> next();

  /// Line that next() looked at last, 1-based.
  [[nodiscard]] std::uint64_t line() const { return line_; }

private:
  [[nodiscard]] result<bool> read_line(); // false at the end

  std::istream& in_;
  std::string file_;
  sampling_params base_;
  std::string text_;
  std::uint64_t line_ = 0;
  std::unordered_map<std::string, std::uint64_t> seen_; // id → line
};

} // namespace vdist::api
