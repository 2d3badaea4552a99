// tests/runtime/protocol/step_examples.hpp — plans and results whose contents follow from a number,
// and their comparison column by column. The golden files hold examples 0 to 4: do not change them.
// From example 4 on there are copies to and from the host store, too.
#pragma once

#include "runtime/protocol/step.hpp"

#include <cstdint>
#include <cstring>
#include <vector>

namespace vdist::testing {

/// A generator whose values are the same with every standard library.
class example_numbers {
public:
  explicit example_numbers(std::uint64_t seed) : state_(seed * 2 + 1) {}

  std::uint64_t next() {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return state_ >> 16U;
  }

  template <class T>
  void fill(std::vector<T>& column, std::size_t count) {
    column.resize(count);
    for (auto& value : column) {
      value = static_cast<T>(next() % 100000);
    }
  }

private:
  std::uint64_t state_;
};

inline protocol::sampling_record example_record(example_numbers& numbers) {
  protocol::sampling_record record;
  record.seed = numbers.next();
  record.temperature = 0.75F;
  record.top_p = 0.5F;
  record.top_k = static_cast<std::int32_t>(numbers.next() % 100);
  record.prompt_tokens = static_cast<std::int32_t>(numbers.next() % 1000);
  record.bias_count = 2;
  return record;
}

/// Form only: the columns have plausible lengths but do not pass validate().
inline protocol::step_plan example_plan(std::uint64_t n, std::size_t sequences) {
  example_numbers numbers(n);
  protocol::step_plan plan;
  plan.step = n * 1'000'003;
  plan.epoch = static_cast<std::uint32_t>(n);
  numbers.fill(plan.slots, sequences);
  numbers.fill(plan.request_ids, sequences);
  numbers.fill(plan.flags, sequences);
  numbers.fill(plan.first_position, sequences);
  numbers.fill(plan.token_counts, sequences);
  numbers.fill(plan.block_counts, sequences);
  numbers.fill(plan.new_blocks, sequences / 16);
  numbers.fill(plan.tokens, sequences + n * 10);
  numbers.fill(plan.retired_slots, n);
  for (std::uint64_t i = 0; i < n; ++i) {
    plan.sampling.push_back(example_record(numbers));
  }
  numbers.fill(plan.bias_ids, n * 2);
  numbers.fill(plan.bias_values, n * 2);
  numbers.fill(plan.suppressed_ids, n);
  for (std::uint64_t i = 4; i <= n; ++i) {
    plan.saves.push_back({static_cast<std::int32_t>(numbers.next() % 1000),
                          static_cast<std::int32_t>(numbers.next() % 1000)});
    plan.loads.push_back({static_cast<std::int32_t>(numbers.next() % 1000), 7});
  }
  return plan;
}

inline protocol::step_result example_result(std::uint64_t n, std::size_t sequences) {
  example_numbers numbers(n + 1000);
  protocol::step_result result;
  result.step = n * 1'000'003;
  result.epoch = static_cast<std::uint32_t>(n);
  result.rank = static_cast<std::int32_t>(n) - 1;
  result.status = static_cast<std::int16_t>(n);
  result.digest = numbers.next() << 20U;
  result.compute_us = static_cast<std::uint32_t>(n * 70000);
  numbers.fill(result.slots, sequences);
  numbers.fill(result.tokens, sequences);
  numbers.fill(result.logprobs, sequences);
  numbers.fill(result.top_counts, sequences);
  numbers.fill(result.top_ids, n * 3);
  numbers.fill(result.top_logprobs, n * 3);
  result.message.assign(n * 20, 'x');
  result.saved_step = n < 4 ? 0 : result.step - 1;
  return result;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size()
         && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

inline bool same(const protocol::step_plan& a, const protocol::step_plan& b) {
  return a.step == b.step && a.epoch == b.epoch && same_bytes(a.slots, b.slots)
         && same_bytes(a.request_ids, b.request_ids) && same_bytes(a.flags, b.flags)
         && same_bytes(a.first_position, b.first_position)
         && same_bytes(a.token_counts, b.token_counts) && same_bytes(a.block_counts, b.block_counts)
         && same_bytes(a.new_blocks, b.new_blocks) && same_bytes(a.tokens, b.tokens)
         && same_bytes(a.retired_slots, b.retired_slots) && same_bytes(a.sampling, b.sampling)
         && same_bytes(a.bias_ids, b.bias_ids) && same_bytes(a.bias_values, b.bias_values)
         && same_bytes(a.suppressed_ids, b.suppressed_ids) && a.saves == b.saves
         && a.loads == b.loads;
}

inline bool same(const protocol::step_result& a, const protocol::step_result& b) {
  return a.step == b.step && a.epoch == b.epoch && a.rank == b.rank && a.status == b.status
         && a.digest == b.digest && a.compute_us == b.compute_us && same_bytes(a.slots, b.slots)
         && same_bytes(a.tokens, b.tokens) && same_bytes(a.logprobs, b.logprobs)
         && same_bytes(a.top_counts, b.top_counts) && same_bytes(a.top_ids, b.top_ids)
         && same_bytes(a.top_logprobs, b.top_logprobs) && a.message == b.message
         && a.saved_step == b.saved_step;
}

} // namespace vdist::testing
