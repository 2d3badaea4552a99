#include "actors/run/fault_run.hpp"

#include "actors/run/nemesis.hpp"
#include "actors/run/time_line.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace vdist::actors {

namespace {

/// Seeds of nemeses lie apart from those of rules.
constexpr std::uint64_t nemesis_seed = 0x6e656d6573697300ULL;

std::string undisturbed_of(const std::string& output) {
  return output + ".undisturbed";
}

void say(const fault_run_options& options, const std::string& text) {
  if (!options.is_quiet) {
    std::fputs(text.c_str(), stderr);
  }
}

/// Whole, or an error.
result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    return fail(errc::io_failed,
                fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
  }
  return {};
}

control::kill_target target_of(config::nemesis_choice::target what, std::int32_t rank) {
  using kind = control::kill_target::kind;
  switch (what) {
  case config::nemesis_choice::target::node:
    return {.what = kind::node};
  case config::nemesis_choice::target::vault:
    return {.what = kind::vault};
  default:
    return {.what = kind::worker, .rank = rank};
  }
}

nemesis_field field_of(engine& engine) {
  const auto& layout = *engine.setup().layout;
  nemesis_field field{.ranks = layout.world(),
                      .ranks_per_replica = layout.world() / layout.sizes().data};
  if (engine.has_processes()) {
    field.kill = [&engine](config::nemesis_choice::target what, std::int32_t rank) {
      return engine.kill(target_of(what, rank)).has_value();
    };
  }
  return field;
}

using nemeses = std::vector<std::unique_ptr<nemesis>>;

/// The rules of the nemeses lie behind those of the script.
nemeses start_nemeses(engine& engine, const config::fault_script& script) {
  nemeses all;
  for (std::size_t i = 0; i < script.nemeses.size(); ++i) {
    all.push_back(std::make_unique<nemesis>(script.nemeses[i],
                                            field_of(engine),
                                            script.seed + nemesis_seed + i,
                                            engine.points(),
                                            script.rules.size() + i));
  }
  return all;
}

/// With the names that reports use: the rule of a nemesis is only its newest strike.
std::vector<armed_failpoint> armed_rules(engine& engine, const config::fault_script& script) {
  auto armed = engine.points().list();
  for (std::size_t i = 0; i < script.nemeses.size(); ++i) {
    if (const auto index = script.rules.size() + i; index < armed.size()) {
      armed[index].rule.point = nemesis::reserved_rule().point;
    }
  }
  return armed;
}

/// Steps that a replica has made so far, in the mean: the undisturbed run counts, and scripts mean those of the run with
/// faults.
std::int64_t steps_so_far(engine& engine) {
  return static_cast<std::int64_t>(engine.status().steps) / engine.setup().layout->sizes().data;
}

result<void> arm(engine& engine, const config::fault_script& script, std::int64_t first_step) {
  engine.points().clear();
  engine.trace().start(system_clock().now(), first_step);
  for (auto rule : script.rules) {
    if (rule.step) {
      *rule.step += std::min(first_step, std::numeric_limits<std::int64_t>::max() - *rule.step);
    }
    VDIST_TRY(engine.points().arm(rule));
  }
  for (std::size_t i = 0; i < script.nemeses.size(); ++i) {
    VDIST_TRY(engine.points().arm(nemesis::reserved_rule()));
  }
  return {};
}

result<void> remove_earlier(const std::string& file) {
  std::error_code code;
  std::filesystem::remove(file, code);
  return code
             ? fail(errc::io_failed, fmt::format("{}: cannot be removed: {}", file, code.message()))
             : result<void>();
}

/// One run; a batch that was drained has not seen all of its input.
result<void> do_pass(const fault_work& work, const fault_pass& pass, bool is_verified) {
  VDIST_ASSIGN(const auto summary, work(pass));
  if (is_verified && summary && summary->is_drained) {
    return fail(errc::cancelled, "faults: drained before the end of the input: nothing to compare");
  }
  return {};
}

std::string mark_text(const fault_row& row) {
  std::string text = row.action + " at " + row.point;
  if (row.rank >= 0) {
    text += fmt::format(", rank {}", row.rank);
  }
  if (row.step >= 0) {
    text += fmt::format(", step {}", row.step);
  }
  return row.stall_ms ? text + fmt::format(" — {:.1f} ms", *row.stall_ms) : text;
}

time_line time_line_of(const fault_report& report, const fault_record& record) {
  time_line line{.title = "vdist under " + std::filesystem::path(report.script).filename().string(),
                 .bucket_ms = static_cast<double>(token_bucket_ns) / 1e6,
                 .tokens = record.tokens};
  line.note = fmt::format("{} injections, {} worker restarts", report.hits, report.restarts);
  if (report.comparison) {
    line.note += fmt::format("; {} streams: {} lost, {} altered, {} doubled",
                             report.comparison->compared,
                             report.comparison->lost,
                             report.comparison->altered,
                             report.comparison->doubled);
  }
  for (const auto& row : report.rows) {
    line.marks.push_back({row.at_ms, row.stall_ms, mark_text(row)});
  }
  return line;
}

/// Both files, as far as they can be written.
result<void> write_reports(const fault_run_options& options,
                           const fault_report& report,
                           const fault_record& record) {
  if (options.reports.empty()) {
    return {};
  }
  VDIST_TRY(write_file(options.reports + ".json", to_json(report)));
  VDIST_TRY(write_file(options.reports + ".svg", draw_time_line(time_line_of(report, record))));
  say(options, fmt::format("  report     {0}.json, {0}.svg\n", options.reports));
  return {};
}

/// Tokens that were taken up or computed again before the rules were armed. A run that goes on behind a dead control process
/// counts from the start of the cluster: nothing was taken up before its rules.
struct kept_before {
  std::uint64_t restored = 0;
  std::uint64_t again = 0;
};

/// As the script counts: the first step of the run is number 1.
std::vector<failpoint_hit> counted_from(std::int64_t first_step, std::vector<failpoint_hit> hits) {
  for (auto& hit : hits) {
    hit.step -= hit.step > first_step ? first_step : 0;
  }
  return hits;
}

/// What the rules did so far, and what became of the streams.
result<fault_report> make_report(engine& engine,
                                 const fault_run_options& options,
                                 std::span<const armed_failpoint> armed,
                                 const fault_record& record,
                                 const kept_before& before,
                                 bool is_whole) { // it came to its end
  const auto status = engine.status();
  fault_report report{
      .script = options.script_name,
      .rows = rows_of(counted_from(record.first_step, engine.points().log()), armed, record),
      .restarts = status.restarts,
      .tokens_restored = status.tokens_restored - before.restored,
      .prefilled_again = status.tokens_computed_again - before.again};
  for (const auto& one : armed) {
    report.hits += one.hits;
  }
  if (options.is_verified && is_whole) {
    VDIST_ASSIGN(report.comparison,
                 api::compare_results(undisturbed_of(options.output), options.output));
  }
  // Rules that an operator armed meanwhile lie behind those of the script.
  const auto of_script = options.script.rules.size() + options.script.nemeses.size();
  report.failures =
      failures_of(report, options.script.expect, armed.first(std::min(of_script, armed.size())));
  if (armed.size() < of_script) {
    report.failures.emplace_back("the rules were cleared while the work went on");
  }
  return report;
}

result<void> verdict(const fault_run_options& options, const fault_report& report) {
  if (!report.failures.empty()) {
    return fail(errc::internal,
                fmt::format("faults: {}{}",
                            report.failures.front(),
                            report.failures.size() > 1
                                ? fmt::format(" (and {} more)", report.failures.size() - 1)
                                : ""));
  }
  const bool is_compared = report.comparison.has_value();
  log::info("faults: {} rules, all hit (worker restarts={}{})",
            options.script.rules.size() + options.script.nemeses.size(),
            report.restarts,
            is_compared ? " streams are the same" : "");
  return {};
}

} // namespace

result<void>
run_with_faults(engine& engine, const fault_run_options& options, const fault_work& work) {
  const bool is_resumed = engine.points().is_armed(); // F-3
  fault_pass pass{.output = options.output, .seed_base = {}};
  if (options.is_verified) {
    pass.seed_base = options.script.seed;
  }
  if (options.is_verified && !is_resumed) { // F-2
    auto undisturbed = pass;
    undisturbed.output = undisturbed_of(options.output);
    VDIST_TRY(remove_earlier(undisturbed.output));
    VDIST_TRY(remove_earlier(options.output));
    say(options, "  verify     the undisturbed run\n");
    VDIST_TRY(do_pass(work, undisturbed, true));
    say(options, "  verify     the run with faults\n");
  }
  kept_before before;
  if (!is_resumed) {
    const auto now = engine.status();
    before = {.restored = now.tokens_restored, .again = now.tokens_computed_again};
    VDIST_TRY(arm(engine, options.script, steps_so_far(engine)));
  }
  auto striking = start_nemeses(engine, options.script);
  const auto done = do_pass(work, pass, options.is_verified);
  striking.clear();
  const auto armed = armed_rules(engine, options.script);
  const auto record = engine.trace().read();
  VDIST_ASSIGN(const auto report,
               make_report(engine, options, armed, record, before, done.has_value()));
  const auto written = write_reports(options, report, record);
  say(options, to_table(report));
  engine.points().clear(); // what hangs goes on
  VDIST_TRY(done);
  VDIST_TRY(written);
  return verdict(options, report);
}

} // namespace vdist::actors
