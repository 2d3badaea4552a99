#include "runtime/protocol/worker.hpp"

#include "runtime/protocol/msgpack_fields.hpp"

#include <algorithm>
#include <limits>

namespace vdist::protocol {

namespace {

/// The fields of each message, in the order of the wire. Append only.
template <class Order, class Visit>
void fields_of_order(Order& o, Visit&& visit) {
  visit(o.cluster,
        o.replica,
        o.first_rank,
        o.slot,
        o.incarnation,
        o.stage_of_slot,
        o.tensor_rank,
        o.tensor_size,
        o.stages,
        o.first_layer,
        o.last_layer,
        o.max_batch_tokens,
        o.max_sequences,
        o.max_positions,
        o.blocks,
        o.block_size,
        o.vocabulary,
        o.device,
        o.threads,
        o.collective_deadline_ms,
        o.spin_us,
        o.sleep_slice_ms,
        o.log_level,
        o.model_folder,
        o.model_name,
        o.has_random_weights,
        o.random_seed,
        o.weight_type,
        o.step_us,
        o.token_us,
        o.device_index,
        o.device_graphs,
        o.step_deadline_ms,
        o.peer_devices,
        o.detect_ms,
        o.load_stall_ms,
        o.version,
        o.store_slots,
        o.store_saves,
        o.store_first,
        o.store_stride);
}

template <class Event, class Visit>
void fields_of_event(Event& e, Visit&& visit) {
  visit(e.what, e.slot, e.worker.value, e.now.value, e.status, e.text);
}

/// The order is followed without further questions: what others rely on must hold.
result<void> check(const worker_order& order) {
  const auto slots = static_cast<std::int32_t>(order.stage_of_slot.size());
  const bool has_stages =
      std::all_of(order.stage_of_slot.begin(),
                  order.stage_of_slot.end(),
                  [&order](std::int32_t stage) { return stage >= 0 && stage < order.stages; });
  const bool has_rank =
      order.first_rank >= 0 && order.first_rank <= std::numeric_limits<std::int32_t>::max() - slots;
  constexpr double us_max = 1e12; // NaN is refused, too
  const bool has_times = order.step_us >= 0 && order.step_us <= us_max && order.token_us >= 0
                         && order.token_us <= us_max;
  const bool has_peers =
      order.peer_devices.empty()
      || (order.peer_devices.size() == order.stage_of_slot.size() && order.slot >= 0
          && order.slot < slots
          && order.peer_devices[static_cast<std::size_t>(order.slot)] == order.device_index);
  constexpr std::uint64_t store_max = std::uint64_t{1}
                                      << 50U; // bytes; keeps the sum within 64 bits
  const bool has_store =
      order.store_slots == 0
      || (order.store_slots > 0 && order.store_saves >= 1 && order.store_first <= store_max
          && order.store_stride >= 1
          && order.store_stride <= store_max / static_cast<std::uint64_t>(order.store_slots));
  const bool is_sound =
      has_store && has_stages && has_rank && has_peers && has_times && order.slot >= 0
      && order.slot < slots && order.tensor_size >= 1 && order.tensor_rank >= 0
      && order.tensor_rank < order.tensor_size && order.stages >= 1 && order.first_layer >= 0
      && order.last_layer >= order.first_layer && order.threads >= 1
      && order.device <= worker_device::cuda && order.device_index >= 0
      && order.step_deadline_ms >= 1 && order.detect_ms >= 1 && order.load_stall_ms >= 1;
  return is_sound ? result<void>() : fail(errc::corrupt, "worker order: fields contradict");
}

} // namespace

void encode(const worker_order& order, std::vector<std::byte>& out) {
  out.clear();
  pack_fields(out, [&order](auto&& visit) { fields_of_order(order, visit); });
}

void encode(const worker_command& command, std::vector<std::byte>& out) {
  out.clear();
  pack_fields(out, [&command](auto&& visit) { visit(command.what, command.now); });
}

void encode(const worker_event& event, std::vector<std::byte>& out) {
  out.clear();
  pack_fields(out, [&event](auto&& visit) { fields_of_event(event, visit); });
}

void encode(const load_progress& progress, std::vector<std::byte>& out) {
  out.clear();
  pack_fields(out, [&progress](auto&& visit) { visit(progress.done, progress.total); });
}

result<void> decode(std::span<const std::byte> bytes, worker_order& out) {
  out = {};
  out.version = 0; // of those who do not say
  VDIST_TRY(
      unpack_fields(bytes, "worker order", [&out](auto&& visit) { fields_of_order(out, visit); }));
  VDIST_TRY(check_version("worker order", out.version));
  return check(out);
}

result<void> decode(std::span<const std::byte> bytes, worker_command& out) {
  out = {};
  VDIST_TRY(
      unpack_fields(bytes, "worker command", [&out](auto&& visit) { visit(out.what, out.now); }));
  return out.what >= worker_command::kind::load && out.what <= worker_command::kind::nothing
             ? result<void>()
             : fail(errc::corrupt, "worker command: unknown kind");
}

result<void> decode(std::span<const std::byte> bytes, worker_event& out) {
  out = {};
  VDIST_TRY(
      unpack_fields(bytes, "worker event", [&out](auto&& visit) { fields_of_event(out, visit); }));
  return out.what >= worker_event::kind::loaded && out.what <= worker_event::kind::halted
             ? result<void>()
             : fail(errc::corrupt, "worker event: unknown kind");
}

result<void> decode(std::span<const std::byte> bytes, load_progress& out) {
  out = {};
  return unpack_fields(
      bytes, "load progress", [&out](auto&& visit) { visit(out.done, out.total); });
}

} // namespace vdist::protocol
