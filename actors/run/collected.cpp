#include "actors/run/collected.hpp"

#include <iterator>
#include <utility>

namespace vdist::actors {

namespace {

double in_ms(duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

} // namespace

collected_sequence::collected_sequence(sequence_facts facts) : facts_(std::move(facts)) {
  result_.id = facts_.id;
  result_.prompt_tokens = facts_.prompt_tokens;
  result_.index = facts_.index;
  result_.reason = protocol::finish_reason::none;
  if (facts_.wants_logprobs) {
    result_.logprobs.emplace();
  }
}

void collected_sequence::add(text_chunk chunk) {
  result_.text += chunk.text;
  result_.token_ids.insert(result_.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
  if (result_.logprobs) {
    std::move(chunk.logprobs.begin(), chunk.logprobs.end(), std::back_inserter(*result_.logprobs));
  }
  if (chunk.reason != protocol::finish_reason::none) {
    result_.reason = chunk.reason;
    message_ = std::move(chunk.message);
  }
}

std::string collected_sequence::to_line(const token_times& times) {
  if (result_.reason == protocol::finish_reason::failed) {
    return api::error_line(facts_.id, fail(errc::internal, message_), facts_.index);
  }
  if (times.first) {
    const auto later_tokens = result_.token_ids.size() - 1;
    result_.times.ttft_ms = in_ms(*times.first - facts_.submitted);
    result_.times.total_ms = in_ms(*times.last - facts_.submitted);
    result_.times.tpot_ms =
        later_tokens == 0 ? 0
                          : in_ms(*times.last - *times.first) / static_cast<double>(later_tokens);
  }
  return api::to_line(result_);
}

} // namespace vdist::actors
