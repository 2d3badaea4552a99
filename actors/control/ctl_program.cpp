#include "actors/control/ctl_program.hpp"

#include "actors/control/control_client.hpp"
#include "actors/control/picture.hpp"
#include "actors/control/protocol.hpp"
#include "actors/control/rolling_restart.hpp"

#include "transport/socket/unique_fd.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <poll.h>
#include <random>
#include <sstream>
#include <sys/signalfd.h>

namespace vdist::control {

namespace {

using namespace std::chrono_literals;

/// Longer than the cluster's own deadlines.
constexpr auto reply_patience = 15s;
/// A control process that died is replaced within this, and looked for this often.
constexpr auto replacement_patience = 2s;
constexpr int replacement_interval_ms = 20;
constexpr double watch_seconds_max = 3600;
constexpr double deadline_seconds_max = 86400;
constexpr std::string_view clear_screen = "\x1b[H\x1b[2J";

enum class view : std::uint8_t { status, topology, ledger, drain, resume, restart, kill, faults };

struct ctl_options {
  view what = view::status;
  std::string cluster;             // empty: any
  std::int32_t pid = 0;            // 0: any
  std::vector<std::string> target; // of kill, drain, resume, restart
  bool drains = false;             // of restart
  double deadline_s = 60;          // of restart: for one part
  std::vector<std::string> order;  // of faults: what to do, and the words of a rule
  std::optional<double> watch_s;
  bool wants_json = false;
};

struct command_line {
  ctl_options options;
  std::optional<std::string> help; // --help was asked for: print this
};

void add_commands(CLI::App& app, ctl_options& options) {
  const auto add = [&app, &options](const char* name, const char* text, view what) {
    auto* command = app.add_subcommand(name, text)->fallthrough();
    command->callback([&options, what] { options.what = what; });
    return command;
  };
  add("status", "requests, replicas, workers and processes", view::status);
  add("topology", "a picture: replicas, stages, workers and their state", view::topology);
  add("ledger", "the newest requests that the ledger holds", view::ledger);
  add("drain",
      "accept no more requests; what was accepted finishes. With replica <number>: that one gets "
      "nothing new while another one can",
      view::drain)
      ->add_option(
          "target", options.target, "replica <number>; nothing: the whole cluster, for ever")
      ->expected(0, 2);
  add("resume", "give a drained replica requests again", view::resume)
      ->add_option("target", options.target, "replica <number>")
      ->required()
      ->expected(1, 2);
  auto* restart = add("restart",
                      "replace parts as planned, one after the other, while requests go on: worker "
                      "<rank>, replica <number>, node, all. New processes run the programs that "
                      "are on the disk",
                      view::restart);
  restart->add_option("target", options.target, "worker <rank>, replica <number>, node or all")
      ->required()
      ->expected(1, 2);
  restart->add_flag(
      "--drain", options.drains, "let the requests of a replica end before its workers do");
  restart->add_option("--deadline", options.deadline_s, "seconds for one part (60)")
      ->check(CLI::Range(1.0, deadline_seconds_max));
  add("kill", "end a process, or a worker that is a thread: worker <rank>, node, vault", view::kill)
      ->add_option("target", options.target, "worker <rank>, node or vault")
      ->required()
      ->expected(1, 2);
  add("faults", "fault rules: arm <point> [key=number …] <action>, list, clear", view::faults)
      ->add_option(
          "order", options.order, "arm worker.step_begin rank=1 step=40 kill9 | list | clear")
      ->required()
      ->expected(1, -1);
  app.require_subcommand(1);
}

/// Whether it is something else to ask twice.
bool changes(const ctl_options& options) {
  return options.what == view::kill || options.what == view::resume || options.what == view::restart
         || (options.what == view::faults && options.order.front() != "list");
}

result<command_line> parse(int argc, const char* const* argv) {
  command_line parsed;
  auto& options = parsed.options;
  CLI::App app("vdist-ctl: looks at a running cluster of this host and steers it", "vdist-ctl");
  app.add_option("--cluster", options.cluster, "cluster.name of the cluster that is meant");
  app.add_option("--pid", options.pid, "process id of its vdist-run")->check(CLI::PositiveNumber);
  app.add_flag("--json", options.wants_json, "print the reply as one line of JSON");
  double seconds = 1;
  auto* watch = app.add_option("--watch", seconds, "again every so many seconds (1), until Ctrl-C")
                    ->expected(0, 1)
                    ->default_str("1")
                    ->check(CLI::Range(0.1, watch_seconds_max));
  add_commands(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) { // --help
    std::ostringstream out;
    std::ostringstream errors;
    app.exit(done, out, errors);
    parsed.help = out.str();
    return parsed;
  } catch (const CLI::ParseError& cause) {
    return fail(errc::bad_configuration,
                fmt::format("command line: {} (see vdist-ctl --help)", cause.what()));
  }
  if (watch->count() > 0) {
    options.watch_s = seconds;
  }
  if (options.watch_s && changes(options)) {
    return fail(errc::bad_configuration,
                "command line: --watch does not go with resume, restart, kill, faults arm and "
                "faults clear");
  }
  if (options.what == view::restart && options.wants_json) {
    return fail(errc::bad_configuration, "command line: --json does not go with restart");
  }
  return parsed;
}

result<control_request> request_of(const ctl_options& options) {
  switch (options.what) {
  case view::status:
  case view::topology:
    return control_request{.what = control_request::kind::status};
  case view::ledger:
    return control_request{.what = control_request::kind::ledger};
  case view::drain:
  case view::resume: {
    control_request request{.what = options.what == view::drain ? control_request::kind::drain
                                                                : control_request::kind::resume};
    if (!options.target.empty()) {
      VDIST_ASSIGN(request.replica,
                   parse_replica(fmt::format("{}", fmt::join(options.target, " "))));
    }
    return request;
  }
  case view::restart:
    return fail(errc::internal, "restart: it is more than one request");
  case view::faults: {
    const auto rule =
        fmt::format("{}", fmt::join(options.order.begin() + 1, options.order.end(), " "));
    VDIST_ASSIGN(auto order, parse_order(options.order.front(), rule));
    return control_request{.what = control_request::kind::faults, .order = std::move(order)};
  }
  case view::kill:
    break;
  }
  const auto& words = options.target;
  VDIST_ASSIGN(const auto target, parse_target(fmt::format("{}", fmt::join(words, " "))));
  return control_request{.what = control_request::kind::kill, .target = target};
}

/// Whether the process that the user started still runs: then its control process may only be being replaced.
bool is_running(std::int32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto name_end = text.rfind(") ");
  return name_end != std::string::npos && text.compare(name_end + 2, 1, "Z") != 0;
}

/// Tries until it succeeds, fails for another reason than that nobody is there, or the control process of `pid` has had the
/// time to be replaced.
template <class Try>
auto while_replaced(std::int32_t pid, bool may_repeat, const Try& attempt) {
  const auto deadline = std::chrono::steady_clock::now() + replacement_patience;
  auto outcome = attempt();
  const auto is_away = [&outcome, may_repeat] {
    return !outcome
           && (outcome.error().code == errc::not_found
               || (may_repeat && outcome.error().code == errc::closed));
  };
  while (is_away() && is_running(pid) && std::chrono::steady_clock::now() < deadline) {
    ::poll(nullptr, 0, replacement_interval_ms);
    outcome = attempt();
  }
  return outcome;
}

/// The one cluster that is meant. Errors: not_found, invalid_argument (several; lists them).
result<cluster_address> choose_cluster(const ctl_options& options) {
  auto found = find_clusters();
  std::erase_if(found, [&options](const auto& one) {
    return (!options.cluster.empty() && one.name != clean_name(options.cluster))
           || (options.pid != 0 && one.pid != options.pid);
  });
  if (found.empty()) {
    const bool has_wish = !options.cluster.empty() || options.pid != 0;
    return fail(errc::not_found,
                has_wish ? "no such cluster runs on this host for this user"
                         : "no cluster runs on this host for this user");
  }
  if (found.size() > 1) {
    std::string text = "several clusters run here; choose one with --cluster or --pid:";
    for (const auto& one : found) {
      text += fmt::format("\n  --cluster {} --pid {}", one.name, one.pid);
    }
    return fail(errc::invalid_argument, text);
  }
  return found.front();
}

/// Asks and draws; remembers what rates need.
class viewer {
public:
  viewer(const ctl_options& options, paint how) : options_(options), how_(how) {}

  result<std::string> text_of(const std::string& reply) {
    switch (options_.what) {
    case view::status:
    case view::topology: {
      VDIST_ASSIGN(auto status, decode_status(reply));
      auto text = options_.what == view::status ? draw_status(status, earlier_, how_)
                                                : draw_topology(status, how_);
      earlier_ = std::move(status);
      return text;
    }
    case view::ledger: {
      VDIST_ASSIGN(const auto page, decode_ledger(reply));
      return draw_ledger(page);
    }
    case view::resume: {
      VDIST_ASSIGN(const auto progress, decode_drain(reply));
      return fmt::format("resumed: {} requests are under way there\n", progress.active);
    }
    case view::restart:
      break;
    case view::drain: {
      VDIST_ASSIGN(const auto progress, decode_drain(reply));
      return fmt::format("draining: {} requests are still to end\n", progress.active);
    }
    case view::kill: {
      VDIST_ASSIGN(const auto killed, decode_killed(reply));
      return fmt::format("killed: {}\n", killed);
    }
    case view::faults: {
      VDIST_ASSIGN(const auto page, decode_faults(reply));
      return draw_faults(page);
    }
    }
    return std::string();
  }

private:
  const ctl_options& options_;
  paint how_;
  earlier_status earlier_;
};

/// SIGINT and SIGTERM as something that a wait can end with.
socket::unique_fd catch_signals() {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGINT);
  sigaddset(&watched, SIGTERM);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  return socket::unique_fd(::signalfd(-1, &watched, SFD_CLOEXEC));
}

/// True: a signal came.
bool wait_for_signal(int signals, double seconds) {
  pollfd one{.fd = signals, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, static_cast<int>(seconds * 1000)) != 0;
}

/// Whether a reply that did not come is a good end: the cluster has ended while it was watched, or
/// because it lost the part that was killed. `is_first`: no reply has come before.
bool has_ended(const error& cause, const ctl_options& options, bool is_first) {
  const bool is_fatal = options.what == view::kill && options.target.front() != "worker";
  const bool may_end = options.watch_s || is_fatal;
  return cause.code == errc::closed ? may_end : cause.code == errc::not_found && !is_first;
}

result<void> show(const ctl_output& output, const std::string& text) {
  return output.write(text) ? result<void>() : fail(errc::io_failed, "stdout: cannot be written");
}

/// Once, or again and again.
result<void> look(const ctl_options& options, const ctl_output& output) {
  VDIST_ASSIGN(const auto request, request_of(options));
  VDIST_ASSIGN(const auto cluster,
               while_replaced(options.pid, false, [&options] { return choose_cluster(options); }));
  const auto signals = options.watch_s ? catch_signals() : socket::unique_fd();
  const bool redraws = options.watch_s && output.is_terminal && !options.wants_json;
  viewer viewer(options, output.is_terminal ? paint::colour : paint::plain);
  for (bool is_first = true;; is_first = false) {
    const auto reply = while_replaced(cluster.pid, !changes(options), [&cluster, &request] {
      return ask(cluster, encode(request), reply_patience);
    });
    if (!reply && !has_ended(reply.error(), options, is_first)) {
      return reply.error();
    }
    if (!reply) {
      return options.wants_json ? result<void>() : show(output, "the cluster has ended\n");
    }
    VDIST_ASSIGN(auto text, viewer.text_of(*reply));
    text = options.wants_json ? *reply + "\n" : text;
    VDIST_TRY(show(output, (redraws ? std::string(clear_screen) : "") + text));
    if (!options.watch_s || wait_for_signal(signals.get(), *options.watch_s)) {
      return {};
    }
  }
}

std::uint64_t draw_claim() {
  std::random_device random;
  return ((std::uint64_t{random()} << 32U) | random()) | 1U; // never 0
}

/// Part after part, until an interrupt.
result<void> roll(const ctl_options& options, const ctl_output& output) {
  const auto target = fmt::format("{}", fmt::join(options.target, " "));
  if (const auto wanted = parse_restart(target); !wanted && target != "all") {
    return wanted.error();
  }
  const auto signals = catch_signals();
  VDIST_ASSIGN(const auto cluster,
               while_replaced(options.pid, false, [&options] { return choose_cluster(options); }));
  const rolling_settings settings{.target = target,
                                  .drains = options.drains,
                                  .part_deadline = std::chrono::duration_cast<duration>(
                                      std::chrono::duration<double>(options.deadline_s)),
                                  .claim = draw_claim()};
  const system_clock time;
  const auto ask_cluster = [&cluster](const control_request& request) -> result<std::string> {
    auto reply = ask(cluster, encode(request), reply_patience);
    if (!reply && !is_running(cluster.pid)) { // else its node is only being replaced
      return fail(errc::io_failed, "restart: the cluster has ended");
    }
    return reply;
  };
  const auto rest = [&signals](duration patience) {
    return wait_for_signal(signals.get(), std::chrono::duration<double>(patience).count());
  };
  return run_rolling(settings,
                     {.ask = ask_cluster, .rest = rest, .write = output.write, .time = &time});
}

} // namespace

int run_ctl(int argc, const char* const* argv, const ctl_output& output) {
  const auto parsed = parse(argc, argv);
  if (parsed && parsed->help) {
    return output.write(*parsed->help) ? 0 : exit_code(errc::io_failed);
  }
  const bool is_restart = parsed && parsed->options.what == view::restart;
  const auto done = !parsed      ? result<void>(parsed.error())
                    : is_restart ? roll(parsed->options, output)
                                 : look(parsed->options, output);
  if (!done) {
    std::fputs(fmt::format("vdist-ctl: {}\n", done.error().context).c_str(), stderr);
    return exit_code(done.error().code);
  }
  return 0;
}

} // namespace vdist::control
