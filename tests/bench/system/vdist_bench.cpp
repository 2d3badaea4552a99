// tests/bench/system/vdist_bench.cpp — the program vdist-bench: what the engine reaches, as a share of what the same run
// measures of the machine. Subcommands:
//   latency C.toml     decode of one sequence: tokens/s, and bytes of weights per second against the read bandwidth
//   prefill C.toml     one long prompt: tokens/s, and flops against the peak of a register loop
//   throughput C.toml  many sequences at once: tokens/s
//   control C.toml     microseconds of control plane per step (use device.kind = "sim")
//   scheduler          the scheduler alone, 256 running sequences, 100 and 10,000 waiting
//   machine            read bandwidth and peak, by threads
//   start C.toml       from nothing to the first token, by phase
//   faults C.toml      stall and parts of recoveries by the hundred (--kind worker|node|router|…, --n, --json)
//   serve URL|C.toml   what clients of a server see under a load: --workload, --open, --closed
//   collective         the tensor plane between processes: shared memory against Gloo (--ranks, --bytes)
// All take --set key=value and --tokens / --prompt-tokens / --sequences; figures go to stdout, one per line.

#include "tests/bench/kernels/kernel_bench.hpp"
#include "tests/bench/runtime/sched/sched_bench.hpp"
#include "tests/bench/serve/serve_bench.hpp"
#include "tests/bench/system/collective_bench.hpp"
#include "tests/bench/system/fault_bench.hpp"

#include "actors/system/engine.hpp"
#include "actors/system/machine.hpp"

#include "runtime/base/log.hpp"
#include "runtime/config/load.hpp"

#include "kernels/cuda_module.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace vdist::bench {

namespace {

using actors::engine;
using actors::generate_request;
using actors::generation;

using steady = std::chrono::steady_clock;

struct options {
  std::string config;
  std::vector<std::string> overrides;
  std::int32_t tokens = 64; // generated per sequence
  std::int32_t prompt_tokens = 64;
  std::int32_t sequences = 16;
  std::int32_t repetitions = 3;
  collective_options collective;
  fault_bench_options faults;
  serve::serve_options serving;
};

double seconds_since(steady::time_point start) {
  return std::chrono::duration<double>(steady::now() - start).count();
}

void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

/// CPU time of one process, all its threads that still run.
double cpu_seconds_of(const std::string& pid) {
  double sum = 0;
  std::error_code ended;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", ended)) {
    std::ifstream file(task.path() / "schedstat");
    double on_cpu_ns = 0;
    file >> on_cpu_ns;
    sum += on_cpu_ns * 1e-9;
  }
  return sum;
}

/// Of this process and, where workers are processes, of all others of the cluster.
double cpu_seconds(const engine& running) {
  double sum = cpu_seconds_of("self");
  for (const auto& process : running.details().processes) {
    if (process.pid != ::getpid()) {
      sum += cpu_seconds_of(std::to_string(process.pid));
    }
  }
  return sum;
}

result<std::unique_ptr<engine>> start(const options& wanted) {
  VDIST_ASSIGN(auto config, config::load(wanted.config, wanted.overrides));
  log::initialise("warn");
  return engine::start(config, config::read_environment(), {});
}

/// A prompt that no other one shares a block with.
std::vector<token_id> prompt_of(const engine& running, std::int32_t length, std::uint32_t seed) {
  std::vector<token_id> tokens;
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::int32_t i = 0; i < length; ++i) {
    state = state * 1664525U + 1013904223U;
    tokens.push_back(static_cast<token_id>(
        (state >> 8) % static_cast<std::uint32_t>(running.setup().vocabulary)));
  }
  return tokens;
}

generate_request request_of(const engine& running, const options& wanted, std::uint32_t seed) {
  generate_request request{
      .prompt = {}, .token_ids = prompt_of(running, wanted.prompt_tokens, seed), .params = {}};
  request.params.temperature = 0;
  request.params.max_tokens = wanted.tokens;
  request.params.ignore_eos = true;
  return request;
}

struct finished {
  double first_s = 0; // from submission to the first token
  double last_s = 0;
  std::size_t tokens = 0;
  std::vector<double> gaps_ms; // between the arrivals of tokens
};

result<finished> finish(actors::text_stream& stream, steady::time_point submitted) {
  finished done;
  std::optional<steady::time_point> before;
  while (true) {
    VDIST_ASSIGN(auto chunk, stream.next(std::chrono::seconds(60)));
    if (!chunk) {
      return fail(errc::timed_out, "bench: no token within 60 s");
    }
    done.tokens += chunk->token_ids.size();
    if (!chunk->token_ids.empty()) {
      const auto now = steady::now();
      if (before) {
        done.gaps_ms.push_back(std::chrono::duration<double, std::milli>(now - *before).count());
      }
      before = now;
    }
    if (chunk->reason == protocol::finish_reason::failed) {
      return fail(errc::internal, "bench: " + chunk->message);
    }
    if (chunk->reason != protocol::finish_reason::none) {
      break;
    }
  }
  const auto times = stream.times();
  done.first_s = std::chrono::duration<double>(times.first.value_or(submitted) - submitted).count();
  done.last_s = std::chrono::duration<double>(times.last.value_or(submitted) - submitted).count();
  return done;
}

result<finished> run_one(engine& running, const options& wanted, std::uint32_t seed) {
  const auto submitted = steady::now();
  VDIST_ASSIGN(auto generation, running.generate(request_of(running, wanted, seed)));
  return finish(*generation.sequences.front(), submitted);
}

/// Weights that a decode step of one replica reads: matrices, once each; of the embedding a single
/// row unless it is tied.
double bytes_per_step(const engine& running) {
  const auto& setup = running.setup();
  double bytes = 0;
  for (const auto rank : setup.layout->ranks_of_replica(0)) {
    bytes += static_cast<double>(setup.memory[static_cast<std::size_t>(rank.value)].weights);
  }
  // The table that is only looked up: apart from the head when untied, and on another stage.
  if (setup.model && (!setup.model->tie_word_embeddings || setup.layout->sizes().pipeline > 1)) {
    bytes -= static_cast<double>(setup.model->vocabulary) * setup.model->hidden
             * static_cast<double>(kernels::size_of(setup.type));
  }
  return bytes;
}

/// Multiplications and additions of the matrices, per prompt token; attention comes on top and is
/// left out.
double flops_per_token(const engine& running) {
  const auto& setup = running.setup();
  double weights = bytes_per_step(running) / static_cast<double>(kernels::size_of(setup.type));
  weights -=
      static_cast<double>(setup.model->vocabulary) * setup.model->hidden; // the head sees one row
  return 2 * weights;
}

/// What the machine reaches at best where the model runs: of the CPU's cores, or of the first GPU.
struct machine_rates {
  std::string what; // "16 threads", "NVIDIA H200"
  double read_bytes_per_s = 0;
  double flops_per_s = 0;
};

/// Before the engine starts: it takes the memory.
result<machine_rates> measure_machine(const options& wanted) {
  VDIST_ASSIGN(const auto config, config::load(wanted.config, wanted.overrides));
  std::string why;
  auto* module =
      config.device.kind == config::device_kind::cuda ? kernels::load_cuda_module(why) : nullptr;
  if (module == nullptr) {
    const int threads = actors::available_cores();
    return machine_rates{.what = fmt::format("{} threads", threads),
                         .read_bytes_per_s = kernels::bench::measure_read_bandwidth(threads),
                         .flops_per_s = kernels::bench::measure_fma_peak(threads)};
  }
  const auto facts = module->facts_of(0, why);
  const auto rates = module->measure(0, why);
  if (!why.empty()) {
    return fail(errc::not_found, why);
  }
  return machine_rates{.what = facts.name,
                       .read_bytes_per_s = rates.read_bytes_per_s,
                       .flops_per_s = rates.gemm_flops_per_s};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Keys and values that a step reads for a sequence of `tokens` tokens, over all ranks of a replica.
double kv_bytes(const engine& running, double tokens) {
  const auto& setup = running.setup();
  double per_block = 0;
  for (const auto rank : setup.layout->ranks_of_replica(0)) {
    per_block +=
        static_cast<double>(setup.memory[static_cast<std::size_t>(rank.value)].kv_per_block);
  }
  return per_block / setup.limits.block_size * tokens;
}

result<void> bench_latency(const options& wanted) {
  VDIST_ASSIGN(const auto machine, measure_machine(wanted));
  VDIST_ASSIGN(auto running, start(wanted));
  VDIST_TRY(run_one(*running, wanted, 0)); // warm-up
  std::vector<double> times;
  std::vector<double> gaps_ms;
  for (std::int32_t i = 1; i <= wanted.repetitions; ++i) {
    VDIST_ASSIGN(const auto done, run_one(*running, wanted, static_cast<std::uint32_t>(i)));
    times.push_back((done.last_s - done.first_s) / static_cast<double>(done.tokens - 1));
    gaps_ms.insert(gaps_ms.end(), done.gaps_ms.begin(), done.gaps_ms.end());
  }
  const double step_s = median(times);
  const double context = wanted.prompt_tokens + wanted.tokens / 2.0;
  const double weights = bytes_per_step(*running);
  const double bytes = weights + kv_bytes(*running, context);
  print(
      fmt::format("machine     {:<33} {:8.2f} GB/s", machine.what, machine.read_bytes_per_s / 1e9));
  std::sort(gaps_ms.begin(), gaps_ms.end());
  const auto share_of = [&gaps_ms](std::size_t percent) {
    return gaps_ms.empty() ? 0 : gaps_ms[(gaps_ms.size() - 1) * percent / 100];
  };
  print(fmt::format("decode      between tokens, p50 / p99        {:8.3f} / {:.3f} ms",
                    share_of(50),
                    share_of(99)));
  print(fmt::format("decode      time per token, batch 1          {:8.3f} ms  ({:.1f} tokens/s)",
                    step_s * 1e3,
                    1 / step_s));
  print(fmt::format("decode      read per token                   {:8.2f} MB  (weights {:.2f})",
                    bytes / 1e6,
                    weights / 1e6));
  print(fmt::format("decode      read bandwidth                   {:8.2f} GB/s",
                    bytes / step_s / 1e9));
  print(fmt::format("decode      share of the read bandwidth      {:8.1f} %",
                    100 * bytes / step_s / machine.read_bytes_per_s));
  return {};
}

/// Multiplications and additions of causal attention over a prompt.
double attention_flops(const engine& running, double tokens) {
  const auto& model = *running.setup().model;
  return 2 * tokens * tokens * model.heads * model.head_dim * model.layers;
}

result<void> bench_prefill(const options& wanted) {
  VDIST_ASSIGN(const auto machine, measure_machine(wanted));
  VDIST_ASSIGN(auto running, start(wanted));
  auto one = wanted;
  one.tokens = 1;
  std::vector<double> times;
  for (std::int32_t i = 0; i <= wanted.repetitions; ++i) {
    VDIST_ASSIGN(const auto done, run_one(*running, one, static_cast<std::uint32_t>(i)));
    if (i > 0) { // the first one warms up
      times.push_back(done.first_s);
    }
  }
  const double prompt_s = median(times);
  const double matrices = flops_per_token(*running) * wanted.prompt_tokens;
  const double flops = matrices + attention_flops(*running, wanted.prompt_tokens);
  print(fmt::format("machine     {:<33} {:8.1f} GFLOP/s", machine.what, machine.flops_per_s / 1e9));
  print(fmt::format("prefill     {} tokens                        {:8.1f} ms  ({:.1f} tokens/s)",
                    wanted.prompt_tokens,
                    prompt_s * 1e3,
                    wanted.prompt_tokens / prompt_s));
  print(fmt::format("prefill     matrices alone                   {:8.1f} GFLOP/s",
                    matrices / prompt_s / 1e9));
  print(fmt::format("prefill     with attention                   {:8.1f} GFLOP/s",
                    flops / prompt_s / 1e9));
  print(fmt::format("prefill     share of the peak                {:8.1f} %",
                    100 * flops / prompt_s / machine.flops_per_s));
  return {};
}

struct burst {
  double seconds = 0;
  std::size_t tokens = 0;
  double step_s = 0; // of one token while all sequences decode
};

result<burst> run_burst(engine& running, const options& wanted, std::uint32_t seed) {
  const auto submitted = steady::now();
  std::vector<generation> all;
  for (std::int32_t i = 0; i < wanted.sequences; ++i) {
    VDIST_ASSIGN(
        auto generation,
        running.generate(request_of(running, wanted, seed + static_cast<std::uint32_t>(i))));
    all.push_back(std::move(generation));
  }
  burst done;
  double latest_first_s = 0;
  for (auto& generation : all) {
    VDIST_ASSIGN(const auto sequence, finish(*generation.sequences.front(), submitted));
    if (sequence.first_s > latest_first_s) { // it decodes while all others do
      latest_first_s = sequence.first_s;
      done.step_s = (sequence.last_s - sequence.first_s) / static_cast<double>(sequence.tokens - 1);
    }
    done.tokens += sequence.tokens;
    done.seconds = std::max(done.seconds, sequence.last_s);
  }
  return done;
}

result<void> bench_throughput(const options& wanted) {
  VDIST_ASSIGN(auto running, start(wanted));
  VDIST_TRY(run_burst(*running, wanted, 0));
  VDIST_ASSIGN(const auto done, run_burst(*running, wanted, 100000));
  print(fmt::format("throughput  {} sequences, {} + {} tokens      {:8.1f} generated tokens/s",
                    wanted.sequences,
                    wanted.prompt_tokens,
                    wanted.tokens,
                    static_cast<double>(done.tokens) / done.seconds));
  return {};
}

/// Decode of many sequences against what reading the weights once and everybody's cache takes.
result<void> bench_batch(const options& wanted) {
  VDIST_ASSIGN(const auto machine, measure_machine(wanted));
  VDIST_ASSIGN(auto running, start(wanted));
  std::vector<double> times;
  for (std::int32_t i = 0; i <= wanted.repetitions; ++i) {
    VDIST_ASSIGN(const auto done,
                 run_burst(*running, wanted, static_cast<std::uint32_t>(i) * 100000U));
    if (i > 0) { // the first one warms up
      times.push_back(done.step_s);
    }
  }
  const double step_s = median(times);
  const double context = wanted.prompt_tokens + wanted.tokens / 2.0;
  const double bytes = bytes_per_step(*running) + wanted.sequences * kv_bytes(*running, context);
  const double ideal_s = bytes / machine.read_bytes_per_s;
  print(
      fmt::format("machine     {:<33} {:8.2f} GB/s", machine.what, machine.read_bytes_per_s / 1e9));
  print(fmt::format(
      "batch       {} sequences of {} tokens       {:8.3f} ms per step  ({:.0f} tokens/s)",
      wanted.sequences,
      context,
      step_s * 1e3,
      wanted.sequences / step_s));
  print(fmt::format("batch       ideal time / measured            {:8.1f} %",
                    100 * ideal_s / step_s));
  return {};
}

result<void> bench_control(const options& wanted) {
  VDIST_ASSIGN(auto running, start(wanted));
  const auto before = running->status();
  VDIST_TRY(run_burst(*running, wanted, 0));
  const auto after = running->status();
  const auto steps = after.steps - before.steps;
  print(fmt::format("control     {} sequences, {} steps            {:8.1f} us per step",
                    wanted.sequences,
                    steps,
                    after.control_us_per_step));
  constexpr std::chrono::seconds idle_time{2};
  const double cpu_before = cpu_seconds(*running);
  std::this_thread::sleep_for(idle_time);
  const double idle = (cpu_seconds(*running) - cpu_before) / static_cast<double>(idle_time.count());
  print(fmt::format("idle        {} workers                        {:8.3f} % of a core",
                    running->setup().layout->world(),
                    100 * idle));
  return {};
}

result<void> bench_start(const options& wanted) {
  const auto begun = steady::now();
  VDIST_ASSIGN(auto running, start(wanted));
  const double started = seconds_since(begun);
  VDIST_ASSIGN(const auto done, run_one(*running, wanted, 0));
  print(fmt::format("start       engine running                   {:8.1f} ms", started * 1e3));
  print(fmt::format("start       first token                      {:8.1f} ms",
                    (started + done.first_s) * 1e3));
  return {};
}

result<void> bench_scheduler(const options&) {
  const system_clock time;
  for (const std::int32_t waiting : {100, 10000}) {
    const auto figures = measure_scheduler({.running = 256, .waiting = waiting}, time);
    print(fmt::format(
        "scheduler   256 running, {:5} waiting   p50 {:6.1f} us  p99 {:6.1f} us per step",
        waiting,
        figures.p50_us,
        figures.p99_us));
  }
  return {};
}

result<void> bench_machine(const options&) {
  for (int threads = 1; threads <= actors::available_cores(); threads *= 2) {
    print(fmt::format("machine     {} threads: read {:6.2f} GB/s, peak {:7.1f} GFLOP/s",
                      threads,
                      kernels::bench::measure_read_bandwidth(threads) / 1e9,
                      kernels::bench::measure_fma_peak(threads) / 1e9));
  }
  return {};
}

result<void> bench_collectives(const options& wanted) {
  return bench_collective(wanted.collective);
}

result<void> bench_injections(const options& wanted) {
  auto faults = wanted.faults;
  faults.config = wanted.config;
  faults.overrides = wanted.overrides;
  return bench_faults(faults);
}

result<void> bench_serving(const options& wanted) {
  return serve::bench_serve(wanted.serving);
}

using benchmark = result<void> (*)(const options&);

void add(CLI::App& app,
         options& wanted,
         benchmark& chosen,
         const char* name,
         const char* what,
         benchmark run,
         bool needs_config) {
  auto* sub = app.add_subcommand(name, what);
  if (needs_config) {
    sub->add_option("config", wanted.config, "cluster.toml")->required();
    sub->add_option("--set", wanted.overrides, "override a key: section.key=value")->take_all();
    sub->add_option("--tokens", wanted.tokens, "generated tokens of a sequence");
    sub->add_option("--prompt-tokens", wanted.prompt_tokens, "prompt tokens of a sequence");
    sub->add_option("--sequences", wanted.sequences, "sequences at once");
    sub->add_option(
        "--repetitions", wanted.repetitions, "the median of so many, after one to warm up");
  }
  sub->callback([&chosen, run] { chosen = run; });
}

int main_of(int argc, char** argv) {
  CLI::App app("vdist-bench: figures of the engine beside those of the machine", "vdist-bench");
  options wanted;
  benchmark chosen = nullptr;
  add(app,
      wanted,
      chosen,
      "latency",
      "decode at batch 1 against the read bandwidth",
      bench_latency,
      true);
  add(app,
      wanted,
      chosen,
      "prefill",
      "one prompt against the arithmetic peak",
      bench_prefill,
      true);
  add(app, wanted, chosen, "throughput", "many sequences at once", bench_throughput, true);
  add(app,
      wanted,
      chosen,
      "batch",
      "decode of many sequences against the read bandwidth",
      bench_batch,
      true);
  add(app,
      wanted,
      chosen,
      "control",
      "control plane per step, and the cost of being idle",
      bench_control,
      true);
  add(app, wanted, chosen, "start", "from nothing to the first token", bench_start, true);
  add(app,
      wanted,
      chosen,
      "faults",
      "how long streams stand still when something dies",
      bench_injections,
      true);
  auto* faults = app.get_subcommand("faults");
  faults->add_option("--kind", wanted.faults.kind, "what dies: " + fault_kinds());
  faults->add_option("--n", wanted.faults.injections, "injections");
  faults->add_option("--json", wanted.faults.json, "a file for the figures");
  add(app, wanted, chosen, "serve", "what clients see under load", bench_serving, false);
  serve::add_options(*app.get_subcommand("serve"), wanted.serving);
  add(app, wanted, chosen, "scheduler", "the scheduler alone", bench_scheduler, false);
  add(app, wanted, chosen, "machine", "read bandwidth and peak", bench_machine, false);
  add(app,
      wanted,
      chosen,
      "collective",
      "the tensor plane between processes: shared memory against Gloo",
      bench_collectives,
      false);
  auto* collective = app.get_subcommand("collective");
  collective->add_option("--ranks", wanted.collective.ranks, "processes, 2 to 16");
  collective->add_option("--bytes", wanted.collective.bytes, "sizes of a rank's largest buffer")
      ->delimiter(',');
  app.require_subcommand(1);
  CLI11_PARSE(app, argc, argv);
  if (auto done = chosen(wanted); !done) {
    std::fputs(("vdist-bench: " + done.error().context + "\n").c_str(), stderr);
    return exit_code(done.error().code);
  }
  return 0;
}

} // namespace

} // namespace vdist::bench

int main(int argc, char** argv) {
  vdist::kernels::deepen_launch_queues();
  return vdist::bench::main_of(argc, argv);
}
