#include "actors/run/fault_report.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::actors {

namespace {

using kind = fault_moment_kind;
using act = failpoint_action;

constexpr double ns_per_ms = 1e6;

double ms_between(std::int64_t from, std::int64_t to) {
  return static_cast<double>(to - from) / ns_per_ms;
}

/// Whether the action always costs a recovery: somebody dies of it, or reports that it failed.
bool is_certain(act action) {
  return action == act::throw_error || action == act::kill_actor || action == act::exit
         || action == act::kill9 || action == act::segv || action == act::oom
         || action == act::device_error;
}

/// The moments of one recovery, as far as they are known.
struct recovery_times {
  std::optional<std::int64_t> detected;
  std::optional<std::int64_t> fenced;
  std::optional<std::int64_t> quiesced; // the last survivor
  std::optional<std::int64_t> spawned;  // the last replacement
  std::optional<std::int64_t> attached; // the last replacement
  std::optional<std::int64_t> begun;
  std::optional<std::int64_t> first_tokens;
  bool is_interrupted = false; // by the next fault, between begun and first_tokens
};

/// R-1. Moments behind the hit up to the first tokens behind the first epoch that begins.
recovery_times recovery_after(const failpoint_hit& hit, std::span<const fault_moment> moments) {
  recovery_times times;
  for (const auto& moment : moments) {
    const bool is_other = hit.replica >= 0 && moment.replica != hit.replica;
    if (moment.at_ns < hit.at_ns || is_other) {
      continue;
    }
    if (times.begun) {
      times.is_interrupted = times.is_interrupted || moment.what == kind::detected;
      if (moment.what == kind::first_tokens) {
        times.first_tokens = moment.at_ns;
        break;
      }
      continue;
    }
    switch (moment.what) {
    case kind::detected:
      times.detected = times.detected.value_or(moment.at_ns);
      break;
    case kind::fenced:
      times.fenced = times.fenced.value_or(moment.at_ns);
      break;
    case kind::quiesced:
      times.quiesced = moment.at_ns;
      break;
    case kind::spawned:
      times.spawned = moment.at_ns;
      break;
    case kind::attached:
      times.attached = moment.at_ns;
      break;
    case kind::begun:
      times.begun = moment.at_ns;
      break;
    case kind::given_up:
      return times;
    case kind::first_tokens: // of the epoch before
    case kind::spare_ready:
      break;
    }
  }
  return times;
}

std::optional<double> part(std::optional<std::int64_t> from, std::optional<std::int64_t> to) {
  return from && to && *to >= *from ? std::optional(ms_between(*from, *to)) : std::nullopt;
}

void set_times(fault_row& row, std::int64_t hit_ns, const recovery_times& times) {
  row.detection_ms = part(hit_ns, times.detected ? times.detected : times.fenced);
  row.fence_ms = part(times.detected, times.fenced);
  row.quiesce_ms = part(times.fenced, times.quiesced);
  row.respawn_ms = part(times.fenced, times.spawned);
  row.attach_ms = part(times.spawned, times.attached);
  row.rebuild_ms = part(std::max(times.quiesced, times.attached), times.begun);
  row.first_token_ms = times.is_interrupted ? std::nullopt : part(times.begun, times.first_tokens);
  row.stall_ms = part(hit_ns, times.first_tokens);
}

/// When the worker had a spare again that was ready, behind the recovery.
std::optional<std::int64_t> spare_after(const failpoint_hit& hit,
                                        const recovery_times& times,
                                        std::span<const fault_moment> moments) {
  const auto found =
      std::find_if(moments.begin(), moments.end(), [&hit, &times](const auto& moment) {
        return moment.what == kind::spare_ready && times.begun && moment.at_ns >= *times.begun
               && moment.replica == hit.replica && moment.slot == hit.rank;
      });
  return found == moments.end() ? std::nullopt : std::optional(found->at_ns);
}

/// R-2. Whether another fault came between the hit and the recovery that would be its own.
bool belongs_to_another(const failpoint_hit& hit,
                        std::span<const failpoint_hit> hits,
                        const recovery_times& times) {
  if (is_certain(hit.action) && hit.replica >= 0) {
    return false;
  }
  const auto recovery = times.detected ? times.detected : times.fenced;
  return !recovery || std::any_of(hits.begin(), hits.end(), [&hit, recovery](const auto& other) {
    const bool is_near = hit.replica < 0 || other.replica == hit.replica;
    return is_near && other.at_ns > hit.at_ns && other.at_ns <= *recovery;
  });
}

std::string cell(const std::optional<double>& ms) {
  return ms ? fmt::format("{:.1f}", *ms) : "–";
}

/// "-" for what does not apply.
std::string number(std::int64_t value) {
  return value < 0 ? "–" : std::to_string(value);
}

nlohmann::ordered_json json_of(const std::optional<double>& ms) {
  return ms ? nlohmann::ordered_json(*ms) : nlohmann::ordered_json();
}

std::string plural(std::uint64_t count, std::string_view word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

std::string row_text(const fault_row& row) {
  return fmt::format("  {:>3}  {:<11} {:<22} {:>3} {:>4} {:>7} {:>9.1f}  {:>9} {:>7} {:>8} {:>8} "
                     "{:>7} {:>8} {:>11} {:>8}\n",
                     row.fault,
                     row.action,
                     row.point,
                     number(row.replica),
                     number(row.rank),
                     number(row.step),
                     row.at_ms,
                     cell(row.detection_ms),
                     cell(row.fence_ms),
                     cell(row.quiesce_ms),
                     cell(row.respawn_ms),
                     cell(row.attach_ms),
                     cell(row.rebuild_ms),
                     cell(row.first_token_ms),
                     cell(row.stall_ms));
}

/// More rows of a nemesis than anybody reads stay in the JSON.
constexpr std::size_t table_rows_max = 60;

std::string verdict_of(const fault_report& report) {
  std::string text;
  if (report.comparison) {
    const auto& found = *report.comparison;
    text = fmt::format("{} lost, {} altered, {} doubled of {}; ",
                       found.lost,
                       found.altered,
                       found.doubled,
                       plural(found.compared, "stream"));
  }
  return text
         + fmt::format("{}, {}; tokens prefilled again: {}",
                       plural(report.hits, "injection"),
                       plural(report.restarts, "worker restart"),
                       report.prefilled_again);
}

} // namespace

std::vector<fault_row> rows_of(std::span<const failpoint_hit> hits,
                               std::span<const armed_failpoint> armed,
                               const fault_record& record) {
  std::vector<fault_row> rows;
  for (const auto& hit : hits) {
    fault_row row{.fault = hit.rule + std::size_t{1},
                  .action = std::string(to_string(hit.action)),
                  .point = hit.rule < armed.size() ? armed[hit.rule].rule.point : "",
                  .replica = hit.replica,
                  .rank = hit.rank,
                  .step = hit.step,
                  .at_ms = ms_between(record.started_ns, hit.at_ns)};
    const auto times = recovery_after(hit, record.moments);
    if (!belongs_to_another(hit, hits, times)) {
      set_times(row, hit.at_ns, times);
      row.spare_ms = part(hit.at_ns, spare_after(hit, times, record.moments));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<std::string> failures_of(const fault_report& report,
                                     const config::fault_expectations& expect,
                                     std::span<const armed_failpoint> armed) {
  std::vector<std::string> failures;
  for (std::size_t i = 0; i < armed.size(); ++i) {
    if (armed[i].hits == 0) {
      failures.push_back(fmt::format("fault {} at {} was never hit", i + 1, armed[i].rule.point));
    }
  }
  const auto compare =
      [&failures](std::string_view what, std::uint64_t is, std::uint64_t expected) {
        if (is != expected) {
          failures.push_back(fmt::format("{} streams {}, expected {}", is, what, expected));
        }
      };
  if (report.comparison) {
    compare("lost", report.comparison->lost, expect.lost);
    compare("altered", report.comparison->altered, expect.altered);
    compare("doubled", report.comparison->doubled, expect.doubled);
  }
  for (const auto& row : report.rows) {
    if (expect.stall_ms_max && row.stall_ms
        && *row.stall_ms > static_cast<double>(*expect.stall_ms_max)) {
      failures.push_back(fmt::format("fault {}: a stall of {:.1f} ms, expected {} ms at most",
                                     row.fault,
                                     *row.stall_ms,
                                     *expect.stall_ms_max));
    }
  }
  if (expect.restarts_max && report.restarts > static_cast<std::uint64_t>(*expect.restarts_max)) {
    failures.push_back(fmt::format(
        "{} worker restarts, expected {} at most", report.restarts, *expect.restarts_max));
  }
  if (expect.prefilled_again_max
      && report.prefilled_again > static_cast<std::uint64_t>(*expect.prefilled_again_max)) {
    failures.push_back(fmt::format("{} tokens prefilled again, expected {} at most",
                                   report.prefilled_again,
                                   *expect.prefilled_again_max));
  }
  return failures;
}

std::string to_table(const fault_report& report) {
  std::string text =
      fmt::format("  {:>3}  {:<11} {:<22} {:>3} {:>4} {:>7} {:>9}  {:>9} {:>7} {:>8} {:>8} {:>7} "
                  "{:>8} {:>11} {:>8}\n",
                  "#",
                  "action",
                  "point",
                  "rep",
                  "rank",
                  "step",
                  "at ms",
                  "detection",
                  "fence",
                  "quiesce",
                  "respawn",
                  "attach",
                  "rebuild",
                  "first token",
                  "stall");
  const auto shown = std::min(report.rows.size(), table_rows_max);
  for (std::size_t i = 0; i < shown; ++i) {
    text += row_text(report.rows[i]);
  }
  if (shown < report.hits) {
    text += fmt::format("  … and {} more\n", report.hits - shown);
  }
  std::optional<double> slowest;
  for (const auto& row : report.rows) {
    slowest = std::max(slowest, row.spare_ms);
  }
  if (slowest) {
    text += fmt::format("  spares     ready again {:.1f} ms after a fault at most\n", *slowest);
  }
  if (report.comparison) {
    for (const auto& example : report.comparison->examples) {
      text += fmt::format("  differs    {}\n", example);
    }
  }
  for (const auto& failure : report.failures) {
    text += fmt::format("  failed     {}\n", failure);
  }
  return text + fmt::format("  faults     {}\n", verdict_of(report));
}

std::string to_json(const fault_report& report) {
  using nlohmann::ordered_json;
  ordered_json object{{"script", report.script}, {"passed", report.failures.empty()}};
  object["injections"] = report.hits;
  object["worker_restarts"] = report.restarts;
  object["tokens_restored"] = report.tokens_restored;
  object["tokens_prefilled_again"] = report.prefilled_again;
  object["failures"] = report.failures;
  if (report.comparison) {
    const auto& found = *report.comparison;
    object["streams"] = {{"compared", found.compared},
                         {"lost", found.lost},
                         {"altered", found.altered},
                         {"doubled", found.doubled},
                         {"examples", found.examples}};
  }
  object["rows"] = ordered_json::array();
  for (const auto& row : report.rows) {
    object["rows"].push_back({{"fault", row.fault},
                              {"action", row.action},
                              {"point", row.point},
                              {"replica", row.replica},
                              {"rank", row.rank},
                              {"step", row.step},
                              {"at_ms", row.at_ms},
                              {"detection_ms", json_of(row.detection_ms)},
                              {"fence_ms", json_of(row.fence_ms)},
                              {"quiesce_ms", json_of(row.quiesce_ms)},
                              {"respawn_ms", json_of(row.respawn_ms)},
                              {"attach_ms", json_of(row.attach_ms)},
                              {"rebuild_ms", json_of(row.rebuild_ms)},
                              {"first_token_ms", json_of(row.first_token_ms)},
                              {"stall_ms", json_of(row.stall_ms)},
                              {"spare_ms", json_of(row.spare_ms)}});
  }
  return object.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

} // namespace vdist::actors
