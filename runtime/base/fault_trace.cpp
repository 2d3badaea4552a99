#include "runtime/base/fault_trace.hpp"

#include <algorithm>

namespace vdist {

namespace {

constexpr std::array<std::string_view, fault_moment_kinds> names{"detected",
                                                                 "fenced",
                                                                 "quiesced",
                                                                 "spawned",
                                                                 "attached",
                                                                 "begun",
                                                                 "given up",
                                                                 "first tokens",
                                                                 "spare ready"};

std::uint64_t join(std::uint32_t high, std::uint32_t low) {
  return static_cast<std::uint64_t>(high) << 32U | low;
}

} // namespace

std::string_view to_string(fault_moment_kind kind) noexcept {
  return names[static_cast<std::size_t>(kind)];
}

std::int64_t ns_of(time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

void fault_trace::start(time_point now, std::int64_t first_step) {
  table_->started_ns.store(0);
  table_->moments.store(0, std::memory_order_relaxed);
  table_->lost.store(0, std::memory_order_relaxed);
  for (auto& one : table_->log) {
    one.at_ns.store(0, std::memory_order_relaxed);
  }
  for (auto& bucket : table_->tokens) {
    bucket.store(0, std::memory_order_relaxed);
  }
  table_->first_step.store(first_step, std::memory_order_relaxed);
  table_->started_ns.store(ns_of(now));
}

bool fault_trace::is_started() const {
  return table_->started_ns.load(std::memory_order_relaxed) != 0;
}

void fault_trace::note(const fault_moment& moment) {
  if (!is_started()) {
    return; // T-1
  }
  const auto place = table_->moments.fetch_add(1, std::memory_order_relaxed);
  if (place >= fault_trace_table::moments_max) {
    table_->moments.store(fault_trace_table::moments_max, std::memory_order_relaxed);
    table_->lost.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  auto& one = table_->log[place];
  one.what.store(
      join(static_cast<std::uint32_t>(moment.what), static_cast<std::uint32_t>(moment.replica)),
      std::memory_order_relaxed);
  one.where.store(join(static_cast<std::uint32_t>(moment.slot), moment.epoch),
                  std::memory_order_relaxed);
  one.at_ns.store(moment.at_ns, std::memory_order_release); // T-2
}

void fault_trace::note_tokens(time_point now, std::uint32_t count) {
  const auto started = table_->started_ns.load(std::memory_order_relaxed);
  const auto bucket = (ns_of(now) - started) / token_bucket_ns;
  if (started != 0 && bucket >= 0
      && bucket < static_cast<std::int64_t>(fault_trace_table::buckets_max)) {
    table_->tokens[static_cast<std::size_t>(bucket)].fetch_add(count, std::memory_order_relaxed);
  }
}

fault_record fault_trace::read() const {
  fault_record record{.started_ns = table_->started_ns.load(),
                      .first_step = table_->first_step.load(),
                      .lost = table_->lost.load(std::memory_order_relaxed)};
  for (const auto& one : table_->log) {
    const auto at_ns = one.at_ns.load(std::memory_order_acquire);
    const auto what = one.what.load(std::memory_order_relaxed);
    const auto where = one.where.load(std::memory_order_relaxed);
    if (at_ns != 0 && what >> 32U < fault_moment_kinds) {
      record.moments.push_back({.what = static_cast<fault_moment_kind>(what >> 32U),
                                .replica = static_cast<std::int32_t>(what),
                                .slot = static_cast<std::int32_t>(where >> 32U),
                                .epoch = static_cast<std::uint32_t>(where),
                                .at_ns = at_ns});
    }
  }
  std::stable_sort(record.moments.begin(), record.moments.end(), [](const auto& a, const auto& b) {
    return a.at_ns < b.at_ns;
  });
  for (const auto& bucket : table_->tokens) {
    record.tokens.push_back(bucket.load(std::memory_order_relaxed));
  }
  while (!record.tokens.empty() && record.tokens.back() == 0) {
    record.tokens.pop_back();
  }
  return record;
}

} // namespace vdist
