#include "actors/system/host_store_plan.hpp"

#include "actors/system/model_setup.hpp"

#include "model/exec/block_copies.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <string_view>

namespace vdist::actors {

namespace {

constexpr std::size_t part_alignment = 4096;

/// What may be on its way at a time: staging memory of a worker on a GPU, and the longest that a step may be held up by it
/// where the CPU copies.
constexpr std::size_t saves_bytes_max = std::size_t{64} << 20U;
constexpr std::size_t saves_least = 4;
constexpr std::size_t saves_most = 64;

/// Everything that the KV of given tokens depends on, beside its shape.
std::uint64_t content_of(const model_setup& setup) {
  const auto text = fmt::format("{}|{}|{}|{}|{}|{}|{}",
                                setup.folder.folder.string(),
                                setup.folder.revision,
                                static_cast<int>(setup.folder.weights),
                                setup.config.model.seed,
                                static_cast<int>(setup.type),
                                setup.model->layers,
                                static_cast<int>(setup.device));
  return std::hash<std::string_view>{}(text);
}

} // namespace

result<host_store_plan> plan_host_store(const model_setup& setup, std::size_t bytes) {
  if (!setup.model || setup.device == config::device_kind::sim) {
    return fail(errc::bad_configuration,
                "fault_tolerance.kv_host_bytes: the sim device has no KV to keep; legal is 0");
  }
  const auto block_size = setup.limits.block_size;
  const auto replicas = static_cast<std::size_t>(setup.layout->sizes().data);
  host_store_plan plan{
      .config = {.block_size = block_size,
                 .block_bytes = exec::stored_block_bytes(*setup.model, setup.type, block_size),
                 .content = content_of(setup)},
      .part_bytes = bytes / replicas / part_alignment * part_alignment};
  plan.layout = kv::host_store::layout_of(plan.part_bytes, plan.config);
  if (plan.layout.slots < 1) {
    return fail(
        errc::bad_configuration,
        fmt::format("fault_tolerance.kv_host_bytes: no room for a block of {} KiB per replica "
                    "(got {} bytes for {} replicas)",
                    plan.config.block_bytes >> 10U,
                    bytes,
                    replicas));
  }
  const auto saves = std::clamp(saves_bytes_max / plan.config.block_bytes, saves_least, saves_most);
  plan.saves_max = static_cast<std::int32_t>(saves);
  return plan;
}

} // namespace vdist::actors
