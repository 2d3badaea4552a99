// actors/system/host_store_plan.hpp — how the host store of `fault_tolerance.kv_host_bytes` is laid out: an equal part for each
// data-parallel replica, which its scheduler writes (runtime/kv/host_store.hpp). A function of configuration and model alone,
// not of how a replica is split: a smaller cluster finds what a larger one has saved.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/kv/host_store.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::actors {

struct model_setup;

struct host_store_plan {
  kv::host_store_config config;
  kv::host_store_layout layout; // of one part
  std::size_t part_bytes = 0;
  std::int32_t saves_max = 1; // blocks on their way to a part at a time

  /// Bytes of the whole memory before a replica's part.
  [[nodiscard]] std::size_t before(std::int32_t replica) const {
    return static_cast<std::size_t>(replica) * part_bytes;
  }
};

/// Of so many bytes, for a setup with a model. Error: bad_configuration (there is no room for one block per replica, or the
/// device keeps no KV).
[[nodiscard]] result<host_store_plan> plan_host_store(const model_setup& setup, std::size_t bytes);

} // namespace vdist::actors
