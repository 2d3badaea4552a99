#include "actors/gateway/epoch_wiring.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <algorithm>

namespace vdist::actors {

namespace {

frame::expectation expectation_of(const wiring_config& config, epoch now) {
  return {.cluster = config.cluster,
          .protocol = protocol::step_protocol,
          .version_min = protocol::step_version,
          .version_max = protocol::step_version,
          .group = config.replica,
          .epoch = now.value};
}

std::uint32_t workers_of(const wiring_config& config, std::int32_t stage) {
  return static_cast<std::uint32_t>(
      std::count(config.stage_of_slot.begin(), config.stage_of_slot.end(), stage));
}

} // namespace

result<std::shared_ptr<epoch_wiring>> make_wiring(const wiring_config& config,
                                                  epoch now,
                                                  const std::vector<std::uint32_t>& incarnations,
                                                  const frame::wait_policy& waits) {
  auto wiring = std::make_shared<epoch_wiring>();
  wiring->now = now;
  const local::local_ring_links links{.stop = config.stop};
  std::uint32_t place = 0; // of the worker within its stage
  for (std::size_t slot = 0; slot < config.stage_of_slot.size(); ++slot) {
    const auto stage = config.stage_of_slot[slot];
    if (static_cast<std::size_t>(stage) == wiring->plan_rings.size()) {
      const local::local_ring_settings plans{.readers_max = workers_of(config, stage),
                                             .slots = config.ring_slots,
                                             .slot_bytes = config.plan_slot_bytes};
      wiring->plan_rings.push_back(std::make_unique<local::local_ring>(plans, links, waits));
      place = 0;
    }
    auto plan_source = expectation_of(config, now);
    plan_source.sender = frame::sender_control;
    VDIST_ASSIGN(auto plan_reader, wiring->plan_rings.back()->attach(place++, plan_source));
    wiring->plan_readers.push_back(std::move(plan_reader));

    const local::local_ring_settings results{.slots = config.ring_slots,
                                             .slot_bytes = config.result_slot_bytes};
    wiring->result_rings.push_back(std::make_unique<local::local_ring>(results, links, waits));
    auto result_source = expectation_of(config, now);
    result_source.sender = config.first_rank + static_cast<std::int32_t>(slot);
    result_source.incarnation = incarnations.at(slot);
    VDIST_ASSIGN(auto result_reader, wiring->result_rings.back()->attach(0, result_source));
    wiring->result_readers.push_back(std::move(result_reader));
  }
  return wiring;
}

} // namespace vdist::actors
