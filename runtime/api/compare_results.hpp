// runtime/api/compare_results.hpp — two output files of the same input: what is missing, different or there twice.
// For runs with faults against runs without: streams must be the same in everything but time.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace vdist::api {

/// Counts of results, by (id, index). A result that only the second file has counts as altered.
struct results_comparison {
  std::uint64_t compared = 0; // in the first file
  std::uint64_t lost = 0;     // not in the second
  std::uint64_t altered = 0;  // other tokens, text, reason, log probabilities, or error code
  std::uint64_t doubled = 0;  // more than once in the second
  std::vector<std::string>
      examples; // the first of them, for people; comparison_examples_max at most

  [[nodiscard]] bool is_equal() const { return lost + altered + doubled == 0; }
};

inline constexpr std::size_t comparison_examples_max = 8;

/// Log probabilities are compared by bits: files have the shortest text that gives them back. Holds
/// the first file in memory. Errors: not_found, corrupt (a line that is no result).
[[nodiscard]] result<results_comparison> compare_results(const std::filesystem::path& undisturbed,
                                                         const std::filesystem::path& disturbed);

} // namespace vdist::api
