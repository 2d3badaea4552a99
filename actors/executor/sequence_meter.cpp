#include "actors/executor/sequence_meter.hpp"

namespace vdist::actors {

namespace {

constexpr time_point not_yet{};

} // namespace

void sequence_meter::queued(request_id id, time_point now) {
  if (into_ != nullptr) {
    live_.emplace(id, sequence_times{.queued = now});
  }
}

/// A sequence is new in a plan also behind a preemption or in a new epoch: the first time counts.
void sequence_meter::planned(const protocol::step_plan& plan, time_point now) {
  if (into_ == nullptr) {
    return;
  }
  into_->iteration_tokens.observe(static_cast<std::uint64_t>(plan.computed_tokens()));
  for (std::size_t i = 0; i < plan.sequences(); ++i) {
    if ((plan.flags[i] & protocol::flag_new) == 0) {
      continue;
    }
    const auto found = live_.find(request_id(plan.request_ids[i]));
    if (found != live_.end() && found->second.planned == not_yet) {
      found->second.planned = now;
      into_->queue_time.observe(now - found->second.queued);
    }
  }
}

void sequence_meter::committed(const token_events& events, time_point now) {
  if (into_ == nullptr) {
    return;
  }
  for (const auto& event : events) {
    const bool is_first = event.position == 0 && event.token >= 0;
    const bool is_end = event.reason != protocol::finish_reason::none;
    if (!is_first && !is_end) {
      continue;
    }
    const auto found = live_.find(event.id);
    if (found == live_.end()) {
      continue;
    }
    auto& times = found->second;
    if (is_first) {
      times.first = now;
      into_->prefill_time.observe(now - times.planned);
    }
    if (is_end && times.first != not_yet) {
      into_->decode_time.observe(now - times.first);
      into_->inference_time.observe(now - times.planned);
    }
    if (is_end) {
      live_.erase(found);
    }
  }
}

void sequence_meter::note(const sched::scheduler_stats& stats) {
  if (into_ == nullptr) {
    return;
  }
  metrics::count(into_->prefix_queries, stats.prefix_tokens - seen_.prefix_tokens);
  metrics::count(into_->prefix_hits, stats.prefix_hits - seen_.prefix_hits);
  metrics::count(into_->preemptions, stats.preemptions - seen_.preemptions);
  metrics::count(into_->surplus_tokens, stats.tokens_dropped - seen_.tokens_dropped);
  seen_ = stats;
}

} // namespace vdist::actors
