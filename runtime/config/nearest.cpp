#include "runtime/config/nearest.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace vdist::config {

namespace {

/// Names beyond this are cut before they are compared: a mistyped key is not longer, and the cost
/// stays bounded.
constexpr std::size_t compared_bytes_max = 128;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string_view last_part(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

} // namespace

std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates) {
  VDIST_CHECK(!candidates.empty(), "config: nearest() needs candidates");
  name = name.substr(0, compared_bytes_max);
  std::string_view best = candidates.front();
  std::size_t best_distance = compared_bytes_max * 4;
  for (const std::string_view candidate : candidates) {
    // A different section costs one edit beside those of the last part.
    const std::size_t distance = std::min(edit_distance(name, candidate),
                                          edit_distance(last_part(name), last_part(candidate)) + 1);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

} // namespace vdist::config
