// actors/worker/step_size.hpp — how large a step is for a device, and the pace that is learned by that.
// A step has two sizes: the tokens that it computes, which cost the same wherever they stand, and the attention of those far
// behind in their sequences, which costs more the further they look back. 4,000 tokens behind 125,000 that a prefix cache
// holds take ten times as long as 4,000 at the beginning, and one token of a long context takes longer than one of a short one.
// Z-1 Each size has a pace of its own, and the larger budget counts. They are not added up to one size: how many positions
//     cost as much as a token differs more between models, prompts and decoding than a margin allows, so steps of much
//     attention would be the measure of steps of many tokens, or these of them. So no such ratio matters: of a * tokens +
//     b * attention one part is at least half, a class that knows has seen half of that part (its width), and a margin of
//     four covers both halves.
// Z-2 A step has attention only where it may matter. All others go by their tokens alone.
// Z-3 On a device one step is enough to know a class of attention, because its steps are regular: a long prompt is computed in
//     chunks that look back further and further, so most classes see few steps of it. What makes first steps slow, and their
//     number say, is how many tokens they have.
// Not thread-safe. Cost: a few instructions per sequence and step.
#pragma once

#include "runtime/base/step_pace.hpp"
#include "runtime/protocol/step.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace vdist::actors {

struct step_size {
  std::int64_t tokens = 0;
  std::int64_t attention =
      0; // of tokens far behind in their sequences, in attention_unit; 0: too little to matter

  /// At least as large as both.
  [[nodiscard]] friend step_size larger_of(const step_size& a, const step_size& b) {
    return {std::max(a.tokens, b.tokens), std::max(a.attention, b.attention)};
  }

  bool operator==(const step_size&) const = default;
};

/// Positions that a token looks back on, on average, before it counts as one that looks far: up to there the products of a
/// layer take longer than its attention, whatever the model.
inline constexpr std::int64_t context_short = 4096;

/// Pairs of a token and a position. In every layer a token's products are some 24 h^2 operations for h features, and a position
/// that it looks back on costs some 4 h of them: as much as a token are 6 h positions, some 5,000 for a small model and 50,000
/// for a large one, fewer where attention runs less well than products do. This is less than any: attention below the number
/// of tokens is less work than they are.
inline constexpr std::int64_t attention_unit = 1024;

/// A sequence's keys and values are read once, however few of its tokens look back on them. That takes as long as the arithmetic
/// of some 10 tokens where many heads share them, and of 80 where none do; so a sequence that decodes counts as this many.
inline constexpr std::int64_t tokens_per_read = 32;

/// Z-2. `plan` has been validated.
[[nodiscard]] step_size size_of(const protocol::step_plan& plan);

/// Z-1: step_pace.hpp for steps of two sizes.
class size_pace {
public:
  using milliseconds = step_pace::milliseconds;

  /// `attention_to_learn`: steps of a class of attention until it is known.
  size_pace(milliseconds floor,
            milliseconds at_first,
            const step_pace::memory& how,
            std::uint32_t attention_to_learn)
      : tokens_(floor, at_first, how),
        attention_(
            floor,
            at_first,
            {.margin = how.margin, .remembered = how.remembered, .to_learn = attention_to_learn}) {}

  [[nodiscard]] milliseconds budget(const step_size& size) const {
    const auto of_tokens = tokens_.budget(size.tokens);
    return size.attention > 0 ? std::max(of_tokens, attention_.budget(place_of(size))) : of_tokens;
  }

  /// See step_pace.
  [[nodiscard]] milliseconds
  budget(const step_size& size, const pace_words& left, int patience) const {
    const auto of_tokens = tokens_.budget(size.tokens, left, patience);
    return size.attention > 0
               ? std::max(of_tokens, attention_.budget(place_of(size), left, patience))
               : of_tokens;
  }

  [[nodiscard]] bool knows(const step_size& size) const {
    return tokens_.knows(size.tokens) && (size.attention == 0 || attention_.knows(place_of(size)));
  }

  void leave(const step_size& size, pace_words& to) const {
    tokens_.leave(size.tokens, to);
    if (size.attention > 0) {
      attention_.leave(place_of(size), to);
    }
  }

  void finished(const step_size& size, std::chrono::nanoseconds elapsed) {
    if (size.attention > 0 && !tokens_.ignores(size.tokens)) {
      attention_.finished(place_of(size), elapsed);
    }
    tokens_.finished(size.tokens, elapsed);
  }

private:
  static constexpr int attention_place = 32;

  /// Where attention stands in pace_words: above every number of tokens, so that both share them.
  static std::int64_t place_of(const step_size& size) {
    constexpr std::int64_t most = (std::int64_t{1} << (62 - attention_place)) - 1;
    return std::min(size.attention, most) << attention_place;
  }

  step_pace tokens_;
  step_pace attention_;
};

} // namespace vdist::actors
