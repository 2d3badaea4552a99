// transport/tensor/tree_sum.hpp — the one order in which partial sums of ranks are added (T-2 in
// communicator.hpp). Every all-reduce of the CPU goes through here, so equal bits need no luck.
// Cost: one pass over parts.size() inputs, vectorised over elements; no allocation.
#pragma once

#include <cstddef>
#include <span>

namespace vdist::tensor {

/// out[i] = tree over r of parts[r][offset + i], for i in [0, count). Each part holds at least
/// offset + count floats; `out` overlaps no part. At least one part.
void tree_sum(std::span<const float* const> parts,
              std::size_t offset,
              std::size_t count,
              float* out) noexcept;

} // namespace vdist::tensor
