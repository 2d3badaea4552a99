// runtime/config/describe.hpp — what can be configured, and what is configured, as text.
#pragma once

#include "runtime/config/cluster_config.hpp"

#include <string>
#include <vector>

namespace vdist::config {

/// One key, for `--help` and for the reference page.
struct key_info {
  std::string name;          // full dotted name; keys of [[node]] begin with "node."
  std::string type;          // "integer", "number", "boolean", "string", "word", "list of integers"
  std::string unit;          // "ms", "tokens", "bytes", …; empty for pure numbers and words
  std::string default_value; // TOML syntax
  std::string legal;         // range or words, as error messages name them
  std::string doc;           // one sentence
};

/// All keys in the order of the file.
[[nodiscard]] std::vector<key_info> list_keys();

/// The keys as a plain-text table for `--help`.
[[nodiscard]] std::string describe_keys();

/// The effective configuration as TOML that parse() reads again to the same values, except that
/// secrets are hidden: a secret that is set appears as a comment.
[[nodiscard]] std::string to_toml(const cluster_config& config);

} // namespace vdist::config
