#include "model/sampling/sampler.hpp"

#include "model/sampling/philox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vdist::sampling {

namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
/// How many candidates a top_p search sorts at first; it grows by 8 until the mass is reached.
constexpr std::size_t top_p_first_sort = 64;

std::int64_t generated_tokens(const request_view& request) {
  return static_cast<std::int64_t>(request.tokens.size()) - request.record.prompt_tokens;
}

bool is_in(token_id id, std::size_t vocabulary) {
  return id >= 0 && static_cast<std::size_t>(id) < vocabulary;
}

/// log(sum(exp(logits))), in double, in order of the ids.
double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - largest);
  }
  return largest + std::log(sum);
}

void apply_bias(std::span<float> logits, const request_view& request) {
  for (std::size_t i = 0; i < request.bias_ids.size(); ++i) {
    if (is_in(request.bias_ids[i], logits.size())) {
      logits[static_cast<std::size_t>(request.bias_ids[i])] += request.bias_values[i];
    }
  }
  if (generated_tokens(request) < request.record.min_tokens) {
    for (const auto id : request.suppressed_ids) {
      if (is_in(id, logits.size())) {
        logits[static_cast<std::size_t>(id)] = minus_infinity;
      }
    }
  }
}

} // namespace

sampler::sampler(std::int32_t vocabulary)
    : untouched_(static_cast<std::size_t>(vocabulary)),
      candidates_(static_cast<std::size_t>(vocabulary)),
      occurrences_(static_cast<std::size_t>(vocabulary)) {}

choice sampler::sample(std::span<float> logits,
                       const request_view& request,
                       std::vector<std::int32_t>& top_ids,
                       std::vector<float>& top_logprobs) {
  const auto& record = request.record;
  const bool wants_logprobs = record.logprobs >= 0;
  if (wants_logprobs) {
    const double normaliser = log_sum_exp(logits);
    std::transform(logits.begin(), logits.end(), untouched_.begin(), [normaliser](float logit) {
      return static_cast<float>(static_cast<double>(logit) - normaliser);
    });
    report_top(record.logprobs, top_ids, top_logprobs);
  }
  apply_bias(logits, request);
  apply_penalties(logits, request);
  token_id token =
      static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (record.temperature > 0) {
    token = draw(logits,
                 record,
                 uniform(record.seed, static_cast<std::uint64_t>(generated_tokens(request))));
  }
  const float logprob = wants_logprobs ? untouched_[static_cast<std::size_t>(token)]
                                       : std::numeric_limits<float>::quiet_NaN();
  return {token, logprob};
}

void sampler::report_top(std::int32_t count,
                         std::vector<std::int32_t>& top_ids,
                         std::vector<float>& top_logprobs) {
  fill_candidates(untouched_);
  const auto wanted = std::min(static_cast<std::size_t>(std::max(count, 0)), candidates_.size());
  sort_first(wanted);
  for (std::size_t i = 0; i < wanted; ++i) {
    top_ids.push_back(candidates_[i].id);
    top_logprobs.push_back(candidates_[i].logit);
  }
}

/// Repetition penalty: Keskar et al. 2019 (CTRL). Presence and frequency: as the OpenAI API defines
/// them.
void sampler::apply_penalties(std::span<float> logits, const request_view& request) {
  const auto& record = request.record;
  const bool is_plain = record.repetition_penalty == 1 && record.presence_penalty == 0
                        && record.frequency_penalty == 0;
  if (is_plain) {
    return;
  }
  const auto prompt = static_cast<std::size_t>(std::max(record.prompt_tokens, 0));
  const auto each_once = [this, &logits](std::span<const token_id> ids, auto&& apply) {
    for (const auto id : ids) {
      if (is_in(id, logits.size())) {
        ++occurrences_[static_cast<std::size_t>(id)];
      }
    }
    for (const auto id : ids) {
      if (is_in(id, logits.size()) && occurrences_[static_cast<std::size_t>(id)] > 0) {
        apply(logits[static_cast<std::size_t>(id)], occurrences_[static_cast<std::size_t>(id)]);
        occurrences_[static_cast<std::size_t>(id)] = 0;
      }
    }
  };
  each_once(request.tokens, [&record](float& logit, std::int32_t) {
    logit = logit > 0 ? logit / record.repetition_penalty : logit * record.repetition_penalty;
  });
  each_once(request.tokens.subspan(std::min(prompt, request.tokens.size())),
            [&record](float& logit, std::int32_t n) {
              logit -= record.frequency_penalty * static_cast<float>(n) + record.presence_penalty;
            });
}

void sampler::fill_candidates(std::span<const float> logits) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates_[i] = {logits[i], static_cast<token_id>(i)};
  }
  sorted_ = 0;
}

/// Brings the first `count` candidates to the front, in order. Grows what is sorted already.
void sampler::sort_first(std::size_t count) {
  if (count <= sorted_) {
    return;
  }
  const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  const auto middle = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
  if (middle != candidates_.end()) {
    std::nth_element(begin, middle, candidates_.end(), comes_before);
  }
  std::sort(begin, middle, comes_before);
  sorted_ = count;
}

/// The smallest number of first candidates, at most `count`, whose mass among the first `count`
/// reaches top_p.
std::size_t sampler::cut_top_p(std::size_t count, float top_p, double inverse_temperature) {
  const double largest = candidates_[0].logit;
  const auto mass = [largest, inverse_temperature](const candidate& c) {
    return std::exp((static_cast<double>(c.logit) - largest) * inverse_temperature);
  };
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    total += mass(candidates_[i]);
  }
  double reached = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i == sorted_) {
      sort_first(std::min(count, std::max(top_p_first_sort, sorted_ * 8)));
    }
    reached += mass(candidates_[i]);
    if (reached >= static_cast<double>(top_p) * total) {
      return i + 1;
    }
  }
  return count;
}

token_id
sampler::draw(std::span<const float> logits, const protocol::sampling_record& record, double u) {
  const double inverse_temperature = 1.0 / static_cast<double>(record.temperature);
  fill_candidates(logits);
  auto count = candidates_.size();
  if (record.top_k > 0 && static_cast<std::size_t>(record.top_k) < count) {
    count = static_cast<std::size_t>(record.top_k);
    sort_first(count);
  }
  const bool is_cut_by_mass = record.min_p > 0 || record.top_p < 1;
  if (is_cut_by_mass) {
    sort_first(std::min(count, top_p_first_sort));
  }
  const float largest = is_cut_by_mass || sorted_ > 0
                            ? candidates_[0].logit
                            : *std::max_element(logits.begin(), logits.end());
  if (record.min_p > 0) {
    const double floor = static_cast<double>(largest)
                         + std::log(static_cast<double>(record.min_p)) / inverse_temperature;
    sort_first(count); // min_p keeps a prefix of the order; the sort finds where it ends
    const auto end = std::partition_point(
        candidates_.begin(),
        candidates_.begin() + static_cast<std::ptrdiff_t>(count),
        [floor](const candidate& c) { return static_cast<double>(c.logit) >= floor; });
    count = std::max<std::size_t>(1, static_cast<std::size_t>(end - candidates_.begin()));
  }
  if (record.top_p < 1) {
    count = cut_top_p(count, record.top_p, inverse_temperature);
  }
  const auto mass = [largest, inverse_temperature](const candidate& c) {
    return std::exp((static_cast<double>(c.logit) - static_cast<double>(largest))
                    * inverse_temperature);
  };
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    total += mass(candidates_[i]);
  }
  double left = u * total;
  for (std::size_t i = 0; i < count; ++i) {
    left -= mass(candidates_[i]);
    if (left < 0) {
      return candidates_[i].id;
    }
  }
  // u * total rounded up to the whole mass: the last candidate that has any.
  for (std::size_t i = count; i-- > 1;) {
    if (mass(candidates_[i]) > 0) {
      return candidates_[i].id;
    }
  }
  return candidates_[0].id;
}

} // namespace vdist::sampling
