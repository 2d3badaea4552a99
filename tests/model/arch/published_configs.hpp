// tests/model/arch/published_configs.hpp — what a published config.json says a model must weigh,
// counted from its keys alone: none of the product's code, so that it can be the oracle of plans and
// memory arithmetic.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace vdist::testing {

/// Whether this build claims to run the class that the file names.
[[nodiscard]] bool is_claimed(const std::string& class_name);

/// Elements of a checkpoint, and how tensor ranks share them.
struct model_elements {
  std::int64_t layers = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  // Of one layer.
  std::int64_t split = 0; // every rank has its share: q, o, MLP and their output biases
  std::int64_t kv = 0;    // k and v: shared, or copied where there are more ranks than heads
  std::int64_t layer_vectors = 0; // on every rank: norms, biases of sums
  // Of the ends.
  std::int64_t table = 0; // the token table
  std::int64_t head = 0;  // the LM head where it has a matrix of its own
  std::int64_t first_copied =
      0; // on every rank of the first stage: positions, linear to the stream
  std::int64_t last_copied =
      0; // on every rank of the last stage: final norm, linear from the stream

  /// What the checkpoint holds.
  [[nodiscard]] std::int64_t total() const;
  /// Summed over all ranks; a tied table is held once per end where the ends are two stages.
  [[nodiscard]] std::int64_t over_ranks(std::int32_t tensor, std::int32_t stages) const;
};

[[nodiscard]] model_elements count_elements(const nlohmann::json& config);

[[nodiscard]] nlohmann::json read_json_file(const std::filesystem::path& file);

/// architectures[0], or model_type.
[[nodiscard]] std::string class_of(const nlohmann::json& config);

} // namespace vdist::testing
