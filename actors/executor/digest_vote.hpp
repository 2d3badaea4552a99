// actors/executor/digest_vote.hpp — whose digest of a step is wrong when those of a stage differ (P-6). Pure functions.
//
// Y-1 More than half of the ranks of a stage agree: the others have computed something else, and are named.
// Y-2 Else, as with two ranks, one of them is wrong and nobody knows which: all are named, as suspects.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vdist::actors {

/// Ranks of one stage that are named for a step.
struct digest_vote {
  std::vector<std::size_t> named; // places in the stage; empty: all agree
  bool is_certain = false;        // Y-1
};

/// `digests`: by rank of the stage.
[[nodiscard]] inline digest_vote vote_on(std::span<const std::uint64_t> digests) {
  const auto votes_for = [digests](std::uint64_t value) {
    return static_cast<std::size_t>(std::count(digests.begin(), digests.end(), value));
  };
  const auto winner = std::max_element(
      digests.begin(), digests.end(), [&votes_for](std::uint64_t left, std::uint64_t right) {
        return votes_for(left) < votes_for(right);
      });
  digest_vote vote;
  if (winner == digests.end() || votes_for(*winner) == digests.size()) {
    return vote;
  }
  vote.is_certain = 2 * votes_for(*winner) > digests.size();
  for (std::size_t i = 0; i < digests.size(); ++i) {
    if (!vote.is_certain || digests[i] != *winner) {
      vote.named.push_back(i);
    }
  }
  return vote;
}

} // namespace vdist::actors
