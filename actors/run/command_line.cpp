#include "actors/run/command_line.hpp"

#include "runtime/config/describe.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <sstream>

namespace vdist::actors {

namespace {

void add_modes(CLI::App& app, run_options& options) {
  app.add_option("config", options.config, "cluster.toml")->required();
  app.add_option("--set", options.overrides, "override a key: section.key=value (repeatable)")
      ->take_all();
  auto* prompt =
      app.add_option("--prompt", options.prompt, "generate a continuation of this text and exit");
  auto* input =
      app.add_option("--input", options.input, "file of requests, one JSON object per line");
  auto* output = app.add_option(
      "--output", options.output, "file of results; an interrupted run goes on where it stopped");
  input->needs(output)->excludes(prompt);
  output->needs(input);
  auto* faults = app.add_option("--faults", options.faults, "fault script to run beside the work");
  app.add_flag("--verify",
               options.wants_verify,
               "run the input without faults first, then with them, and compare all streams")
      ->needs(faults)
      ->needs(input);
  app.add_option("--faults-report",
                 options.faults_report,
                 "BASE of BASE.json and BASE.svg: every injection, and a time line (OUTPUT.faults)")
      ->needs(faults);
  app.add_flag(
      "--json", options.wants_json, "print one JSON line per request instead of streaming text");
  app.add_flag("--check", options.is_check, "validate everything, print the plan, load nothing");
  app.add_flag("--dump-topology",
               options.wants_topology,
               "print ranks, groups, layers and weight shards as JSON");
  app.add_option("--host-link", options.host_link)->group(""); // not shown
  app.add_flag("--quiet", options.is_quiet, "no start-up lines and no progress");
}

void add_sampling(CLI::App& app, run_options& options) {
  const char* const group = "Sampling (defaults: the model's generation_config.json)";
  app.add_option("--max-tokens", options.max_tokens, "generated tokens at most")->group(group);
  app.add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->group(group);
  app.add_option("--top-p", options.top_p, "keep the likeliest tokens up to this mass")
      ->group(group);
  app.add_option("--top-k", options.top_k, "keep the k likeliest tokens; 0: all")->group(group);
  app.add_option("--seed", options.seed, "the same seed gives the same tokens")->group(group);
  app.add_option(
         "--logprobs", options.logprobs, "log probabilities of the chosen and the top N tokens")
      ->group(group);
  app.add_option("--stop", options.stop, "end before this text (repeatable)")
      ->take_all()
      ->group(group);
}

} // namespace

result<command_line> parse_command_line(int argc, const char* const* argv) {
  command_line parsed;
  CLI::App app("vdist-run: launches a cluster for large language models from one file",
               "vdist-run");
  app.footer("Keys of the configuration:\n" + config::describe_keys());
  app.set_version_flag("--version", "vdist " + std::string(version));
  add_modes(app, parsed.options);
  add_sampling(app, parsed.options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) { // --help, --version
    std::ostringstream out;
    std::ostringstream errors;
    parsed.exit_code = app.exit(done, out, errors);
    parsed.text = out.str();
  } catch (const CLI::ParseError& cause) {
    return fail(errc::bad_configuration,
                std::string("command line: ") + cause.what() + " (see vdist-run --help)");
  }
  return parsed;
}

} // namespace vdist::actors
