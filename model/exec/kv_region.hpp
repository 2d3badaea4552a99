// model/exec/kv_region.hpp — the vault's region of a rank's KV cache, with a name for what is in it: whoever keeps books
// about KV (runtime/sched/kv_table.hpp T-6) can tell whether that memory is still the one that the books are about.
// R-1 The ready hash of the region is that name. It is there when map_kv() returns, stays as long as the contents may be
//     relied on, and never comes again for other contents.
// Thread-safe as the vault; one rank's region is mapped by one worker at a time.
#pragma once

#include "transport/vault/vault.hpp"

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>

namespace vdist::exec {

/// `is_reusable`: whether contents of before may be relied on; false: they were written with other weights. Errors of the
/// vault.
[[nodiscard]] result<::vdist::vault::region>
map_kv(::vdist::vault::vault& memory, rank_id rank, std::size_t bytes, bool is_reusable);

/// The contents of the region, which exists, may be relied on no more. Errors of the vault.
[[nodiscard]] result<void> rename_kv(::vdist::vault::vault& memory, rank_id rank);

} // namespace vdist::exec
