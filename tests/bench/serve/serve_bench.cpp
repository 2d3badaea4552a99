#include "tests/bench/serve/serve_bench.hpp"

#include "tests/bench/serve/fetch.hpp"
#include "tests/bench/serve/load_run.hpp"
#include "tests/bench/serve/own_server.hpp"
#include "tests/bench/serve/report.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>
#include <utility>

namespace vdist::bench::serve {

namespace {

/// Of an open loop without a bound of its own: what one address of a machine has ports for, and most limits descriptors.
constexpr std::size_t in_flight_default = 8192;
constexpr std::chrono::seconds answer_time{30};

/// SIGINT and SIGTERM end the run; its figures are still printed.
std::atomic<bool> is_stopped{false};

void on_signal(int) {
  is_stopped.store(true);
}

void catch_signals() {
  struct sigaction action {};

  action.sa_handler = on_signal;
  action.sa_flags = SA_RESETHAND; // the second one ends the program
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool is_url(const std::string& target) {
  return target.find("://") != std::string::npos;
}

result<void> check(const serve_options& options) {
  const auto illegal = [](std::string_view what) {
    return fail(errc::invalid_argument, std::string(what));
  };
  if (std::isnan(options.open_rate) || options.open_rate < 0) {
    return illegal("--open: a rate above 0 in requests per second, or inf");
  }
  if (!(options.speed > 0) || !std::isfinite(options.speed)) {
    return illegal("--speed: a number above 0");
  }
  constexpr double seconds_max = 1e6;
  const bool is_time = options.timeout_s > 0 && options.timeout_s <= seconds_max
                       && options.hold_s >= 0 && options.hold_s <= seconds_max;
  if (!is_time) {
    return illegal("--timeout, --hold: seconds, up to 1000000");
  }
  if (!(options.pace_ms >= 0)) {
    return illegal("--pace: milliseconds");
  }
  constexpr std::uint32_t vocabulary_least = 16;
  if (options.vocabulary < vocabulary_least) {
    return illegal("--vocabulary: at least 16");
  }
  if (is_url(options.target) && !options.overrides.empty()) {
    return illegal("--set: a running server cannot be configured");
  }
  return {};
}

result<std::string> read_api_key(const serve_options& options) {
  if (options.api_key_file.empty()) {
    const char* given = std::getenv("OPENAI_API_KEY");
    return given != nullptr ? std::string(given) : std::string();
  }
  std::ifstream file(options.api_key_file);
  std::string key;
  if (!std::getline(file, key)) {
    return fail(
        errc::not_found,
        fmt::format("--api-key-file: cannot be read, or is empty (file={})", options.api_key_file));
  }
  const bool is_legal =
      std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  return is_legal ? result<std::string>(std::move(key))
                  : fail(errc::invalid_argument,
                         "--api-key-file: not a key: a line of visible characters");
}

result<usage_request> usage_of(const serve_options& options) {
  if (options.usage.empty()) {
    return is_url(options.target) ? usage_request::final : usage_request::continuous;
  }
  if (options.usage == "none") {
    return usage_request::none;
  }
  if (options.usage == "final") {
    return usage_request::final;
  }
  if (options.usage == "continuous") {
    return usage_request::continuous;
  }
  return fail(errc::invalid_argument, "--usage: none, final or continuous");
}

std::string trace_folder_of(const serve_options& options) {
  if (!options.traces.empty()) {
    return options.traces;
  }
  const char* data = std::getenv("VDIST_TEST_DATA");
  return (data != nullptr && *data != '\0' ? std::string(data) : "build/test-data") + "/traces";
}

struct served_facts {
  std::string model;
  std::optional<std::int32_t> max_model_len;
};

/// What GET /v1/models says of the first model, or of the one that is wanted.
result<served_facts> ask_models(const request_form& form, const serve_options& options) {
  served_facts found{.model = options.model, .max_model_len = {}};
  if (options.max_model_len > 0) {
    found.max_model_len = options.max_model_len;
  }
  VDIST_ASSIGN(const auto answer,
               fetch(form.to, get_of(form.to, "/v1/models", form.api_key), answer_time));
  const auto body = nlohmann::json::parse(answer.body, nullptr, false);
  const bool is_list = body.is_object() && body.contains("data") && body.at("data").is_array();
  if (answer.status != 200 || !is_list) {
    return found.model.empty() ? result<served_facts>(fail(
               errc::not_found,
               fmt::format("GET /v1/models: no list of models, name one by --model (status={})",
                           answer.status)))
                               : result<served_facts>(std::move(found));
  }
  for (const auto& one : body.at("data")) {
    const auto id = one.is_object() ? one.value("id", nlohmann::json()) : nlohmann::json();
    if (!id.is_string() || !(found.model.empty() || id.get<std::string>() == found.model)) {
      continue;
    }
    found.model = id.get<std::string>();
    const auto length = one.value("max_model_len", nlohmann::json());
    if (!found.max_model_len && length.is_number_integer()) {
      found.max_model_len = static_cast<std::int32_t>(std::clamp<std::int64_t>(
          length.get<std::int64_t>(), 0, std::numeric_limits<std::int32_t>::max()));
    }
    break;
  }
  if (found.model.empty()) {
    return fail(errc::not_found, "GET /v1/models: the list is empty, name a model by --model");
  }
  return found;
}

/// Tokens for prompt and answer. A chat's template takes some, and a word may be more than one.
std::int32_t room_for(std::int32_t max_model_len, bool is_chat) {
  constexpr std::int32_t chat_share = 16;
  return is_chat ? max_model_len - max_model_len / chat_share : max_model_len;
}

/// When requests come. Returns it in words.
std::string plan_arrivals(workload& load, const serve_options& options) {
  const auto bound =
      options.closed > 0 ? fmt::format(", at most {} at a time", options.closed) : std::string();
  if (options.open_rate > 0) {
    arrive_by_poisson(load, options.open_rate, options.seed);
    return std::isfinite(options.open_rate)
               ? fmt::format("open loop, {}/s (Poisson){}", options.open_rate, bound)
               : "open loop, all at once" + bound;
  }
  if (options.closed > 0) {
    return fmt::format("closed loop, {} at a time", options.closed);
  }
  if (load.has_times) {
    speed_up(load, options.speed);
    return fmt::format("open loop, the trace's times x {}", options.speed);
  }
  return "open loop, all at once";
}

class progress_line {
public:
  explicit progress_line(bool is_quiet)
      : is_quiet_(is_quiet), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

  void operator()(const load_progress& now) {
    constexpr double seconds_apart = 10; // of lines in a file
    if (is_quiet_ || (!is_terminal_ && now.seconds < told_ + seconds_apart)) {
      return;
    }
    told_ = now.seconds;
    const auto text = fmt::format("{:.0f} s: {} of {} sent, {} ok, {} not",
                                  now.seconds,
                                  now.begun,
                                  now.requests,
                                  now.ok,
                                  now.not_ok);
    std::fputs((is_terminal_ ? "\r\033[K" + text : "vdist-bench: " + text + "\n").c_str(), stderr);
    is_open_ = is_terminal_;
  }

  void end() {
    if (is_open_) {
      std::fputs("\n", stderr);
    }
  }

private:
  bool is_quiet_;
  bool is_terminal_;
  bool is_open_ = false;
  double told_ = 0;
};

std::chrono::milliseconds ms_of(double seconds) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::duration<double>(seconds));
}

load_options load_options_of(const serve_options& options,
                             const request_form& form,
                             const workload& load,
                             progress_line& line) {
  const bool is_closed = options.closed > 0 && options.open_rate == 0;
  return {.form = form,
          .is_open_loop = !is_closed,
          .in_flight_max =
              options.closed > 0
                  ? options.closed
                  : std::min(in_flight_default, std::max<std::size_t>(load.requests.size(), 1)),
          .timeout = ms_of(options.timeout_s),
          .idle_connections = options.idle,
          .hold = ms_of(options.hold_s),
          .stop = &is_stopped,
          .on_progress = [&line](const load_progress& now) {
            line(now);
          }};
}

result<void> write_json(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? result<void>()
              : fail(errc::io_failed, fmt::format("--json: cannot be written (file={})", path));
}

/// Prints and writes the figures.
result<figures> report(const serve_options& options,
                       const goals& wanted,
                       const report_head& head,
                       const load_record& record) {
  auto all =
      figures_of(record,
                 {.wanted = wanted,
                  .pace_ms = options.pace_ms > 0 ? std::optional(options.pace_ms) : std::nullopt});
  std::fputs(table_of(head, all).c_str(), stdout);
  std::fflush(stdout);
  if (!options.json.empty()) {
    VDIST_TRY(write_json(options.json, json_of(head, all)));
  }
  return all;
}

result<request_form> form_of(const serve_options& options) {
  request_form form;
  VDIST_ASSIGN(form.usage, usage_of(options));
  VDIST_ASSIGN(form.api_key, read_api_key(options));
  form.is_chat = options.is_chat;
  form.is_stream = !options.is_whole;
  form.ignores_end = !options.may_end;
  form.vocabulary = options.vocabulary;
  form.seed = options.seed;
  return form;
}

} // namespace

void add_options(CLI::App& sub, serve_options& into) {
  sub.add_option("target",
                 into.target,
                 "http://HOST:PORT of any OpenAI server, or a cluster.toml to start one")
      ->required();
  sub.add_option("--set", into.overrides, "of the cluster.toml: section.key=value")->take_all();
  sub.add_option("--workload", into.workload, workload_names());
  sub.add_option(
      "--traces", into.traces, "folder of the traces; default: traces/ of $VDIST_TEST_DATA");
  sub.add_option(
      "--open", into.open_rate, "open loop: requests per second, Poisson; inf: all at once");
  sub.add_option("--closed", into.closed, "closed loop: requests at a time; with --open a bound");
  sub.add_option("--speed", into.speed, "of a trace's own times, without --open and --closed");
  sub.add_option("--requests", into.requests, "how many; default: all of a trace, else 1000");
  sub.add_option("--seed", into.seed, "of lengths, arrivals and prompts");
  sub.add_flag(
      "--stream,!--no-stream",
      [&into](std::int64_t count) { into.is_whole = count < 0; },
      "answers as streams (default)");
  auto* chat = sub.add_flag("--chat", into.is_chat, "/v1/chat/completions, prompts of words");
  sub.add_flag(
         "--completions",
         [&into](std::int64_t count) { into.is_chat = count <= 0; },
         "/v1/completions, prompts of token ids (default)")
      ->excludes(chat);
  sub.add_flag(
      "--may-end", into.may_end, "answers may end before their planned length: no ignore_eos");
  sub.add_option(
      "--usage", into.usage, "who counts tokens: none (events), final, continuous (vdist, vLLM)");
  sub.add_option("--goodput", into.goodput, "ttft:MS,tpot:MS,e2el:MS that a good request keeps");
  sub.add_option("--pace",
                 into.pace_ms,
                 "ms of the device per token of a sequence: prints the ITL that serving adds");
  sub.add_option("--model", into.model, "default: the first of /v1/models");
  sub.add_option("--max-model-len", into.max_model_len, "tokens; default: what /v1/models says");
  sub.add_option("--vocabulary", into.vocabulary, "token ids of prompts are below");
  sub.add_option(
      "--api-key-file", into.api_key_file, "first line is the key; default: $OPENAI_API_KEY");
  sub.add_option("--timeout", into.timeout_s, "seconds of one request");
  sub.add_option("--idle", into.idle, "connections beside the load that ask for nothing");
  sub.add_option("--hold", into.hold_s, "seconds that the run lasts at least");
  sub.add_option("--json", into.json, "a file for the figures");
  sub.add_flag("--quiet", into.is_quiet, "no progress");
}

result<void> bench_serve(const serve_options& options) {
  VDIST_TRY(check(options));
  VDIST_ASSIGN(const auto wanted, parse_goals(options.goodput));
  VDIST_ASSIGN(auto form, form_of(options));
  VDIST_ASSIGN(auto load,
               make_workload({.name = options.workload,
                              .requests = options.requests,
                              .seed = options.seed,
                              .trace_folder = trace_folder_of(options)}));
  catch_signals();
  std::unique_ptr<own_server> server;
  if (is_url(options.target)) {
    VDIST_ASSIGN(form.to, parse_url(options.target));
  } else {
    VDIST_ASSIGN(
        server,
        own_server::start(
            {.config = options.target, .overrides = options.overrides, .stop = &is_stopped}));
    form.to = server->where();
    form.api_key = server->api_key().empty() ? form.api_key : server->api_key();
  }
  VDIST_ASSIGN(const auto facts, ask_models(form, options));
  form.model = facts.model;
  report_head head{.target =
                       fmt::format("http://{}:{}{}", form.to.host, form.to.port, form.to.prefix),
                   .model = facts.model,
                   .workload = load.name,
                   .seed = options.seed,
                   .is_stream = form.is_stream,
                   .lines_bad = load.lines_bad,
                   .max_model_len = facts.max_model_len};
  head.arrivals = plan_arrivals(load, options);
  if (facts.max_model_len) {
    head.cut = cut_to(load, room_for(*facts.max_model_len, options.is_chat));
  }
  progress_line line(options.is_quiet);
  auto run = load_options_of(options, form, load, line);
  run.before_close = [&server, &head] {
    if (server) {
      head.server = server->costs();
    }
  };
  VDIST_ASSIGN(const auto record, run_load(load, run));
  line.end();
  VDIST_ASSIGN(const auto all, report(options, wanted, head, record));
  if (is_stopped.load()) {
    return fail(errc::cancelled, "serve: interrupted; the figures are of what was done by then");
  }
  if (all.requests > 0 && all.count(outcome::ok) == 0) {
    return fail(errc::internal, "serve: not one request was answered with 200");
  }
  return {};
}

} // namespace vdist::bench::serve
