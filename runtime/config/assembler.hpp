// runtime/config/assembler.hpp — builds a cluster_config from TOML texts, one after the other.
// Internal to the folder. The only source that sees toml++ is assembler.cpp: the parser is large,
// and nobody else needs it.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"

#include <map>
#include <string>
#include <string_view>

namespace vdist::config {

class assembler {
public:
  /// `name` stands for the file in messages.
  explicit assembler(std::string name) : name_(std::move(name)) { config_.source = name_; }

  /// Takes over every key of the file.
  [[nodiscard]] result<void> apply_file(std::string_view text);
  /// `full.key=value`.
  [[nodiscard]] result<void> apply_override(std::string_view argument);

  [[nodiscard]] const cluster_config& config() const { return config_; }

  /// Where the value of a key came from: "demo.toml:12" or "--set key=value"; the file's name when
  /// it was not set.
  [[nodiscard]] std::string where(std::string_view key) const;

private:
  friend class table_walk;

  std::string name_;
  cluster_config config_;
  std::map<std::string, std::string, std::less<>> origins_; // full key → where
};

} // namespace vdist::config
