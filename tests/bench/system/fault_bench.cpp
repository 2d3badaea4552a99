#include "tests/bench/system/fault_bench.hpp"

#include "tests/bench/system/stream_stall.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <thread>

namespace vdist::bench {

namespace {

using nlohmann::ordered_json;

/// The trace of one run holds the moments of some hundred recoveries.
constexpr std::int32_t injections_per_run = 200;
/// Steps between two injections, in the mean: a recovery has come to its end long before the next one.
constexpr std::int32_t steps_apart = 100;
/// Sequences at once, and what each of them generates.
constexpr std::int32_t sequences = 4;
constexpr std::int32_t tokens = 200;

/// Where the stall is seen.
enum class view : std::uint8_t {
  report,           // of vdist-run, with every part of the recovery
  report_of_deaths, // the same; the point is reached only when a worker dies
  reader,           // of a stream of an engine in this process: no epoch ends
  output,           // of vdist-run: everybody is started again
};

struct fault_kind {
  std::string_view name;
  view from = view::report;
  std::string_view point{};
  std::string_view action{};
  /// Percent of the matches of the point, so that the injections are steps_apart.
  double chance = 0;
};

constexpr double per_step = 100.0 / steps_apart;

constexpr std::array kinds{
    // Several workers reach their point in a step.
    fault_kind{"worker", view::report, "worker.step_begin", "kill9", per_step / 4},
    fault_kind{"stop", view::report, "worker.step_begin", "stop(60000)", per_step / 4},
    fault_kind{"stuck", view::report, "worker.step_begin", "hang", per_step / 4},
    // Every successor in its first step, of which nobody knows how long it takes.
    fault_kind{"stuck_again", view::report, "worker.step_begin rank=1", "hang", 100},
    fault_kind{"node", view::report, "executor.before_send", "kill9", per_step},
    fault_kind{"executor", view::report, "executor.before_send", "kill_actor", per_step},
    fault_kind{"stage", view::report_of_deaths, "stage.event", "kill_actor", 15},
    fault_kind{"supervisor", view::report_of_deaths, "supervisor.event", "kill_actor", 15},
    fault_kind{"router", view::reader, "router.tokens", "kill_actor"},
    fault_kind{"scheduler", view::reader, "scheduler.add", "kill_actor"},
    fault_kind{"vault", view::output},
};

constexpr std::array columns{"detection",
                             "fence",
                             "quiesce",
                             "respawn",
                             "attach",
                             "rebuild",
                             "first_token",
                             "stall",
                             "spare"};

using figures = std::map<std::string, std::vector<double>>; // milliseconds, by column

struct measured {
  figures parts;
  std::optional<std::uint64_t> prefilled_again; // tokens; absent: nobody reports them
};

std::string rule(std::string_view text) {
  return fmt::format("[[fault]]\nrule = \"{}\"\n", text);
}

std::string script_of(const fault_kind& kind, std::int32_t injections, std::uint64_t seed) {
  std::string text = fmt::format("seed = {}\n", seed);
  text += rule(fmt::format("{} {:.2f}%{}*{}", kind.point, kind.chance, injections, kind.action));
  if (kind.from == view::report_of_deaths) {
    text += rule(fmt::format("worker.step_begin {:.2f}%{}*kill9", per_step / 4, injections));
  }
  return text;
}

/// The injections come before the input ends, mostly: steps are also computed again.
std::int32_t requests_for(std::int32_t injections) {
  return std::max(injections * steps_apart * sequences / tokens * 3 / 4, 16);
}

std::string input_of(std::int32_t requests) {
  std::string lines;
  for (std::int32_t i = 0; i < requests; ++i) {
    lines += ordered_json{{"prompt", "Once upon a time"},
                          {"max_tokens", tokens},
                          {"ignore_eos", true},
                          {"temperature", i % 2 == 0 ? 0.0 : 0.9},
                          {"seed", i}}
                 .dump()
             + "\n";
  }
  return lines;
}

/// Adds what a report says of the injections, which are those of the first rule.
void gather(const ordered_json& report, measured& all) {
  all.prefilled_again =
      all.prefilled_again.value_or(0) + report.at("tokens_prefilled_again").get<std::uint64_t>();
  for (const auto& row : report.at("rows")) {
    if (row.at("fault") != 1) {
      continue;
    }
    for (const std::string column : columns) {
      const auto& value = row.at(column + "_ms");
      if (value.is_number()) {
        all.parts[column].push_back(value.get<double>());
      }
    }
  }
}

result<void> run_once(const fault_bench_options& options,
                      const fault_kind& kind,
                      std::int32_t injections,
                      std::uint64_t seed,
                      measured& all) {
  const testing::temporary_folder folder;
  const auto output = (folder.path() / "out.jsonl").string();
  VDIST_ASSIGN(const auto program_file, find_vdist_run());
  std::vector<std::string> command{
      program_file,
      options.config,
      "--input",
      folder.write("in.jsonl", input_of(requests_for(injections))).string(),
      "--output",
      output,
      "--faults",
      folder.write("faults.toml", script_of(kind, injections, seed)).string(),
      "--verify",
      "--quiet"};
  std::vector<std::string> settings{fmt::format("scheduler.max_sequences={}", sequences),
                                    "fault_tolerance.max_restarts=10000",
                                    "fault_tolerance.restart_window_s=1",
                                    "fault_tolerance.restart_backoff_ms=0",
                                    "fault_tolerance.poison_strikes=0", // no request is to blame
                                    "log.level=error"};
  settings.insert(settings.end(), options.overrides.begin(), options.overrides.end());
  for (const auto& setting : settings) {
    command.insert(command.end(), {"--set", setting});
  }
  testing::process program(command, folder.path(), std::filesystem::current_path().string());
  const auto done = program.wait();
  std::ifstream file(output + ".faults.json");
  const auto report = ordered_json::parse(file, nullptr, false);
  if (done.exit_code != 0 || report.is_discarded()) {
    return fail(errc::internal,
                fmt::format("bench: vdist-run ended with {}: {}", done.exit_code, done.err));
  }
  gather(report, all);
  return {};
}

result<void> measure(const fault_bench_options& options, const fault_kind& kind, measured& all) {
  const stream_stall_options streams{options.config, options.overrides, options.injections};
  if (kind.from == view::reader) {
    VDIST_ASSIGN(all.parts["stall"],
                 stalls_of_actor(streams, fmt::format("{} {}", kind.point, kind.action)));
  } else if (kind.from == view::output) {
    VDIST_ASSIGN(all.parts["stall"], stalls_of_vault(streams));
  } else {
    std::uint64_t seed = 1;
    for (auto left = std::max(options.injections, 1); left > 0; left -= injections_per_run) {
      VDIST_TRY(run_once(options, kind, std::min(left, injections_per_run), seed++, all));
    }
  }
  return {};
}

/// Nearest rank.
double percentile(std::span<const double> sorted, double share) {
  const auto place =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<std::size_t>(place, 1) - 1];
}

ordered_json summary_of(figures& all) {
  auto summary = ordered_json::object();
  for (const std::string column : columns) {
    auto& values = all[column];
    if (values.empty()) {
      continue;
    }
    std::sort(values.begin(), values.end());
    summary[column] = {{"n", values.size()},
                       {"p50_ms", percentile(values, 0.5)},
                       {"p99_ms", percentile(values, 0.99)},
                       {"max_ms", values.back()}};
  }
  return summary;
}

void print_table(const fault_kind& kind,
                 std::size_t injections,
                 const ordered_json& summary,
                 const std::optional<std::uint64_t>& prefilled_again) {
  fmt::print("faults      {:<12} {} injections, streams as without\n", kind.name, injections);
  fmt::print("faults      {:<12} {:>6} {:>10} {:>10} {:>10}\n", "ms", "n", "p50", "p99", "max");
  for (const auto& [name, one] : summary.items()) {
    fmt::print("faults      {:<12} {:>6} {:>10.2f} {:>10.2f} {:>10.2f}\n",
               name,
               one.at("n").get<std::size_t>(),
               one.at("p50_ms").get<double>(),
               one.at("p99_ms").get<double>(),
               one.at("max_ms").get<double>());
  }
  if (prefilled_again) {
    fmt::print("faults      tokens prefilled again: {}\n", *prefilled_again);
  }
  std::fflush(stdout);
}

result<void> write_json(const fault_bench_options& options,
                        std::size_t injections,
                        const ordered_json& summary,
                        const std::optional<std::uint64_t>& prefilled_again) {
  if (options.json.empty()) {
    return {};
  }
  std::ofstream file(options.json, std::ios::trunc);
  file << ordered_json{{"kind", options.kind},
                       {"config", options.config},
                       {"injections", injections},
                       {"tokens_prefilled_again",
                        prefilled_again ? ordered_json(*prefilled_again) : ordered_json()},
                       {"parts", summary}}
              .dump(2)
       << "\n";
  file.close();
  return file ? result<void>() : fail(errc::io_failed, options.json + ": cannot be written");
}

} // namespace

std::string fault_kinds() {
  std::string names;
  for (const auto& kind : kinds) {
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  return names;
}

result<void> bench_faults(const fault_bench_options& options) {
  const auto* kind = std::find_if(
      kinds.begin(), kinds.end(), [&options](const auto& one) { return one.name == options.kind; });
  if (kind == kinds.end()) {
    return fail(
        errc::invalid_argument,
        fmt::format("bench: no such kind of fault: {}; legal: {}", options.kind, fault_kinds()));
  }
  measured all;
  VDIST_TRY(measure(options, *kind, all));
  const auto injections = all.parts["stall"].size();
  const auto summary = summary_of(all.parts);
  print_table(*kind, injections, summary, all.prefilled_again);
  return write_json(options, injections, summary, all.prefilled_again);
}

} // namespace vdist::bench
