// model/sampling/sampler.hpp — logits of one position → one token, for one sequence.
// Order of the steps: log probabilities of the untouched logits (what is reported) → logit_bias → suppressed ids below
// min_tokens → repetition, presence and frequency penalties → temperature → top_k → min_p → top_p → draw.
//
// S-1 The token is a function of (logits, sampling_record, tokens so far): no state, no order of calls, no batch.
// S-2 Candidates are ordered by (falling logit, rising id), so equal logits never depend on a sort's whim; greedy takes
//     the first of them.
// S-3 The draw uses one uniform number, philox(seed, generated tokens so far), and sums in double in candidate order.
// Repetition penalty looks at prompt and generated tokens, presence and frequency at the generated ones only.
// Cost: O(vocabulary); with top_p, a partial sort of the candidates that are needed. Allocates only at construction.
// Not thread-safe: one worker owns one.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vdist::sampling {

/// Everything about the sequence that the token may depend on. Borrowed for the call.
struct request_view {
  const protocol::sampling_record& record;
  std::span<const token_id> tokens; // prompt, then generated so far
  std::span<const token_id> bias_ids;
  std::span<const float> bias_values;
  std::span<const token_id> suppressed_ids;
};

/// The chosen token; logprob is NaN unless the record asks for log probabilities.
struct choice {
  token_id token = -1;
  float logprob = 0;
};

class sampler {
public:
  explicit sampler(std::int32_t vocabulary);

  /// `logits` [vocabulary] is overwritten. The top record.logprobs alternatives are appended to the
  /// two vectors, falling log probability, ties by smaller id. Ids outside the vocabulary are
  /// ignored.
  choice sample(std::span<float> logits,
                const request_view& request,
                std::vector<std::int32_t>& top_ids,
                std::vector<float>& top_logprobs);

private:
  struct candidate {
    float logit;
    token_id id;
  };

  /// S-2.
  static bool comes_before(const candidate& a, const candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }

  void report_top(std::int32_t count,
                  std::vector<std::int32_t>& top_ids,
                  std::vector<float>& top_logprobs);
  void apply_penalties(std::span<float> logits, const request_view& request);
  void fill_candidates(std::span<const float> logits);
  void sort_first(std::size_t count);
  token_id draw(std::span<const float> logits, const protocol::sampling_record& record, double u);
  std::size_t cut_top_p(std::size_t count, float top_p, double inverse_temperature);

  std::vector<float> untouched_;          // [vocabulary], the logits as they came; only while log
                                          // probabilities are asked for
  std::vector<candidate> candidates_;     // [vocabulary]
  std::size_t sorted_ = 0;                // candidates_[0, sorted_) are the first ones, in order
  std::vector<std::int32_t> occurrences_; // [vocabulary], zero between calls
};

} // namespace vdist::sampling
