// Configuration → engine → a server, one prompt, a file of requests, or a look at the plan. Exit codes: 0 done, 2 configuration or arguments, 3 a resource is missing, 4 a worker could not be kept
// alive (or a fault script was not fulfilled), 130 interrupted.

#include "actors/run/node_program.hpp"

#include "actors/control/control_client.hpp"
#include "actors/control/control_server.hpp"
#include "actors/run/batch_run.hpp"
#include "actors/run/command_line.hpp"
#include "actors/run/fault_run.hpp"
#include "actors/run/interrupt.hpp"
#include "actors/run/progress.hpp"
#include "actors/run/prompt_run.hpp"
#include "actors/run/serve_run.hpp"
#include "actors/run/topology_dump.hpp"
#include "actors/system/engine.hpp"
#include "actors/system/model_setup.hpp"
#include "actors/system/reduction.hpp"

#include "runtime/base/log.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/config/fault_script.hpp"
#include "runtime/config/load.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <unistd.h>

namespace vdist::actors {

namespace {

api::sampling_params with_options(api::sampling_params params, const run_options& options) {
  params.max_tokens = options.max_tokens ? options.max_tokens : params.max_tokens;
  params.temperature = options.temperature.value_or(params.temperature);
  params.top_p = options.top_p.value_or(params.top_p);
  params.top_k = options.top_k.value_or(params.top_k);
  params.seed = options.seed ? options.seed : params.seed;
  params.logprobs = options.logprobs ? options.logprobs : params.logprobs;
  params.stop.insert(params.stop.end(), options.stop.begin(), options.stop.end());
  return params;
}

/// --prompt or --input, else [run] of the configuration; a server when it names no prompt either.
run_options resolve_work(run_options options, const config::cluster_config& config) {
  if (options.prompt || !options.input.empty() || options.is_check || options.wants_topology
      || config.run.prompt.empty()) {
    return options;
  }
  options.prompt = config.run.prompt;
  if (!options.max_tokens && config.run.max_tokens > 0) {
    options.max_tokens = config.run.max_tokens;
  }
  return options;
}

bool is_server(const run_options& options) {
  return !options.prompt && options.input.empty();
}

/// Null when there is something else to do.
result<std::unique_ptr<serve_run>>
listen(const model_setup& setup, const run_options& options, host::board_words* board) {
  if (!is_server(options)) {
    return std::unique_ptr<serve_run>();
  }
  return serve_run::listen(
      setup, with_options(api::default_params(setup.defaults), options), board);
}

/// Ports may be the system's choice, so these lines are never quiet.
result<void> serve(serve_run& server, engine& engine) {
  for (const auto& url : server.urls()) {
    std::fputs(fmt::format("vdist-run: serving at {}\n", url).c_str(), stderr);
  }
  return server.serve(engine);
}

/// Everything that is wrong with a prompt is said before anything is loaded.
result<void> check_prompt(const model_setup& setup, const run_options& options) {
  if (!options.prompt) {
    return {};
  }
  return check_request(setup,
                       {.prompt = *options.prompt,
                        .token_ids = {},
                        .params = with_options(api::default_params(setup.defaults), options)});
}

result<model_setup> set_up(const config::cluster_config& config,
                           const config::environment& env,
                           phase_log& phases,
                           progress_style style) {
  progress_bar bar(style, "downloading");
  return set_up_model(
      config,
      env,
      [&phases](std::string_view phase, const std::string& outcome) {
        phases.done(phase, outcome);
      },
      [&bar](std::uint64_t done, std::uint64_t total) { bar.update_bytes(done, total); });
}

result<std::unique_ptr<engine>> start_engine(model_setup setup,
                                             const host_access& access,
                                             phase_log& phases,
                                             progress_style style) {
  progress_bar bar(style, "loading");
  engine_listener listener{
      .on_phase = [&phases](std::string_view phase,
                            const std::string& outcome) { phases.done(phase, outcome); },
      .on_load =
          [&bar](std::uint64_t done, std::uint64_t total) {
            bar.update_bytes(done, total);
          }};
  return engine::start(std::move(setup), std::move(listener), access);
}

result<batch_summary>
run_file(engine& engine, const run_options& options, const fault_pass& pass, progress_style style) {
  const batch_options batch{.input = options.input,
                            .output = pass.output,
                            .defaults = with_options(engine.default_params(), options),
                            .in_flight_max =
                                2 * static_cast<std::size_t>(engine.setup().limits.max_sequences),
                            .seed_base = pass.seed_base,
                            .style = style};
  const auto started = std::chrono::steady_clock::now();
  VDIST_ASSIGN(const auto summary, run_batch(engine, batch));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  if (style != progress_style::silent) {
    std::fputs(
        fmt::format(
            "  done       {} written, {} failed, {} were there already; {} tokens in {:.1f} s\n",
            summary.finished,
            summary.failed,
            summary.skipped,
            summary.tokens,
            elapsed.count())
            .c_str(),
        stderr);
    if (summary.is_drained) {
      std::fputs("  drained    lines of the input are left; run again to go on\n", stderr);
    }
  }
  return summary;
}

/// Named after the program that the user started: our parent, if it launched us. A cluster that
/// operators cannot reach runs all the same.
std::unique_ptr<control::control_server> serve_operators(engine& engine, bool is_launched) {
  const auto name = control::socket_name(engine.setup().config.cluster.name,
                                         is_launched ? ::getppid() : ::getpid());
  auto server = control::control_server::start(name, engine);
  if (!server) {
    log::warn("{}: vdist-ctl will not find this cluster", server.error().context);
    return nullptr;
  }
  return std::move(*server);
}

/// `server`: null when there is something else to do.
result<std::optional<batch_summary>> work(engine& engine,
                                          serve_run* server,
                                          const run_options& options,
                                          const fault_pass& pass,
                                          progress_style style) {
  if (server != nullptr) {
    VDIST_TRY(serve(*server, engine));
    return std::optional<batch_summary>();
  }
  if (!options.input.empty()) {
    VDIST_ASSIGN(auto summary, run_file(engine, options, pass, style));
    return std::optional(summary);
  }
  const auto output =
      options.wants_json || options.logprobs ? prompt_output::json : prompt_output::stream;
  VDIST_TRY(
      run_prompt(engine, *options.prompt, with_options(engine.default_params(), options), output));
  return std::optional<batch_summary>();
}

result<void> work_under(const config::fault_script& script,
                        engine& engine,
                        serve_run* server,
                        const run_options& options,
                        progress_style style) {
  std::string reports = options.faults_report;
  if (reports.empty() && !options.output.empty()) {
    reports = options.output + ".faults";
  }
  const fault_run_options faults{.script = script,
                                 .script_name = options.faults,
                                 .output = options.output,
                                 .reports = reports,
                                 .is_verified = options.wants_verify,
                                 .is_quiet = options.is_quiet};
  return run_with_faults(
      engine, faults, [&engine, server, &options, style](const fault_pass& pass) {
        return work(engine, server, options, pass, style);
      });
}

/// Threads share the program's process: what ends it would leave nobody to recover.
config::fault_victims victims_of(const run_options& options, const config::cluster_config& config) {
  const bool has_processes =
      options.host_link >= 0 || config.cluster.isolation == config::isolation_kind::process;
  return has_processes ? config::fault_victims::processes : config::fault_victims::threads;
}

result<void> show_plan(const model_setup& setup, const run_options& options) {
  auto text = describe_setup(setup);
  if (options.wants_topology) {
    VDIST_ASSIGN(text, dump_topology(setup));
  }
  if (std::fputs(text.c_str(), stdout) < 0) {
    return fail(errc::io_failed, "stdout: cannot be written");
  }
  if (!options.is_check) {
    return {};
  }
  if (setup.shortage) {
    return *setup.shortage;
  }
  const bool would_serve = is_server(options) && setup.config.run.prompt.empty();
  return would_serve ? check_ports(setup.config) : result<void>();
}

/// What a predecessor could not keep up is not asked of this process again (reduction.hpp).
result<config::cluster_config> load_configuration(const run_options& options,
                                                  const std::optional<reduction>& reduced) {
  VDIST_ASSIGN(auto config, config::load(options.config, options.overrides));
  if (!reduced) {
    return config;
  }
  const auto& sizes = config.parallel;
  const auto devices = sizes.data * sizes.pipeline * sizes.tensor;
  auto overrides = options.overrides;
  for (auto& one : overrides_of(*reduced, config)) {
    overrides.push_back(std::move(one));
  }
  VDIST_ASSIGN(config, config::load(options.config, overrides));
  VDIST_TRY(retire_devices(config, reduced->retired, devices));
  return config;
}

/// Of a cluster that ran with more workers: that it cannot go on is the fault of those, not of the configuration.
error as_lost(const error& cause, const reduction& reduced) {
  return fail(
      errc::closed,
      fmt::format("{}; it cannot go on with fewer workers: {}", reduced.reason, cause.context));
}

result<void>
run(run_options options, const std::optional<reduction>& reduced, host::board_words* board) {
  VDIST_ASSIGN(const auto config, load_configuration(options, reduced));
  log::initialise(config::to_string(config.log.level));
  options = resolve_work(std::move(options), config);
  std::optional<config::fault_script> script;
  if (!options.faults.empty()) {
    VDIST_ASSIGN(script, config::load_fault_script(options.faults, victims_of(options, config)));
  }
  if (is_server(options) && options.needs_workers()) {
    VDIST_TRY(front_door_config_of(config.server)); // before a download
  }
  if (!options.input.empty()) {
    VDIST_TRY(check_batch_files({.input = options.input, .output = options.output}));
  }
  const auto style = progress_style_of(options.is_quiet);
  phase_log phases(options.wants_topology ? progress_style::silent : style);
  const auto env = config::read_environment();
  VDIST_ASSIGN(auto setup, set_up(config, env, phases, style));
  setup.reduced = reduced;
  if (options.is_check || options.wants_topology) {
    return show_plan(setup, options);
  }
  if (setup.shortage) {
    return reduced ? as_lost(*setup.shortage, *reduced) : *setup.shortage;
  }
  VDIST_TRY(check_prompt(setup, options));
  VDIST_ASSIGN(const auto server, listen(setup, options, board));
  const host_access access{.link = options.host_link, .programs = env.programs};
  VDIST_ASSIGN(auto engine, start_engine(std::move(setup), access, phases, style));
  const auto control = serve_operators(*engine, options.host_link >= 0);
  if (script) {
    return work_under(*script, *engine, server.get(), options, style);
  }
  VDIST_TRY(
      work(*engine, server.get(), options, {.output = options.output, .seed_base = {}}, style));
  return {};
}

} // namespace

int run_node(int argc, const char* const* argv, host::board_words* board) {
  watch_for_interrupts();
  auto parsed = parse_command_line(argc, argv);
  if (parsed && parsed->exit_code) {
    std::fputs(parsed->text.c_str(), stdout);
    return *parsed->exit_code;
  }
  const auto reduced = board != nullptr ? read_reduction(run_on(*board)) : std::nullopt;
  const auto done =
      parsed ? run(std::move(parsed->options), reduced, board) : result<void>(parsed.error());
  if (!done) {
    std::fputs(fmt::format("vdist-run: {}\n", done.error().context).c_str(), stderr);
    return exit_code(done.error().code);
  }
  return 0;
}

} // namespace vdist::actors
