#include "tests/sim/schedule.hpp"

#include "transport/frame/tamper.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::testing {

namespace {

using std::chrono::microseconds;
using kind = sim_event::kind;

constexpr std::array<std::string_view, sim_event_kinds> names{
    "submit",         "cancel",           "poison",           "worker_dies",       "worker_killed",
    "worker_stops",   "worker_slow",      "load_fails",       "peer_late",         "digest_differs",
    "result_fails",   "executor_killed",  "executor_crashes", "lane_stalls",       "actor_stalls",
    "stage_killed",   "router_killed",    "scheduler_killed", "supervisor_killed", "node_killed",
    "plans_tampered", "results_tampered", "delayed",          "partitioned",       "past_returns",
};

static_assert(static_cast<std::size_t>(kind::past_returns) + 1 == sim_event_kinds);

/// A fault and how often it is drawn.
struct weighted_fault {
  kind what;
  int weight;
};

constexpr std::array faults{
    weighted_fault{kind::worker_dies, 20},      weighted_fault{kind::worker_killed, 10},
    weighted_fault{kind::worker_stops, 5},      weighted_fault{kind::worker_slow, 4},
    weighted_fault{kind::load_fails, 5},        weighted_fault{kind::peer_late, 5},
    weighted_fault{kind::digest_differs, 4},    weighted_fault{kind::result_fails, 4},
    weighted_fault{kind::executor_killed, 8},   weighted_fault{kind::executor_crashes, 5},
    weighted_fault{kind::lane_stalls, 12},      weighted_fault{kind::actor_stalls, 20},
    weighted_fault{kind::stage_killed, 6},      weighted_fault{kind::router_killed, 6},
    weighted_fault{kind::scheduler_killed, 6},  weighted_fault{kind::supervisor_killed, 6},
    weighted_fault{kind::node_killed, 5},       weighted_fault{kind::plans_tampered, 10},
    weighted_fault{kind::results_tampered, 10}, weighted_fault{kind::delayed, 6},
    weighted_fault{kind::partitioned, 4},       weighted_fault{kind::past_returns, 12},
};

kind draw_fault(dice& chance) {
  int sum = 0;
  for (const auto& each : faults) {
    sum += each.weight;
  }
  auto left = chance.between(0, sum - 1);
  for (const auto& each : faults) {
    if (left < each.weight) {
      return each.what;
    }
    left -= each.weight;
  }
  return kind::worker_dies;
}

bool is_of_control(kind what) {
  return what >= kind::executor_killed && what <= kind::supervisor_killed;
}

std::uint64_t draw_argument(kind what, dice& chance) {
  switch (what) {
  case kind::worker_stops:
    return static_cast<std::uint64_t>(chance.percent(50) ? chance.between(1, 900)
                                                         : chance.between(1000, 12000));
  case kind::lane_stalls:
  case kind::actor_stalls:
    return static_cast<std::uint64_t>(chance.percent(90) ? chance.between(20, 8000)
                                                         : chance.between(8000, 400'000));
  case kind::worker_slow:
    return static_cast<std::uint64_t>(chance.between(2, 10));
  case kind::plans_tampered:
  case kind::results_tampered:
    return static_cast<std::uint64_t>(
        chance.between(static_cast<std::int32_t>(frame::tampering::drop),
                       static_cast<std::int32_t>(frame::tampering::full)));
  case kind::delayed:
    return static_cast<std::uint64_t>(chance.percent(70) ? chance.between(1, 200)
                                                         : chance.between(1000, 5000));
  case kind::partitioned:
    return static_cast<std::uint64_t>(chance.percent(70) ? chance.between(1, 500)
                                                         : chance.between(1000, 8000));
  default:
    return chance.next();
  }
}

sched::scheduler_config draw_limits(std::int32_t stages, dice& chance) {
  sched::scheduler_config limits;
  const auto overlap = sched::overlap_of(stages, chance.percent(60));
  limits.max_batch_tokens = chance.between(4, 48);
  limits.max_sequences = chance.between(1, 6);
  limits.max_waiting = 4096;
  limits.max_model_len = 40;
  limits.max_prefill_chunk = chance.percent(50) ? 0 : chance.between(2, 12);
  limits.max_steps_in_flight = overlap.steps_in_flight;
  limits.feeds_tokens = overlap.feeds_tokens;
  limits.block_size = chance.between(1, 4) * 2;
  limits.blocks =
      (limits.max_model_len + limits.block_size - 1) / limits.block_size + chance.between(0, 24);
  limits.watermark_blocks = 0;
  limits.vocabulary = 13;
  limits.prefix_cache = chance.percent(75);
  limits.policy =
      chance.percent(50) ? sched::admission_policy::fcfs : sched::admission_policy::priority;
  limits.promote_every = 4;
  return limits;
}

supervisor::recovery_config draw_recovery(std::int32_t slots, dice& chance) {
  using namespace std::chrono_literals;
  return {.slots = slots,
          .quiesce_deadline = 3s,
          .load_deadline = 10s,
          .gone_deadline = 15s,
          .max_restarts = chance.between(3, 8),
          .restart_window = 60s,
          .restart_backoff = chance.percent(50) ? 0ms : 20ms,
          .restart_backoff_max = 1s};
}

/// That end no step, or end it for nobody's fault.
void draw_harmless_faults(sim_schedule& out, duration span, dice& chance) {
  constexpr std::array harmless{kind::lane_stalls,
                                kind::actor_stalls,
                                kind::peer_late,
                                kind::router_killed,
                                kind::scheduler_killed,
                                kind::supervisor_killed,
                                kind::past_returns,
                                kind::load_fails};
  const auto span_us = static_cast<std::int32_t>(span.count() / 1000);
  for (auto left = chance.between(0, 3); left > 0; --left) {
    const auto what = harmless[chance.below(harmless.size())];
    out.events.push_back({.what = what,
                          .at = chance.microseconds(0, span_us),
                          .replica = chance.between(0, out.replicas - 1),
                          .slot = chance.between(0, out.recovery.slots - 1),
                          .argument = draw_argument(what, chance)});
  }
}

void sort_events(sim_schedule& out) {
  std::stable_sort(out.events.begin(), out.events.end(), [](const auto& a, const auto& b) {
    return a.at < b.at;
  });
}

void draw_topology(sim_schedule& out, dice& chance) {
  out.replicas = chance.percent(70) ? 1 : 2;
  const auto stages = chance.percent(65) ? 1 : chance.between(2, 3);
  const auto tensor = chance.between(1, stages == 1 ? 3 : 2);
  for (std::int32_t stage = 0; stage < stages; ++stage) {
    out.stage_of_slot.insert(out.stage_of_slot.end(), static_cast<std::size_t>(tensor), stage);
  }
  out.sampling_slot = (stages - 1) * tensor;
  out.scheduler = draw_limits(stages, chance);
  out.recovery = draw_recovery(stages * tensor, chance);
}

void draw_workload(sim_schedule& out, duration span, dice& chance) {
  const auto requests = chance.between(1, 10);
  for (std::int32_t i = 0; i < requests; ++i) {
    const auto at = microseconds(chance.between(0, static_cast<std::int32_t>(span.count() / 1000)));
    out.events.push_back({.what = kind::submit, .at = at, .argument = chance.next()});
    if (chance.percent(15)) {
      out.events.push_back({.what = kind::cancel,
                            .at = at + chance.microseconds(0, 20000),
                            .argument = static_cast<std::uint64_t>(i)});
    }
  }
}

/// Faults come in bursts: what breaks a recovery is a fault in the middle of another one. Some are of control actors alone,
/// which lose each other's messages.
void draw_faults(sim_schedule& out, duration span, dice& chance) {
  const auto bursts = chance.between(0, 3);
  const auto slots = static_cast<std::int32_t>(out.stage_of_slot.size());
  for (std::int32_t burst = 0; burst < bursts; ++burst) {
    duration at = microseconds(chance.between(0, static_cast<std::int32_t>(span.count() / 1000)));
    const auto replica = chance.between(0, out.replicas - 1);
    const bool is_control_alone = chance.percent(30);
    for (auto left = chance.between(1, 6); left > 0; --left) {
      auto what = draw_fault(chance);
      while (is_control_alone && !is_of_control(what)) {
        what = draw_fault(chance);
      }
      out.events.push_back(
          {.what = what,
           .at = at,
           .replica = chance.percent(80) ? replica : chance.between(0, out.replicas - 1),
           .slot = chance.between(0, slots - 1),
           .argument = draw_argument(what, chance)});
      at += chance.percent(80) ? chance.microseconds(0, 3000) : chance.microseconds(0, 4'000'000);
    }
  }
}

} // namespace

std::string_view to_string(sim_event::kind what) noexcept {
  return names[static_cast<std::size_t>(what)];
}

std::string to_string(const sim_event& event) {
  return fmt::format("at_us={} {} replica={} slot={} argument={}",
                     std::chrono::duration_cast<microseconds>(event.at).count(),
                     to_string(event.what),
                     event.replica,
                     event.slot,
                     event.argument);
}

sim_schedule make_schedule(std::uint64_t seed) {
  dice chance(seed);
  sim_schedule out;
  out.seed = seed;
  draw_topology(out, chance);
  const duration span = chance.microseconds(2000, 30000);
  draw_workload(out, span, chance);
  draw_faults(out, span, chance);
  sort_events(out);
  return out;
}

sim_schedule make_poison_schedule(std::uint64_t seed) {
  dice chance(seed);
  sim_schedule out;
  out.seed = seed;
  draw_topology(out, chance);
  out.poison_strikes = chance.between(2, 3);
  out.recovery.poison_strikes = out.poison_strikes;
  const duration span = chance.microseconds(2000, 30000);
  draw_workload(out, span, chance);
  const auto clients = std::count_if(out.events.begin(), out.events.end(), [](const auto& event) {
    return event.what == kind::submit;
  });
  for (auto left = chance.between(1, out.recovery.culprits_in_a_row_max); left > 0; --left) {
    out.events.push_back(
        {.what = kind::poison,
         .at = chance.percent(50) ? duration::zero() : chance.microseconds(0, 20000),
         .argument = chance.below(static_cast<std::size_t>(clients))});
  }
  draw_harmless_faults(out, span, chance);
  out.recovery.max_restarts =
      std::max<std::int32_t>(out.poison_strikes,
                             static_cast<std::int32_t>(std::count_if(
                                 out.events.begin(), out.events.end(), [](const auto& event) {
                                   return event.what == kind::load_fails;
                                 })));
  sort_events(out);
  return out;
}

protocol::request make_sim_request(std::uint64_t seed,
                                   std::uint64_t client_key,
                                   const sched::scheduler_config& limits) {
  dice chance(seed);
  protocol::request request;
  request.client_key = client_key;
  request.priority = chance.between(0, 2);
  const auto length = chance.between(1, 20);
  const bool is_common = chance.percent(50); // prompts that share their beginning
  for (std::int32_t i = 0; i < length; ++i) {
    request.prompt.push_back(is_common && i < 10 ? i % limits.vocabulary
                                                 : chance.between(0, limits.vocabulary - 1));
  }
  request.max_tokens = chance.between(1, 16);
  request.ignore_eos = chance.percent(30);
  if (chance.percent(50)) {
    request.eos_ids.push_back(chance.between(0, limits.vocabulary - 1));
  }
  if (chance.percent(20)) {
    request.stop_token_ids.push_back(chance.between(0, limits.vocabulary - 1));
  }
  if (chance.percent(20)) {
    request.logit_bias.emplace_back(chance.between(0, limits.vocabulary - 1), 1.0F);
  }
  request.sampling.seed = chance.next();
  request.sampling.min_tokens = chance.percent(25) ? chance.between(0, 3) : 0;
  request.sampling.min_tokens = std::min(request.sampling.min_tokens, request.max_tokens);
  request.sampling.logprobs = chance.percent(40) ? chance.between(0, 2) : -1;
  return request;
}

sim_schedule
shrink(sim_schedule broken, const std::function<bool(const sim_schedule&)>& is_broken, int tries) {
  auto piece = std::max<std::size_t>(1, broken.events.size() / 2);
  while (tries > 0) {
    bool is_shorter = false;
    for (std::size_t from = 0; from < broken.events.size() && tries > 0; --tries) {
      auto candidate = broken;
      const auto begin = candidate.events.begin() + static_cast<std::ptrdiff_t>(from);
      const auto count = std::min(piece, candidate.events.size() - from);
      candidate.events.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
      if (is_broken(candidate)) {
        broken = std::move(candidate);
        is_shorter = true;
      } else {
        from += count;
      }
    }
    if (piece == 1 && !is_shorter) {
      break;
    }
    piece = std::max<std::size_t>(1, piece / 2);
  }
  return broken;
}

std::string describe(const sim_schedule& schedule) {
  const auto& limits = schedule.scheduler;
  auto text = fmt::format(
      "seed={} replicas={} stages={} slots={} steps_in_flight={} feeds={} batch={} sequences={} "
      "blocks={} block_size={} chunk={} max_restarts={}\n",
      schedule.seed,
      schedule.replicas,
      schedule.stage_of_slot.back() + 1,
      schedule.stage_of_slot.size(),
      limits.max_steps_in_flight,
      limits.feeds_tokens,
      limits.max_batch_tokens,
      limits.max_sequences,
      limits.blocks,
      limits.block_size,
      limits.max_prefill_chunk,
      schedule.recovery.max_restarts);
  for (const auto& event : schedule.events) {
    text += "  " + to_string(event) + "\n";
  }
  return text;
}

} // namespace vdist::testing
