#include "model/exec/kv_region.hpp"

#include <cstdint>
#include <random>

namespace vdist::exec {

namespace {

/// Drawn: no two regions of a cluster's life have the same.
std::uint64_t fresh_name() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

} // namespace

result<::vdist::vault::region>
map_kv(::vdist::vault::vault& memory, rank_id rank, std::size_t bytes, bool is_reusable) {
  const ::vdist::vault::region_key key{.rank = rank, .kind = ::vdist::vault::region_kind::kv_cache};
  VDIST_ASSIGN(auto region, memory.map(key, bytes));
  if (region.is_new || !region.ready_hash || !is_reusable) {
    region.ready_hash = fresh_name();
    VDIST_TRY(memory.mark_ready(key, *region.ready_hash));
  }
  return region;
}

result<void> rename_kv(::vdist::vault::vault& memory, rank_id rank) {
  return memory.mark_ready({.rank = rank, .kind = ::vdist::vault::region_kind::kv_cache},
                           fresh_name());
}

} // namespace vdist::exec
