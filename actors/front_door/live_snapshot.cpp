#include "actors/front_door/live_snapshot.hpp"

#include "actors/control/protocol.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>
#include <string_view>
#include <utility>

namespace vdist::actors {

namespace {

using kind = fault_moment_kind;

constexpr double ns_per_ms = 1e6;
constexpr double ns_per_s = 1e9;

/// Behind the fault, in the order of a recovery.
constexpr std::array<std::pair<kind, std::string_view>, 8> phases{
    {{kind::fenced, "fenced"},
     {kind::quiesced, "quiesced"},
     {kind::spawned, "spawned"},
     {kind::attached, "attached"},
     {kind::begun, "begun"},
     {kind::given_up, "given_up"},
     {kind::first_tokens, "first_tokens"},
     {kind::spare_ready, "spare_ready"}}};

template <class... Values>
void append(std::string& out, fmt::format_string<Values...> text, Values&&... values) {
  fmt::format_to(std::back_inserter(out), text, std::forward<Values>(values)...);
}

void append_recovery(std::string& out, const recovery_summary& one) {
  const auto fault = one.at(kind::detected);
  append(out,
         R"({{"replica":{},"epoch":{},"slots":[{}],"at_ms":{:.3f},"phases_ms":{{)",
         one.replica,
         one.epoch,
         fmt::join(one.slots, ","),
         static_cast<double>(fault) / ns_per_ms);
  std::string_view comma;
  for (const auto& [phase, name] : phases) {
    if (one.at(phase) != 0) {
      const auto after = static_cast<double>(one.at(phase) - fault) / ns_per_ms;
      append(out, R"({}"{}":{:.3f})", std::exchange(comma, ","), name, after);
    }
  }
  out += "}}";
}

/// Of what was observed between two looks.
void append_quantiles(std::string& out,
                      const metrics::histogram_snapshot& now,
                      const metrics::histogram_snapshot& before) {
  const auto between = now.counts.size() == before.counts.size() ? now.since(before) : now;
  append(out, R"({{"count":{})", between.count());
  for (const auto percent : {50, 90, 99}) {
    const auto value = between.quantile(percent / 100.0);
    append(out, R"(,"p{}":{})", percent, value ? fmt::format("{:.6f}", *value) : "null");
  }
  out += '}';
}

} // namespace

void append_recoveries(std::string& out, std::span<const recovery_summary> recoveries) {
  out += '[';
  for (const auto& one : recoveries) {
    out += out.ends_with('}') ? "," : "";
    append_recovery(out, one);
  }
  out += ']';
}

std::string cluster_json(const control::cluster_status& status,
                         std::span<const recovery_summary> recoveries) {
  auto out = fmt::format(R"({{"status":{},"recoveries":)", control::status_json(status));
  append_recoveries(out, recoveries);
  return out + '}';
}

std::string live_window::add(const cluster_observation& now) {
  forget(now.at_ns);
  looks_.push_back({.at_ns = now.at_ns,
                    .generated_tokens = now.generated_tokens,
                    .time_to_first_token = now.time_to_first_token,
                    .inter_token_latency = now.inter_token_latency});
  const auto& first = looks_.front();
  const auto& last = looks_.back();
  std::vector<std::int32_t> standby_pids;
  for (const auto& spare : now.status.spares) {
    standby_pids.push_back(spare.pid);
  }
  std::string out;
  append(
      out,
      R"({{"now_ms":{:.3f},"status":{},"standby":[{}],"generated_tokens":{},"tokens_per_s":{:.2f})",
      static_cast<double>(now.at_ns) / ns_per_ms,
      control::status_json(now.status),
      fmt::join(standby_pids, ","),
      now.generated_tokens,
      tokens_per_s(last));
  append(out,
         R"(,"latency":{{"window_s":{:.2f},"ttft_s":)",
         static_cast<double>(last.at_ns - first.at_ns) / ns_per_s);
  append_quantiles(out, last.time_to_first_token, first.time_to_first_token);
  out += R"(,"itl_s":)";
  append_quantiles(out, last.inter_token_latency, first.inter_token_latency);
  out += R"(},"recoveries":)";
  append_recoveries(out, now.recoveries);
  return out + '}';
}

void live_window::forget(std::int64_t now_ns) {
  if (!looks_.empty() && now_ns - looks_.back().at_ns > pause_max.count()) {
    looks_.clear();
  }
  // One that is older than the window stays: the window begins with it.
  while (looks_.size() > 1 && now_ns - looks_[1].at_ns >= length.count()) {
    looks_.pop_front();
  }
}

double live_window::tokens_per_s(const look& now) const {
  const auto since = std::find_if(looks_.rbegin(), looks_.rend(), [&now](const look& one) {
    return now.at_ns - one.at_ns >= rate_length.count();
  });
  const auto& before = since == looks_.rend() ? looks_.front() : *since;
  const auto seconds = static_cast<double>(now.at_ns - before.at_ns) / ns_per_s;
  return seconds > 0 ? static_cast<double>(now.generated_tokens - before.generated_tokens) / seconds
                     : 0;
}

} // namespace vdist::actors
