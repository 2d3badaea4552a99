#include "transport/tensor/shared_pipe.hpp"

#include "transport/tensor/chunk_lane.hpp"

#include <fmt/format.h>

namespace vdist::tensor {

namespace {

constexpr std::uint64_t shape_magic = 0xb6;
constexpr std::uint32_t slots_max = 1U << 15U;
constexpr std::size_t slot_floats_max = std::size_t{1} << 40U;

/// Place of each end in error messages: there is no rank to name.
constexpr std::int32_t sender_place = 0;
constexpr std::int32_t receiver_place = 1;

lane_shape shape_of(std::uint32_t slots, std::size_t slot_floats) {
  return {slots, slot_floats * sizeof(float)};
}

class shared_pipe final : public pipe {
public:
  shared_pipe(std::span<std::byte> region,
              const shared_pipe_settings& settings,
              const frame::wait_policy& waits)
      : is_sender_(settings.end == pipe_end::sender),
        member_(waits, settings.timeout, settings.stop),
        lane_(region.data() + sizeof(region_head),
              shape_of(settings.slots, settings.slot_floats),
              is_sender_ ? lane_end::sender : lane_end::receiver,
              is_sender_ ? receiver_place : sender_place) {}

  result<void> start_epoch(epoch next) override {
    VDIST_TRY(lane_.claim(next));
    member_.enter(next);
    return {};
  }

  result<void> send(std::span<const float> data) override {
    VDIST_TRY(begin("pipe send", data.size_bytes(), is_sender_));
    return lane_.send(std::as_bytes(data), member_);
  }

  result<void> recv(std::span<float> data) override {
    VDIST_TRY(begin("pipe recv", data.size_bytes(), !is_sender_));
    return lane_.recv(std::as_writable_bytes(data), member_);
  }

private:
  result<void> begin(std::string_view operation, std::size_t bytes, bool is_my_end) {
    if (!is_my_end) {
      return fail(errc::invalid_argument,
                  fmt::format("{}: this is the other end of the pipe", operation));
    }
    return member_.begin(operation, bytes);
  }

  const bool is_sender_;
  epoch_member member_;
  chunk_lane lane_;
};

} // namespace

std::size_t pipe_bytes(std::uint32_t slots, std::size_t slot_floats) {
  return sizeof(region_head) + lane_bytes(shape_of(slots, slot_floats));
}

result<std::unique_ptr<pipe>> make_shared_pipe(std::span<std::byte> region,
                                               const shared_pipe_settings& settings,
                                               const frame::wait_policy& waits) {
  if (settings.slots < 1 || settings.slots > slots_max || settings.slot_floats == 0
      || settings.slot_floats > slot_floats_max) {
    return fail(errc::invalid_argument,
                fmt::format("shared pipe: slots must be 1 to {} and slot_floats 1 to {} (slots={} "
                            "slot_floats={})",
                            slots_max,
                            slot_floats_max,
                            settings.slots,
                            settings.slot_floats));
  }
  const std::uint64_t shape =
      shape_magic << 56U | std::uint64_t{settings.slots} << 41U | settings.slot_floats;
  VDIST_TRY(
      join_region("shared pipe", region, pipe_bytes(settings.slots, settings.slot_floats), shape));
  return std::unique_ptr<pipe>(std::make_unique<shared_pipe>(region, settings, waits));
}

} // namespace vdist::tensor
