#include "actors/system/restart_orders.hpp"

#include "runtime/base/ids.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::actors {

namespace {

using kind = control::restart_order::kind;

error no_such(const char* what, std::int32_t index, std::int32_t count) {
  return fail(errc::invalid_argument,
              fmt::format("restart: no such {} (asked={} legal=0 to {})", what, index, count - 1));
}

result<void> check_node(node_kind node) {
  switch (node) {
  case node_kind::whole:
    return fail(errc::unsupported,
                "restart: node: its workers are threads of it and would end with it (legal with "
                "cluster.isolation = \"process\")");
  case node_kind::embedded:
    return fail(errc::unsupported,
                "restart: node: this program embeds the engine and has nobody to start it again");
  case node_kind::child:
    break;
  }
  return {};
}

} // namespace

result<void> check_restart(const control::restart_order& order,
                           const topology::parallel_sizes& sizes,
                           node_kind node) {
  const auto world = sizes.world();
  const auto replicas = sizes.data;
  std::size_t parts = 1;
  switch (order.what) {
  case kind::worker:
    if (order.index < 0 || order.index >= world) {
      return no_such("worker", order.index, world);
    }
    break;
  case kind::replica:
    if (order.index < 0 || order.index >= replicas) {
      return no_such("replica", order.index, replicas);
    }
    parts = static_cast<std::size_t>(world / replicas);
    break;
  case kind::node:
    VDIST_TRY(check_node(node));
    break;
  case kind::none:
    parts = 0;
    break;
  }
  return order.above.size() == parts && order.claim != 0
             ? result<void>()
             : fail(errc::invalid_argument,
                    fmt::format("restart: it names a claim and the incarnations that are left "
                                "behind (given={} due={})",
                                order.above.size(),
                                parts));
}

result<void> claim_restart(operator_words& words, std::uint64_t claim, std::int64_t now_ns) {
  const auto holder = words.restart_claim.load();
  if (holder != 0 && holder != claim && now_ns < words.restart_until_ns) {
    return fail(errc::queue_full,
                "restart: another restart is under way; one that was interrupted lapses within "
                "10 s");
  }
  words.restart_until_ns = now_ns + claim_ns;
  words.restart_claim = claim;
  return {};
}

void release_restart(operator_words& words, std::uint64_t claim) {
  if (words.restart_claim == claim) {
    words.restart_claim = 0;
  }
}

result<worker_need> need_of(const control::restart_order& order,
                            std::int32_t first_rank,
                            const replica_status& status) {
  if (status.state == replica_state::failed) {
    return fail(errc::aborted,
                fmt::format("restart: replica {} was given up; the node has to be replaced",
                            status.replica));
  }
  worker_need need;
  if (status.state != replica_state::running) {
    need.wait = fmt::format("replica {} {}",
                            status.replica,
                            status.state == replica_state::loading ? "loads" : "recovers");
    return need;
  }
  const bool is_whole = order.what == kind::replica;
  std::vector<std::uint32_t> wanted(status.incarnations.size());
  for (std::size_t slot = 0; slot < wanted.size(); ++slot) {
    const bool is_meant = is_whole || first_rank + static_cast<std::int32_t>(slot) == order.index;
    const auto left_behind = order.above.at(is_whole ? slot : 0);
    if (is_meant && status.incarnations[slot] <= left_behind) {
      wanted[slot] = status.incarnations[slot];
    }
  }
  if (std::any_of(wanted.begin(), wanted.end(), [](auto worker) { return worker != 0; })) {
    need.wanted = std::move(wanted);
  }
  return need;
}

} // namespace vdist::actors
