#include "tests/bench/serve/report.hpp"

#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

namespace vdist::bench::serve {

namespace {

using json = nlohmann::ordered_json;

class table {
public:
  void line(std::string_view name, const std::string& value) {
    fmt::format_to(std::back_inserter(text_), "{:<34} {}\n", name, value);
  }

  void times(std::string_view name, const spread& of) {
    if (of.n > 0) {
      fmt::format_to(std::back_inserter(text_),
                     "{:<34} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f} {:>9}\n",
                     name,
                     of.mean,
                     of.p50,
                     of.p90,
                     of.p99,
                     of.max,
                     of.n);
    }
  }

  void title_of_times() {
    fmt::format_to(std::back_inserter(text_),
                   "{:<34} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9}\n",
                   "milliseconds",
                   "mean",
                   "p50",
                   "p90",
                   "p99",
                   "max",
                   "n");
  }

  [[nodiscard]] std::string text() && { return std::move(text_); }

private:
  std::string text_;
};

void add_server(table& out, const report_head& head, double seconds) {
  for (const auto& one : head.server) {
    out.line(fmt::format("{} (pid {})", one.name, one.pid),
             fmt::format("{:.1f} MiB resident (peak {:.1f}), {:.2f} s of CPU ({:.1f} % of a core)",
                         one.memory_mib,
                         one.memory_peak_mib,
                         one.cpu_seconds,
                         seconds > 0 ? 100 * one.cpu_seconds / seconds : 0));
  }
}

void add_counts(table& out, const report_head& head, const figures& all) {
  out.line("requests ok / refused / failed",
           fmt::format("{} / {} / {}  (of {})",
                       all.count(outcome::ok),
                       all.count(outcome::refused),
                       all.failed(),
                       all.requests));
  std::string statuses;
  for (const auto& [status, count] : all.by_status) {
    statuses += fmt::format("{}{}: {}",
                            statuses.empty() ? "" : ", ",
                            status == 0 ? std::string("none") : std::to_string(status),
                            count);
  }
  out.line("by status", statuses.empty() ? "-" : statuses);
  for (const auto& [cause, count] : all.by_cause) {
    out.line("  not ok", fmt::format("{} x {}", count, cause));
  }
  if (head.lines_bad > 0) {
    out.line("lines of the file left out", std::to_string(head.lines_bad));
  }
  if (head.cut.requests > 0) {
    out.line("cut to max_model_len",
             fmt::format("{} requests, by {} input and {} output tokens (limit {})",
                         head.cut.requests,
                         head.cut.input_tokens,
                         head.cut.output_tokens,
                         head.max_model_len.value_or(0)));
  }
}

void add_rates(table& out, const figures& all) {
  const auto input = static_cast<double>(all.input_tokens);
  const auto output = static_cast<double>(all.output_tokens);
  out.line("duration", fmt::format("{:.2f} s", all.seconds));
  out.line("peak concurrent requests", std::to_string(all.in_flight_peak));
  if (all.idle_opened > 0) {
    out.line("idle connections, of these lost",
             fmt::format("{}, {}", all.idle_opened, all.idle_lost));
  }
  out.line("input / output tokens", fmt::format("{} / {}", all.input_tokens, all.output_tokens));
  out.line("requests per second, ok",
           fmt::format("{:.2f}", all.per_second(static_cast<double>(all.count(outcome::ok)))));
  out.line("requests per second, answered",
           fmt::format("{:.2f}",
                       all.per_second(static_cast<double>(all.count(outcome::ok)
                                                          + all.count(outcome::refused)))));
  if (all.good) {
    out.line("goodput, requests per second",
             fmt::format(
                 "{:.2f}  ({} good)", all.per_second(static_cast<double>(*all.good)), *all.good));
  }
  out.line("output tokens per second", fmt::format("{:.1f}", all.per_second(output)));
  out.line("all tokens per second", fmt::format("{:.1f}", all.per_second(input + output)));
  if (all.events > 0) {
    out.line("events with tokens, with several",
             fmt::format("{}, {}", all.events, all.events_with_more));
  }
}

void put(json& into, const std::string& name, const spread& of) {
  if (of.n == 0) {
    return;
  }
  into["mean_" + name + "_ms"] = of.mean;
  into["median_" + name + "_ms"] = of.p50;
  into["p90_" + name + "_ms"] = of.p90;
  into["p99_" + name + "_ms"] = of.p99;
  into["max_" + name + "_ms"] = of.max;
}

json outcomes_of(const figures& all) {
  json made = json::object();
  for (std::size_t i = 0; i < all.by_outcome.size(); ++i) {
    made[std::string(to_string(static_cast<outcome>(i)))] = all.by_outcome.at(i);
  }
  return made;
}

json server_of(const report_head& head) {
  json made = json::array();
  for (const auto& one : head.server) {
    made.push_back({{"name", one.name},
                    {"pid", one.pid},
                    {"memory_mib", one.memory_mib},
                    {"memory_peak_mib", one.memory_peak_mib},
                    {"cpu_seconds", one.cpu_seconds}});
  }
  return made;
}

} // namespace

std::string table_of(const report_head& head, const figures& all) {
  table out;
  out.line("server", fmt::format("{} (model {})", head.target, head.model));
  out.line("workload", fmt::format("{}, {}, seed {}", head.workload, head.arrivals, head.seed));
  add_counts(out, head, all);
  add_rates(out, all);
  add_server(out, head, all.seconds);
  out.title_of_times();
  out.times("time to first token (TTFT)", all.ttft);
  out.times("time per output token (TPOT)", all.tpot);
  out.times("inter-token latency (ITL)", all.itl);
  if (all.added_itl) {
    out.times("ITL over the device's pace", *all.added_itl);
  }
  out.times("end-to-end latency (E2EL)", all.e2el);
  out.times("sent after it was due", all.send_lag);
  return std::move(out).text();
}

std::string json_of(const report_head& head, const figures& all) {
  json out;
  out["target"] = head.target;
  out["model_id"] = head.model;
  out["workload"] = head.workload;
  out["arrivals"] = head.arrivals;
  out["seed"] = head.seed;
  out["stream"] = head.is_stream;
  out["num_prompts"] = all.requests;
  out["duration"] = all.seconds;
  out["completed"] = all.count(outcome::ok);
  out["refused"] = all.count(outcome::refused);
  out["failed"] = all.failed();
  out["outcomes"] = outcomes_of(all);
  out["statuses"] = json::object();
  for (const auto& [status, count] : all.by_status) {
    out["statuses"][std::to_string(status)] = count;
  }
  out["errors"] = json(all.by_cause);
  out["total_input_tokens"] = all.input_tokens;
  out["total_output_tokens"] = all.output_tokens;
  out["request_throughput"] = all.per_second(static_cast<double>(all.count(outcome::ok)));
  if (all.good) {
    out["request_goodput"] = all.per_second(static_cast<double>(*all.good));
  }
  out["output_throughput"] = all.per_second(static_cast<double>(all.output_tokens));
  out["total_token_throughput"] =
      all.per_second(static_cast<double>(all.input_tokens + all.output_tokens));
  out["max_concurrent_requests"] = all.in_flight_peak;
  out["idle_connections"] = all.idle_opened;
  out["idle_connections_lost"] = all.idle_lost;
  out["lines_bad"] = head.lines_bad;
  out["cut"] = {{"requests", head.cut.requests},
                {"input_tokens", head.cut.input_tokens},
                {"output_tokens", head.cut.output_tokens}};
  out["server_processes"] = server_of(head);
  put(out, "ttft", all.ttft);
  put(out, "tpot", all.tpot);
  put(out, "itl", all.itl);
  put(out, "e2el", all.e2el);
  put(out, "send_lag", all.send_lag);
  if (all.added_itl) {
    put(out, "added_itl", *all.added_itl);
  }
  return out.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

} // namespace vdist::bench::serve
