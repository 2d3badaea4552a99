// runtime/topology/groups.hpp — which ranks talk to each other: one list of ranks per communicator.
// Rank order data × pipeline × prefill_context × tensor, tensor fastest. The order of ranks within
// a group is the order of the communicator; every rank derives the same lists from parallel_sizes
// alone.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace vdist::topology {

/// Kinds of groups. Every kind partitions all ranks; a group of one rank needs no communicator.
enum class group_kind : std::uint8_t {
  tensor,          // fixed (data, pipeline, prefill_context): contiguous ranks
  pipeline,        // fixed (data, prefill_context, tensor), over the stages
  prefill_context, // fixed (data, pipeline, tensor)
  decode_context,  // pieces of a stage's ranks; prefill_context ranks first, then tensor ranks
  data,            // fixed (pipeline, prefill_context, tensor), over the replicas
  expert,          // all data × prefill_context × tensor ranks of one stage
  expert_balance,  // same ranks as expert, a communicator of its own: weights move while experts
                   // compute
  replica,         // all ranks of one replica
};

inline constexpr std::int32_t group_kind_count = 8;

[[nodiscard]] std::string_view to_string(group_kind kind) noexcept;

/// One communicator's members.
struct group {
  group_kind kind = group_kind::tensor;
  std::int32_t index = 0; // among the groups of its kind
  std::vector<rank_id> ranks;

  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(ranks.size()); }
};

/// All groups of a kind. decode_context must be legal for the sizes (is_legal_decode_context).
[[nodiscard]] std::vector<group> make_groups(group_kind kind, const parallel_sizes& sizes);

/// Without prefill context, decode_context divides tensor; with it, it is 1, prefill_context or
/// prefill_context × tensor.
[[nodiscard]] bool is_legal_decode_context(const parallel_sizes& sizes);

} // namespace vdist::topology
