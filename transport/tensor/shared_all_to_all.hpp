// transport/tensor/shared_all_to_all.hpp — all_to_all(_v) over shared slots. Internal to
// transport/tensor.
// A rank lays its parts for the others end to end, in rank order, and shows that stream window by
// window in its slot; a table in front of the first window says where each part begins. So nobody
// needs to know another pair's counts, slots are filled to the brim whatever the counts, and
// everybody makes as many exchanges as the longest stream needs: T-1 holds for the flags.
#pragma once

#include "transport/tensor/arguments.hpp"
#include "transport/tensor/shared_slots.hpp"

namespace vdist::tensor {

/// Within the operation that `member` has begun; arguments are checked already. Errors: timed_out,
/// aborted, corrupt (two ranks count differently what passes between them).
[[nodiscard]] result<void>
exchange_parts(shared_slots& slots, epoch_member& member, const all_to_all_arguments& given);

} // namespace vdist::tensor
