#include "runtime/metrics/engine_sample.hpp"

#include <utility>

namespace vdist::metrics {

namespace {

/// Where a replica's part of the page comes from; never null.
struct replica_source {
  const replica_sample& of;
  const request_metrics& requests;
  const recovery_metrics& recoveries;
  const step_times& times;
  labels where; // model_name, engine

  [[nodiscard]] labels with(std::string name, std::string_view value) const {
    auto all = where;
    all.push_back({std::move(name), std::string(value)});
    return all;
  }
};

double seconds_of(const std::atomic<std::uint64_t>& nanoseconds) {
  return static_cast<double>(read(nanoseconds)) / 1e9;
}

double share_of(std::int32_t part, std::int32_t whole) {
  return whole > 0 ? static_cast<double>(part) / whole : 0;
}

void describe_scheduler(const replica_source& from, exposition& page) {
  const auto& of = from.of;
  page.gauge(
      {"vllm:num_requests_running", "Requests in the running batch."}, from.where, of.running);
  page.gauge({"vllm:num_requests_waiting", "Requests that wait to be let into the batch."},
             from.where,
             of.waiting);
  page.gauge({"vllm:kv_cache_usage_perc", "Share of the KV blocks that requests hold; 1 is all."},
             from.where,
             share_of(of.kv_owned, of.kv_total));
  constexpr family_name blocks{"vdist:kv_blocks", "KV blocks by what they hold; all is the total."};
  page.gauge(blocks, from.with("state", "owned"), of.kv_owned);
  page.gauge(blocks, from.with("state", "cached"), of.kv_cached);
  page.gauge(blocks, from.with("state", "all"), of.kv_total);
  page.counter({"vllm:prefix_cache_queries_total", "Tokens of requests let into the batch."},
               from.where,
               read(from.requests.prefix_queries));
  page.counter({"vllm:prefix_cache_hits_total", "Of those, tokens found in the prefix cache."},
               from.where,
               read(from.requests.prefix_hits));
  page.counter({"vllm:num_preemptions_total", "Requests that gave their KV blocks up to others."},
               from.where,
               read(from.requests.preemptions));
  page.histogram({"vllm:iteration_tokens_total", "Tokens that a step computes."},
                 from.where,
                 from.requests.iteration_tokens.snapshot());
}

void describe_requests(const replica_source& from, exposition& page) {
  const auto& requests = from.requests;
  const auto active = requests.active.load(std::memory_order_relaxed);
  page.counter({"vdist:requests_accepted_total", "Requests written to the ledger and accepted."},
               from.where,
               read(requests.accepted));
  page.gauge({"vdist:requests_active", "Accepted requests that are not over."},
             from.where,
             static_cast<double>(active));
  for (std::size_t i = 0; i < finished_reasons; ++i) {
    const auto reason = static_cast<finished_reason>(i);
    page.counter({"vllm:request_success_total", "Requests that are over, by why."},
                 from.with("finished_reason", to_string(reason)),
                 read(requests.finished_for(reason)));
  }
  page.counter({"vllm:prompt_tokens_total", "Prompt tokens of requests that have a first token."},
               from.where,
               read(requests.prompt_tokens));
  page.counter({"vllm:generation_tokens_total", "Generated tokens that were committed and sent."},
               from.where,
               read(requests.generation_tokens));
  page.counter(
      {"vdist:surplus_tokens_total", "Tokens sampled for requests that were over by then."},
      from.where,
      read(requests.surplus_tokens));
}

void describe_latencies(const replica_source& from, exposition& page) {
  const auto& requests = from.requests;
  const auto add = [&page, &from](const family_name& what, const histogram& of) {
    page.histogram(what, from.where, of.snapshot());
  };
  add({"vllm:time_to_first_token_seconds", "From acceptance to the first token."},
      requests.time_to_first_token);
  add({"vllm:inter_token_latency_seconds", "Between two tokens of a request."},
      requests.inter_token_latency);
  add({"vllm:request_time_per_output_token_seconds",
       "Mean time per token of a request behind its first one."},
      requests.time_per_output_token);
  add({"vllm:e2e_request_latency_seconds", "From acceptance to the end."}, requests.e2e_latency);
  add({"vllm:request_queue_time_seconds", "From the scheduler's queue into the first step."},
      requests.queue_time);
  add({"vllm:request_prefill_time_seconds", "From the first step to the first token."},
      requests.prefill_time);
  add({"vllm:request_decode_time_seconds", "From the first token to the end."},
      requests.decode_time);
  add({"vllm:request_inference_time_seconds", "From the first step to the end."},
      requests.inference_time);
  add({"vllm:request_prompt_tokens", "Prompt tokens of a request that is over."},
      requests.prompt_tokens_of_request);
  add({"vllm:request_generation_tokens", "Generated tokens of a request that is over."},
      requests.generation_tokens_of_request);
}

void describe_steps(const replica_source& from, exposition& page) {
  const auto& times = from.times;
  page.counter({"vdist:steps_total", "Steps that were committed."}, from.where, read(times.steps));
  page.counter(
      {"vdist:step_tokens_total", "Tokens computed in steps, prompts and repetitions too."},
      from.where,
      read(times.tokens));
  constexpr family_name phases{"vdist:step_phase_seconds_total",
                               "Time of the step thread by phase; collect waits for the workers."};
  page.counter(phases, from.with("phase", "plan"), seconds_of(times.plan_ns));
  page.counter(phases, from.with("phase", "send"), seconds_of(times.send_ns));
  page.counter(phases, from.with("phase", "collect"), seconds_of(times.collect_ns));
  page.counter(phases, from.with("phase", "commit"), seconds_of(times.commit_ns));
  page.counter({"vdist:step_compute_seconds_total", "Time of the slowest worker of each step."},
               from.where,
               static_cast<double>(read(times.compute_us)) / 1e6);
}

void describe_recoveries(const replica_source& from, exposition& page) {
  const auto& of = from.of;
  const auto& recoveries = from.recoveries;
  for (const auto state : replica_states) {
    page.gauge({"vdist:replica_state", "1 for the state that the replica is in."},
               from.with("state", state),
               state == of.state ? 1 : 0);
  }
  page.gauge({"vdist:epoch", "Generation of the replica's workers; rises with every recovery."},
             from.where,
             of.epoch);
  page.gauge(
      {"vdist:workers", "Workers; 0 when the replica was given up."}, from.where, of.workers);
  page.gauge({"vdist:workers_configured", "Workers that the replica had at first."},
             from.where,
             of.workers_configured);
  page.gauge({"vdist:workers_lost", "Workers that there were at first and are no more, and why."},
             from.with("reason", of.lost_reason),
             of.workers_configured - of.workers);
  page.counter({"vdist:recoveries_total", "Recoveries, planned replacements too."},
               from.where,
               read(recoveries.recoveries));
  page.counter({"vdist:fences_total", "Fences raised."}, from.where, read(recoveries.fences));
  for (std::size_t i = 0; i < recovery_phases; ++i) {
    const auto phase = static_cast<recovery_phase>(i);
    page.histogram({"vdist:recovery_seconds", "Parts of recoveries; stall is what clients see."},
                   from.with("phase", to_string(phase)),
                   recoveries.of(phase).snapshot());
  }
  constexpr family_name dropped{"vdist:frames_dropped_total",
                                "Answers of workers that nobody took, by why."};
  page.counter(dropped, from.with("reason", "stale"), read(recoveries.frames_stale));
  page.counter(dropped, from.with("reason", "damaged"), read(recoveries.frames_damaged));
  page.counter(dropped, from.with("reason", "foreign"), read(recoveries.frames_foreign));
  page.counter({"vdist:rank_disagreements_total", "Steps whose ranks computed different things."},
               from.where,
               read(recoveries.disagreements));
  page.counter({"vdist:worker_restarts_total", "Workers started in the place of one that died."},
               from.where,
               of.worker_restarts);
  page.counter({"vdist:executor_restarts_total", "Executors, with their step lane, replaced."},
               from.where,
               read(recoveries.executors));
  page.counter({"vdist:tokens_restored_total", "Tokens of requests taken up again with their KV."},
               from.where,
               of.tokens_restored);
  page.counter(
      {"vdist:tokens_computed_again_total", "Tokens whose KV was lost and computed again."},
      from.where,
      of.tokens_computed_again);
  page.counter({"vdist:kv_loaded_tokens_total", "Tokens whose KV came from the host store."},
               from.where,
               of.tokens_loaded);
  constexpr family_name saved{"vdist:kv_saved_blocks_total",
                              "Full KV blocks, by whether they reached the host store in time."};
  page.counter(saved, from.with("outcome", "saved"), of.blocks_saved);
  page.counter(saved, from.with("outcome", "dropped"), of.blocks_unsaved);
}

void describe_cluster(const engine_sample& sample, exposition& page) {
  const labels where{{"model_name", sample.model}};
  const auto with = [&where](std::string name, std::string_view value) {
    auto all = where;
    all.push_back({std::move(name), std::string(value)});
    return all;
  };
  static const refusal_metrics none{};
  const auto& refusals = sample.refusals != nullptr ? *sample.refusals : none;
  for (std::size_t i = 0; i < refused_reasons; ++i) {
    page.counter({"vdist:requests_refused_total", "Requests that were not accepted, by why."},
                 with("reason", to_string(static_cast<refused_reason>(i))),
                 read(refusals[i]));
  }
  page.gauge({"vdist:draining", "1 when the cluster accepts nothing new."},
             where,
             sample.is_draining ? 1 : 0);
  constexpr family_name actors{"vdist:actor_restarts_total",
                               "Actors that their guardian replaced."};
  page.counter(actors, with("actor", "router"), sample.router_restarts);
  page.counter(actors, with("actor", "scheduler"), sample.scheduler_restarts);
  page.counter(actors, with("actor", "supervisor"), sample.supervisor_restarts);
  for (std::size_t i = 0; i < device_event_classes.size(); ++i) {
    page.counter(
        {"vdist:device_events_total",
         "What the driver said of GPUs, by who cannot go on: a worker, a device, the host."},
        with("class", device_event_classes[i]),
        sample.device_events[i]);
  }
  constexpr family_name processes{"vdist:process_restarts_total",
                                  "Processes started in the place of one that ended."};
  const auto after_first = [](std::uint32_t starts) {
    return static_cast<std::uint64_t>(starts > 1 ? starts - 1 : 0);
  };
  page.counter(processes, with("process", "node"), after_first(sample.node_starts));
  page.counter(processes, with("process", "vault"), after_first(sample.vault_starts));
  constexpr family_name spares{"vdist:spare_workers", "Processes that wait to be workers."};
  page.gauge(spares, with("state", "ready"), static_cast<double>(sample.spares_ready));
  page.gauge(spares, with("state", "preparing"), static_cast<double>(sample.spares_preparing));
  page.counter(
      {"vdist:replicas_lost_total", "Replicas that were given up."}, where, sample.replicas_lost);
  page.counter({"vdist:reductions_total", "Times that the cluster went on with fewer workers."},
               where,
               sample.reductions);
  constexpr family_name requests{"vdist:ledger_requests", "Requests that the ledger holds."};
  page.gauge(requests, with("state", "unfinished"), static_cast<double>(sample.ledger_unfinished));
  page.gauge(requests, with("state", "finished"), static_cast<double>(sample.ledger_finished));
  page.gauge({"vdist:ledger_requests_limit", "Unfinished requests that it can hold."},
             where,
             static_cast<double>(sample.ledger_requests_max));
  page.gauge({"vdist:ledger_tokens", "Tokens that the ledger has set room aside for."},
             where,
             static_cast<double>(sample.ledger_tokens));
  page.gauge({"vdist:ledger_tokens_limit", "Tokens that it has room for."},
             where,
             static_cast<double>(sample.ledger_tokens_max));
}

} // namespace

engine_sample
sample_before_start(std::string model, std::int32_t max_model_len, std::int32_t replicas) {
  engine_sample made{.model = std::move(model), .max_model_len = max_model_len};
  made.replicas.resize(static_cast<std::size_t>(replicas));
  return made;
}

void describe(const engine_sample& sample, exposition& page) {
  const request_metrics no_requests(sample.max_model_len);
  const recovery_metrics no_recoveries;
  const step_times no_times;
  for (std::size_t i = 0; i < sample.replicas.size(); ++i) {
    const auto& of = sample.replicas[i];
    const replica_source from{
        .of = of,
        .requests = of.requests != nullptr ? *of.requests : no_requests,
        .recoveries = of.recoveries != nullptr ? *of.recoveries : no_recoveries,
        .times = of.times != nullptr ? *of.times : no_times,
        .where = {{"model_name", sample.model}, {"engine", std::to_string(i)}}};
    describe_scheduler(from, page);
    describe_requests(from, page);
    describe_latencies(from, page);
    describe_steps(from, page);
    describe_recoveries(from, page);
  }
  describe_cluster(sample, page);
}

} // namespace vdist::metrics
