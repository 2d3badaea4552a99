// actors/system/restart_orders.hpp — planned replacements: what an operator's order (actors/control/cluster_status.hpp) means
// for the cluster as it is. Pure functions; the engine asks, and carries out.
//
// P-1 An order names the incarnations that are to be left behind, so it can be given again by who lost the answer, also to
//     a control process that was replaced meanwhile: what has been replaced is not replaced again.
// P-2 Nobody is replaced while his replica recovers or loads, and no node while any does.
// P-3 One at a time: who replaces part after part claims that for claim_ns, again with every order; others are refused until
//     the claim was let go or has lapsed. It is kept on the board: a node that is replaced does not lose it.
// P-4 The vault is never replaced: with it weights and KV cache would go, every worker would end and every request be
//     computed again.
#pragma once

#include "actors/control/cluster_status.hpp"
#include "actors/gateway/board_areas.hpp"
#include "actors/interfaces.hpp"

#include "runtime/base/result.hpp"
#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vdist::actors {

/// Longer than a control process needs to be replaced, shorter than an operator waits.
inline constexpr std::int64_t claim_ns = 10'000'000'000;

/// Whose control process the parts belong to.
enum class node_kind : std::uint8_t {
  whole,    // workers are its threads
  embedded, // a program that has worker processes
  child,    // of vdist-run
};

/// Errors: invalid_argument, unsupported; the text says why and what is legal.
[[nodiscard]] result<void> check_restart(const control::restart_order& order,
                                         const topology::parallel_sizes& sizes,
                                         node_kind node);

/// P-3. Error: queue_full.
[[nodiscard]] result<void>
claim_restart(operator_words& words, std::uint64_t claim, std::int64_t now_ns);
/// Of somebody else: nothing happens.
void release_restart(operator_words& words, std::uint64_t claim);

/// What has to happen for an order that concerns workers of one replica.
struct worker_need {
  std::vector<std::uint32_t> wanted; // of replace_workers; empty: nobody
  std::optional<std::string> wait;   // P-2: why not now; else, with nobody wanted, it is done
};

/// `order` was checked. `first_rank`: of the replica. Error: aborted (the replica was given up).
[[nodiscard]] result<worker_need>
need_of(const control::restart_order& order, std::int32_t first_rank, const replica_status& status);

} // namespace vdist::actors
