#include "runtime/base/recent_moments.hpp"

#include <algorithm>
#include <utility>

namespace vdist {

namespace {

using kind = fault_moment_kind;

constexpr std::uint64_t joined(std::uint32_t high, std::uint32_t low) {
  return static_cast<std::uint64_t>(high) << 32U | low;
}

/// Every worker does it: the slowest decides.
bool is_of_the_last(kind what) {
  return what == kind::quiesced || what == kind::spawned || what == kind::attached;
}

bool is_over(const recovery_summary& one) {
  return one.at(kind::begun) != 0 || one.at(kind::given_up) != 0;
}

void add(recovery_summary& to, const fault_moment& moment) {
  to.epoch = std::max(to.epoch, moment.epoch);
  auto& known = to.at_ns[static_cast<std::size_t>(moment.what)];
  if (known == 0 || is_of_the_last(moment.what)) {
    known = moment.at_ns;
  }
  const bool is_culprit =
      moment.what == kind::detected && moment.slot >= 0
      && std::find(to.slots.begin(), to.slots.end(), moment.slot) == to.slots.end();
  if (is_culprit) {
    to.slots.push_back(moment.slot);
  }
}

void add_first_tokens(recovery_summary& to, const fault_moment& moment) {
  const auto begun = to.at(kind::begun);
  if (moment.epoch == to.epoch && begun != 0 && moment.at_ns - begun <= first_tokens_within_ns) {
    add(to, moment);
  }
}

/// Of a worker that was at fault; the last of them decides.
void add_spare(recovery_summary& to, const fault_moment& moment) {
  const bool was_at_fault =
      std::find(to.slots.begin(), to.slots.end(), moment.slot) != to.slots.end();
  if (was_at_fault && to.at(kind::begun) != 0) {
    to.at_ns[static_cast<std::size_t>(kind::spare_ready)] = moment.at_ns;
  }
}

} // namespace

void recent_moments::note(const fault_moment& moment) {
  const auto place = table_->noted.fetch_add(1, std::memory_order_relaxed);
  auto& one = table_->ring[place % recent_moments_table::moments_max];
  // A reader that sees any of the new words sees the 0 as well (N-2): they are released after it.
  one.ticket.store(0, std::memory_order_relaxed);
  one.what.store(
      joined(static_cast<std::uint32_t>(moment.what), static_cast<std::uint32_t>(moment.replica)),
      std::memory_order_release);
  one.where.store(joined(static_cast<std::uint32_t>(moment.slot), moment.epoch),
                  std::memory_order_release);
  one.at_ns.store(moment.at_ns, std::memory_order_release);
  one.ticket.store(place + 1, std::memory_order_release);
}

std::vector<fault_moment> recent_moments::read() const {
  std::vector<std::pair<std::uint64_t, fault_moment>> found;
  const auto noted = table_->noted.load(std::memory_order_acquire);
  const auto used = std::min<std::uint64_t>(noted, recent_moments_table::moments_max);
  for (std::size_t i = 0; i < used; ++i) {
    const auto& one = table_->ring[i];
    const auto ticket = one.ticket.load(std::memory_order_acquire);
    const auto what = one.what.load(std::memory_order_acquire);
    const auto where = one.where.load(std::memory_order_acquire);
    const auto at_ns = one.at_ns.load(std::memory_order_acquire);
    const bool is_whole = ticket != 0 && one.ticket.load(std::memory_order_relaxed) == ticket;
    if (is_whole && what >> 32U < fault_moment_kinds) {
      found.emplace_back(ticket,
                         fault_moment{.what = static_cast<kind>(what >> 32U),
                                      .replica = static_cast<std::int32_t>(what),
                                      .slot = static_cast<std::int32_t>(where >> 32U),
                                      .epoch = static_cast<std::uint32_t>(where),
                                      .at_ns = at_ns});
    }
  }
  std::sort(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<fault_moment> moments;
  moments.reserve(found.size());
  std::transform(found.begin(), found.end(), std::back_inserter(moments), [](const auto& one) {
    return one.second;
  });
  return moments;
}

std::vector<recovery_summary> recoveries_of(std::span<const fault_moment> moments,
                                            std::size_t max) {
  std::vector<recovery_summary> all;
  for (const auto& moment : moments) {
    const auto newest = std::find_if(all.rbegin(), all.rend(), [&moment](const auto& one) {
      return one.replica == moment.replica;
    });
    const bool is_under_way = newest != all.rend() && !is_over(*newest);
    if (moment.what == kind::first_tokens) {
      if (newest != all.rend()) {
        add_first_tokens(*newest, moment);
      }
    } else if (moment.what == kind::spare_ready) {
      if (newest != all.rend()) {
        add_spare(*newest, moment);
      }
    } else if (is_under_way) {
      add(*newest, moment);
    } else if (moment.what == kind::detected) {
      all.push_back({.replica = moment.replica, .epoch = 0, .slots = {}});
      add(all.back(), moment);
    }
  }
  const auto surplus = all.size() - std::min(all.size(), max);
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(surplus));
  return all;
}

} // namespace vdist
