#include "actors/router/request_meter.hpp"

#include <chrono>

namespace vdist::actors {

namespace {

using metrics::finished_reason;
using metrics::refused_reason;
using protocol::finish_reason;

constexpr time_point unknown{};

/// A stop string is seen by whoever reads the text: for the router it is a cancel.
finished_reason reason_of(finish_reason reason, const token_sink* sink) {
  switch (reason) {
  case finish_reason::stop:
    return finished_reason::stop;
  case finish_reason::length:
    return finished_reason::length;
  case finish_reason::cancelled:
    return sink != nullptr && sink->is_satisfied() ? finished_reason::stop
                                                   : finished_reason::aborted;
  case finish_reason::none:
  case finish_reason::failed:
    break;
  }
  return finished_reason::failed;
}

refused_reason reason_of(errc why) {
  switch (why) {
  case errc::queue_full:
    return refused_reason::queue_full;
  case errc::closed:
    return refused_reason::closed;
  case errc::invalid_argument:
    return refused_reason::conflict;
  default:
    return refused_reason::no_room;
  }
}

} // namespace

void request_meter::entered(std::int32_t replica, time_point accepted, time_point now) {
  auto& into = of(replica);
  metrics::count(into.accepted, accepted >= since_ ? 1 : 0);
  if (into.active.fetch_add(1, std::memory_order_relaxed) == 0) {
    into.active_since_ns = std::chrono::nanoseconds(now.time_since_epoch()).count();
  }
}

void request_meter::moved(std::int32_t from, std::int32_t to, time_point now) {
  of(from).active.fetch_sub(1, std::memory_order_relaxed);
  entered(to, unknown, now);
}

void request_meter::refused(errc why) {
  metrics::count(refusals_[static_cast<std::size_t>(reason_of(why))]);
}

void request_meter::delivered(request_times& times,
                              const protocol::request& request,
                              std::int32_t replica,
                              const protocol::token_event& event,
                              const token_sink* sink,
                              time_point now) {
  auto& into = of(replica);
  if (event.token >= 0 && event.position >= times.counted) { // T-1
    count_token(times, request, into, now);
  }
  if (event.reason != finish_reason::none) {
    into.active.fetch_sub(1, std::memory_order_relaxed);
    count_end(times, request, reason_of(event.reason, sink), into, now);
  }
}

void request_meter::count_token(request_times& times,
                                const protocol::request& request,
                                metrics::request_metrics& into,
                                time_point now) {
  if (times.counted++ == 0) {
    metrics::count(into.prompt_tokens, request.prompt.size());
    times.first = now;
    if (times.accepted != unknown) {
      into.time_to_first_token.observe(now - times.accepted);
    }
  } else if (times.last != unknown) {
    into.inter_token_latency.observe(now - times.last);
  }
  times.last = now;
  metrics::count(into.generation_tokens);
}

/// The mean gap is between tokens that came here; of the others nobody knows.
void request_meter::count_end(const request_times& times,
                              const protocol::request& request,
                              finished_reason reason,
                              metrics::request_metrics& into,
                              time_point now) {
  metrics::count(into.finished_for(reason));
  into.prompt_tokens_of_request.observe(request.prompt.size());
  into.generation_tokens_of_request.observe(static_cast<std::uint64_t>(times.counted));
  if (times.accepted != unknown) {
    into.e2e_latency.observe(now - times.accepted);
  }
  if (times.first != unknown && times.counted > 1) {
    into.time_per_output_token.observe((times.last - times.first) / (times.counted - 1));
  }
}

} // namespace vdist::actors
