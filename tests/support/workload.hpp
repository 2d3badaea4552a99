// tests/support/workload.hpp — requests that use every way of choosing and ending tokens.
#pragma once

#include "actors/system/engine.hpp"

#include <string>
#include <vector>

namespace vdist::testing {

using actors::generate_request;

inline generate_request request_of(std::string prompt, std::int32_t max_tokens) {
  generate_request request{.prompt = std::move(prompt)};
  request.params.max_tokens = max_tokens;
  request.params.temperature = 0;
  return request;
}

inline generate_request
sampled_request(std::string prompt, std::int32_t max_tokens, std::uint64_t seed) {
  auto request = request_of(std::move(prompt), max_tokens);
  request.params.temperature = 0.9F;
  request.params.seed = seed;
  return request;
}

/// About 60 tokens of the demo model.
inline const char* long_prompt() {
  return "Once upon a time there was a little old woman who lived in a small house near the wood. "
         "She had a cat and "
         "a dog and a red hen, and every morning she went out to look for eggs. One day the hen "
         "said to her,";
}

inline std::vector<generate_request> greedy_requests() {
  std::vector<generate_request> all{request_of("Once upon a time", 18),
                                    request_of("The little rabbit", 12),
                                    request_of(long_prompt(), 10)};
  auto biased = request_of("The king", 10); // the likeliest words are forbidden, others favoured
  biased.params.logit_bias = {{264, -100.0F}, {308, 3.0F}};
  biased.params.logprobs = 3;
  all.push_back(biased);
  auto stopped = request_of("There was once a", 24);
  stopped.params.stop = {" and", "."};
  all.push_back(stopped);
  auto with_stop = stopped;
  with_stop.params.include_stop_str_in_output = true;
  all.push_back(with_stop);
  auto by_id = request_of("There was once a", 24); // "," ends it, but not at once
  by_id.params.stop_token_ids = {13};
  by_id.params.min_tokens = 9;
  all.push_back(by_id);
  return all;
}

inline std::vector<generate_request> sampled_requests() {
  std::vector<generate_request> all{sampled_request("Once upon a time", 16, 7),
                                    sampled_request(long_prompt(), 8, 8)};
  all[0].params.repetition_penalty = 1.15F;
  all[0].params.top_p = 0.9F;
  all[1].params.logprobs = 2;
  auto penalised = sampled_request("The dog said to the cat", 14, 11);
  penalised.params.top_k = 20;
  penalised.params.presence_penalty = 0.5F;
  penalised.params.frequency_penalty = 0.3F;
  all.push_back(penalised);
  auto twins = sampled_request("A fox met a crow", 10, 3);
  twins.params.n = 2;
  twins.params.min_p = 0.05F;
  twins.params.temperature = 1.3F;
  all.push_back(twins);
  auto endless = sampled_request("The end", 12, 5);
  endless.params.ignore_eos = true;
  endless.params.logprobs = 0;
  all.push_back(endless);
  return all;
}

inline std::vector<generate_request> all_requests() {
  auto all = greedy_requests();
  for (auto& request : sampled_requests()) {
    all.push_back(request);
  }
  return all;
}

} // namespace vdist::testing
