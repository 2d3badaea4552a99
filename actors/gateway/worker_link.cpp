#include "actors/gateway/worker_link.hpp"

#include "actors/gateway/faulty_links.hpp"

#include "transport/shm/shm_ring.hpp"

#include <span>

namespace vdist::actors {

namespace {

/// Commands and events are small and rare.
constexpr shm::ring_shape link_shape{.readers_max = 1, .slots = 64, .slot_bytes = 1024};

struct link_region {
  vault::region region;
  std::span<std::byte> commands;
  std::span<std::byte> events;
};

result<link_region> map_link(const worker_identity& who, vault::vault& memory) {
  const auto bytes = shm::ring_bytes(link_shape);
  VDIST_ASSIGN(auto region, memory.map(worker_link_key(who.rank, who.worker), 2 * bytes));
  link_region mapped{.region = region,
                     .commands = region.memory.first(bytes),
                     .events = region.memory.subspan(bytes, bytes)};
  return mapped;
}

std::shared_ptr<frame::tamper> tamper_of(const worker_identity& who, faulty_channel channel) {
  channel.replica = who.replica;
  channel.rank = who.slot;
  return tamper_with(who.points, channel);
}

constexpr faulty_channel faulty_commands{.point = "channel.commands",
                                         .slot_point = "slot.commands"};
constexpr faulty_channel faulty_events{.point = "channel.events", .slot_point = "slot.events"};

frame::expectation expected_from(const worker_identity& who, std::int32_t sender) {
  return {.cluster = who.cluster,
          .protocol = protocol::worker_protocol,
          .version_min = protocol::worker_version,
          .version_max = protocol::worker_version,
          .group = who.replica,
          .sender = sender,
          .incarnation = who.worker.value};
}

result<control_end> open_control_end(const worker_identity& who,
                                     const link_region& mapped,
                                     frame::bell& bell,
                                     const frame::wait_policy& waits) {
  control_end end;
  VDIST_ASSIGN(
      const auto commands,
      shm::shm_ring::open(mapped.commands,
                          {.hold = mapped.region.hold, .tamper = tamper_of(who, faulty_commands)},
                          waits));
  VDIST_ASSIGN(end.commands, commands.open_writer());
  VDIST_ASSIGN(
      const auto events,
      shm::shm_ring::open(mapped.events, {.outer = &bell, .hold = mapped.region.hold}, waits));
  VDIST_ASSIGN(end.events, events.open_reader(0, expected_from(who, who.rank.value)));
  return end;
}

} // namespace

frame::envelope link_header(const worker_identity& who, std::uint16_t kind) {
  const bool is_command = kind == protocol::worker_command_kind;
  return {.protocol = protocol::worker_protocol,
          .version = protocol::worker_version,
          .kind = kind,
          .sender = is_command ? frame::sender_control : who.rank.value,
          .cluster = who.cluster,
          .incarnation = who.worker.value,
          .group = who.replica};
}

result<control_end> make_worker_link(const worker_identity& who,
                                     vault::vault& memory,
                                     frame::bell& bell,
                                     const frame::wait_policy& waits) {
  VDIST_ASSIGN(const auto mapped, map_link(who, memory));
  VDIST_TRY(shm::format_ring(mapped.commands, link_shape));
  VDIST_TRY(shm::format_ring(mapped.events, link_shape));
  return open_control_end(who, mapped, bell, waits);
}

result<control_end> reopen_worker_link(const worker_identity& who,
                                       vault::vault& memory,
                                       frame::bell& bell,
                                       const frame::wait_policy& waits) {
  VDIST_ASSIGN(const auto mapped, map_link(who, memory));
  return open_control_end(who, mapped, bell, waits);
}

result<worker_end> open_worker_link(const worker_identity& who,
                                    vault::vault& memory,
                                    frame::bell& bell,
                                    const frame::wait_policy& waits) {
  VDIST_ASSIGN(auto mapped, map_link(who, memory));
  worker_end end;
  VDIST_ASSIGN(const auto commands,
               shm::shm_ring::open(mapped.commands, {.hold = mapped.region.hold}, waits));
  VDIST_ASSIGN(end.commands, commands.open_reader(0, expected_from(who, frame::sender_control)));
  VDIST_ASSIGN(
      const auto events,
      shm::shm_ring::open(
          mapped.events,
          {.outer = &bell, .hold = mapped.region.hold, .tamper = tamper_of(who, faulty_events)},
          waits));
  VDIST_ASSIGN(end.events, events.open_writer());
  return end;
}

} // namespace vdist::actors
