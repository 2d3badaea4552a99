// model/weights/json_object.hpp — strict reading of JSON objects from files; private to this
// folder. Errors name the file, the key (with its path, "rope_scaling.factor"), what was found and
// what is legal.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::weights {

/// Deeper nesting than any real file has; bounds what a hostile one can make us do.
inline constexpr int max_json_depth = 32;

/// Parses one object. Duplicate keys, broken UTF-8, another top-level type and deep nesting are
/// errc::corrupt.
[[nodiscard]] result<nlohmann::json> parse_json_object(std::string_view text,
                                                       std::string_view origin);

/// Text from a file, fit for a log line: at most max_shown characters, anything but printable ASCII
/// as '?'.
[[nodiscard]] std::string shown(std::string_view text);
inline constexpr std::size_t max_shown = 100;

/// The whole file; errc::not_found, io_failed, or corrupt if it is longer than max_bytes.
[[nodiscard]] result<std::string> read_text_file(const std::filesystem::path& path,
                                                 std::size_t max_bytes);

/// Bounds of a number, both inclusive.
template <class Number>
struct number_bounds {
  Number min;
  Number max;
};

/// A borrowed view of one object. A key that is absent or null counts as unset.
class json_object {
public:
  json_object(const nlohmann::json& object,
              std::string_view origin,
              std::string_view key_path = {});

  [[nodiscard]] bool has(std::string_view key) const;
  /// The key is written, be it as null: for keys where null says something else than silence.
  [[nodiscard]] bool mentions(std::string_view key) const;

  [[nodiscard]] result<std::optional<std::int64_t>>
  integer(std::string_view key, number_bounds<std::int64_t> bounds) const;
  /// As above, and unset is an error.
  [[nodiscard]] result<std::int64_t> required_integer(std::string_view key,
                                                      number_bounds<std::int64_t> bounds) const;
  [[nodiscard]] result<std::optional<double>> number(std::string_view key,
                                                     number_bounds<double> bounds) const;
  /// A list of them; empty if unset.
  [[nodiscard]] result<std::vector<double>> numbers(std::string_view key,
                                                    number_bounds<double> bounds) const;
  [[nodiscard]] result<std::optional<bool>> boolean(std::string_view key) const;
  [[nodiscard]] result<std::optional<std::string>> string(std::string_view key) const;
  [[nodiscard]] result<std::vector<std::string>> strings(std::string_view key) const;
  /// An integer or a list of them; empty if unset.
  [[nodiscard]] result<std::vector<std::int64_t>>
  integers(std::string_view key, number_bounds<std::int64_t> bounds) const;
  [[nodiscard]] result<std::optional<json_object>> object(std::string_view key) const;

  /// `read <origin>: <cause> (key=<path>, value=<value>, legal=<legal>)`; the value is shortened.
  [[nodiscard]] error
  failure(errc code, std::string_view cause, std::string_view key, std::string_view legal) const;

private:
  [[nodiscard]] const nlohmann::json* find(std::string_view key) const;

  const nlohmann::json* object_; // borrowed
  std::string origin_;
  std::string key_path_; // "" or "rope_scaling."
};

} // namespace vdist::weights
