#include "runtime/sched/sequence.hpp"

#include <algorithm>

namespace vdist::sched {

namespace {

std::vector<token_id> merged_stop_ids(const protocol::request& request, std::int32_t vocabulary) {
  std::vector<token_id> ids = request.stop_token_ids;
  if (!request.ignore_eos) {
    ids.insert(ids.end(), request.eos_ids.begin(), request.eos_ids.end());
  }
  std::erase_if(
      ids, [vocabulary](token_id id) { return id < 0 || (vocabulary > 0 && id >= vocabulary); });
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

} // namespace

protocol::finish_reason sequence::stop_reason() const {
  if (generated() > min_tokens
      && std::binary_search(stop_ids.begin(), stop_ids.end(), tokens.back())) {
    return protocol::finish_reason::stop;
  }
  return known() >= tokens_max ? protocol::finish_reason::length : protocol::finish_reason::none;
}

void sequence::rewind() {
  steps_in_flight = 0;
  planned = computed + loading;
  samples_ahead = 0;
}

sequence make_sequence(protocol::request request,
                       admission_policy policy,
                       std::int32_t max_model_len,
                       std::int32_t vocabulary) {
  sequence made;
  made.id = request.id;
  made.key.priority = policy == admission_policy::priority ? request.priority : 0;
  made.key.arrival = request.arrival;
  made.key.id = request.id.value;
  made.prompt_tokens = static_cast<std::int32_t>(request.prompt.size());
  made.tokens_max = static_cast<std::int32_t>(
      std::min<std::int64_t>(std::int64_t{made.prompt_tokens} + request.max_tokens, max_model_len));
  made.min_tokens = request.sampling.min_tokens;
  made.stop_ids = merged_stop_ids(request, vocabulary);
  made.sampling = request.sampling;
  made.sampling.prompt_tokens = made.prompt_tokens;
  made.sampling.bias_count = static_cast<std::int32_t>(request.logit_bias.size());
  made.sampling.suppressed_count =
      made.min_tokens > 0 ? static_cast<std::int32_t>(made.stop_ids.size()) : 0;
  made.logit_bias = std::move(request.logit_bias);
  made.tokens = std::move(request.prompt);
  made.tokens.insert(made.tokens.end(), request.generated.begin(), request.generated.end());
  return made;
}

} // namespace vdist::sched
