#include "actors/gateway/epoch_wiring.hpp"

#include "actors/gateway/faulty_links.hpp"
#include "actors/gateway/regions.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <span>

namespace vdist::actors {

namespace {

/// Every ring starts at a line of the cache.
constexpr std::size_t ring_alignment = 64;

frame::expectation expectation_of(const wiring_config& config, epoch now) {
  return {.cluster = config.cluster,
          .protocol = protocol::step_protocol,
          .version_min = protocol::step_version,
          .version_max = protocol::step_version,
          .group = config.replica,
          .epoch = now.value};
}

/// Where the rings of one epoch lie: plans by stage, then results by slot.
class channel_layout {
public:
  explicit channel_layout(const wiring_config& config) : config_(config) {
    std::size_t offset = 0;
    const auto place = [&offset](const shm::ring_shape& shape) {
      const auto at = offset;
      const auto bytes = shm::ring_bytes(shape);
      offset += (bytes + ring_alignment - 1) / ring_alignment * ring_alignment;
      return at;
    };
    for (std::int32_t stage = 0; stage <= config.stage_of_slot.back(); ++stage) {
      plans_.push_back(place(plan_shape(stage)));
    }
    for (std::size_t slot = 0; slot < config.stage_of_slot.size(); ++slot) {
      results_.push_back(place(result_shape()));
    }
    bytes_ = offset;
  }

  [[nodiscard]] shm::ring_shape plan_shape(std::int32_t stage) const {
    const auto& stages = config_.stage_of_slot;
    return {.readers_max =
                static_cast<std::uint32_t>(std::count(stages.begin(), stages.end(), stage)),
            .slots = config_.ring_slots,
            .slot_bytes = config_.plan_slot_bytes};
  }

  [[nodiscard]] shm::ring_shape result_shape() const {
    return {.readers_max = 1, .slots = config_.ring_slots, .slot_bytes = config_.result_slot_bytes};
  }

  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  [[nodiscard]] std::size_t stages() const { return plans_.size(); }

  [[nodiscard]] std::span<std::byte> plan_ring(std::span<std::byte> region,
                                               std::int32_t stage) const {
    return region.subspan(plans_[static_cast<std::size_t>(stage)],
                          shm::ring_bytes(plan_shape(stage)));
  }

  [[nodiscard]] std::span<std::byte> result_ring(std::span<std::byte> region,
                                                 std::size_t slot) const {
    return region.subspan(results_[slot], shm::ring_bytes(result_shape()));
  }

private:
  const wiring_config& config_;
  std::vector<std::size_t> plans_;   // offsets by stage
  std::vector<std::size_t> results_; // offsets by slot
  std::size_t bytes_ = 0;
};

} // namespace

result<std::shared_ptr<epoch_wiring>> make_wiring(const wiring_config& config,
                                                  epoch now,
                                                  epoch previous,
                                                  const std::vector<std::uint32_t>& incarnations,
                                                  const wiring_links& links,
                                                  const frame::wait_policy& waits) {
  const rank_id first(config.first_rank);
  if (previous.value > 0) {
    const auto released = links.memory->release(channels_key(first, previous)); // E-1
    if (!released && released.error().code != errc::not_found) {
      return released.error();
    }
  }
  const channel_layout layout(config);
  VDIST_ASSIGN(const auto region, links.memory->map(channels_key(first, now), layout.bytes()));
  auto wiring = std::make_shared<epoch_wiring>();
  wiring->now = now;
  const shm::ring_links rings{.stop = links.stop, .hold = region.hold};
  for (std::int32_t stage = 0; stage < static_cast<std::int32_t>(layout.stages()); ++stage) {
    const auto memory = layout.plan_ring(region.memory, stage);
    VDIST_TRY(shm::format_ring(memory, layout.plan_shape(stage)));
    auto tampered = rings;
    tampered.tamper = tamper_with(links.points,
                                  {.point = "channel.plans",
                                   .slot_point = "slot.plans",
                                   .replica = config.replica,
                                   .stage = stage});
    VDIST_ASSIGN(const auto ring, shm::shm_ring::open(memory, tampered, waits));
    VDIST_ASSIGN(auto plans, ring.open_writer());
    wiring->plans.push_back(std::move(plans));
  }
  for (std::size_t slot = 0; slot < config.stage_of_slot.size(); ++slot) {
    const auto memory = layout.result_ring(region.memory, slot);
    VDIST_TRY(shm::format_ring(memory, layout.result_shape()));
    auto source = expectation_of(config, now);
    source.sender = config.first_rank + static_cast<std::int32_t>(slot);
    source.incarnation = incarnations.at(slot);
    VDIST_ASSIGN(const auto ring, shm::shm_ring::open(memory, rings, waits));
    VDIST_ASSIGN(auto results, ring.open_reader(0, source));
    wiring->results.push_back(std::move(results));
  }
  return wiring;
}

result<worker_wiring> open_worker_wiring(const wiring_config& config,
                                         epoch now,
                                         std::int32_t slot,
                                         const wiring_links& links,
                                         const frame::wait_policy& waits) {
  const channel_layout layout(config);
  const auto key = channels_key(rank_id(config.first_rank), now);
  VDIST_ASSIGN(const auto region, links.memory->map(key, layout.bytes()));
  if (region.is_new) { // made by this very call: nobody else knows it
    VDIST_TRY(links.memory->release(key));
    return fail(errc::stale, fmt::format("channels: the epoch is over (epoch={})", now.value));
  }
  links.memory->forget(key); // E-2
  const auto at = static_cast<std::size_t>(slot);
  const auto& stages = config.stage_of_slot;
  const auto stage = stages.at(at);
  const auto place = static_cast<std::uint32_t>(
      std::count(stages.begin(), stages.begin() + slot, stage)); // among the stage's workers
  const shm::ring_links rings{.stop = links.stop, .hold = region.hold};
  auto source = expectation_of(config, now);
  source.sender = frame::sender_control;
  worker_wiring wiring;
  VDIST_ASSIGN(const auto plans,
               shm::shm_ring::open(layout.plan_ring(region.memory, stage), rings, waits));
  VDIST_ASSIGN(wiring.plans, plans.open_reader(place, source));
  auto tampered = rings;
  tampered.tamper = tamper_with(links.points,
                                {.point = "channel.results",
                                 .slot_point = "slot.results",
                                 .replica = config.replica,
                                 .stage = stage,
                                 .rank = slot});
  VDIST_ASSIGN(const auto results,
               shm::shm_ring::open(layout.result_ring(region.memory, at), tampered, waits));
  VDIST_ASSIGN(wiring.results, results.open_writer());
  return wiring;
}

} // namespace vdist::actors
