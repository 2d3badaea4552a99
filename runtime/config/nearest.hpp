// runtime/config/nearest.hpp — the known key that a mistyped one most likely means. Internal to the
// folder.
#pragma once

#include <span>
#include <string_view>

namespace vdist::config {

/// The candidate with the smallest edit distance to the dotted name; names that differ only in
/// their section are close, so that "tensor" suggests "parallel.tensor". Candidates must not be
/// empty. Cost: O(candidates * length^2).
[[nodiscard]] std::string_view nearest(std::string_view name,
                                       std::span<const std::string_view> candidates);

} // namespace vdist::config
