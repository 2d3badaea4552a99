// actors/gateway/regions.hpp — the regions of the vault through which control process and workers
// meet, by name: both sides compute the same key, none is ever told one.
//
//   control 0  of a first rank     which KV blocks hold what (runtime/sched/kv_table.hpp): it ends with the KV, not before
//   control 1  of a first rank     words of a replica: its fence, the bell of its workers, the pace of their devices
//   control 0  of a first rank     which requests its replica's steps in flight compute (flight_log.hpp)
//   control 2+ of a rank           rings of one incarnation: commands down, events up (worker_link.hpp)
//   custom 1+ of a rank            rows of a watched layer, of one order (layer_rows.hpp)
//   channels e of a first rank     rings of one epoch: plans down, results up (epoch_wiring.hpp)
// Exchange regions of the tensor plane: actors/worker/rank_runner.cpp.
#pragma once

#include "actors/gateway/layer_orders.hpp"

#include "transport/frame/bell.hpp"
#include "transport/frame/fence.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/base/step_pace.hpp"

#include <array>
#include <memory>
#include <new>

#include "host/board.hpp"

namespace vdist::actors {

/// Words that every process of a replica sees. Zero-filled memory is their beginning.
struct replica_words {
  frame::fence fence; // ends every wait of past epochs
  frame::bell events; // rung by workers after each event
  layer_orders watched;
  std::array<pace_words, host::life_entries_max>
      paces; // by slot: what its workers know of their device
};

[[nodiscard]] inline vault::region_key kv_table_key(rank_id first_rank) {
  return {.rank = first_rank, .kind = vault::region_kind::control, .index = 0};
}

[[nodiscard]] inline vault::region_key replica_words_key(rank_id first_rank) {
  return {.rank = first_rank, .kind = vault::region_kind::control, .index = 1};
}

[[nodiscard]] inline vault::region_key flight_words_key(rank_id first_rank) {
  return {.rank = first_rank, .kind = vault::region_kind::custom, .index = 0};
}

[[nodiscard]] inline vault::region_key worker_link_key(rank_id rank, incarnation worker) {
  return {.rank = rank, .kind = vault::region_kind::control, .index = 1 + worker.value};
}

[[nodiscard]] inline vault::region_key channels_key(rank_id first_rank, epoch now) {
  return {.rank = first_rank, .kind = vault::region_kind::channels, .index = now.value};
}

/// Words in a region of the vault; keeps them mapped.
template <class Words>
struct mapped_words {
  Words* words = nullptr;
  std::shared_ptr<const void> hold;

  Words* operator->() const { return words; }

  Words& operator*() const { return *words; }
};

template <class Words>
[[nodiscard]] result<mapped_words<Words>> map_words(vault::vault& memory,
                                                    const vault::region_key& key) {
  VDIST_ASSIGN(auto region, memory.map(key, sizeof(Words)));
  return mapped_words<Words>{std::launder(reinterpret_cast<Words*>(region.memory.data())),
                             std::move(region.hold)};
}

} // namespace vdist::actors
