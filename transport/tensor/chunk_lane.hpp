// transport/tensor/chunk_lane.hpp — a bounded one-way stream of messages in memory that both ends
// map; a pipe is one, a communicator has one for every ordered pair of ranks. Internal to
// transport/tensor.
// Slots with the epoch banks and {epoch, sequence} flags of exchange.hpp: the sender publishes how
// many chunks it has written, the receiver how many it has read; neither writes the other's flag.
// Messages larger than a slot travel as several chunks.
// Cost: one copy on each side, a wait only when the lane is full (or empty); nothing is allocated.
#pragma once

#include "transport/tensor/epoch_member.hpp"

namespace vdist::tensor {

struct lane_shape {
  std::uint32_t slots = 0;    // chunks under way at most
  std::size_t slot_bytes = 0; // data of one chunk
};

enum class lane_end : std::uint8_t { sender, receiver };

/// Bytes of a lane's memory: two signals, then exchange_banks × slots.
[[nodiscard]] std::size_t lane_bytes(const lane_shape& shape);

/// One end of a lane.
class chunk_lane {
public:
  /// `memory`: lane_bytes(), 64-byte aligned, zero-filled at first; borrowed. `peer` is the rank at
  /// the other end, for error texts.
  chunk_lane(std::byte* memory, const lane_shape& shape, lane_end end, std::int32_t peer);

  /// Claims this end for `next` and starts with an empty lane. Errors: stale, invalid_argument.
  [[nodiscard]] result<void> claim(epoch next);

  /// Within the operation that `member` has begun. Returns when `data` has been copied.
  [[nodiscard]] result<void> send(std::span<const std::byte> data, epoch_member& member);

  /// Receives a message of exactly data.size() bytes. Error: corrupt, when it has another size.
  [[nodiscard]] result<void> recv(std::span<std::byte> data, epoch_member& member);

private:
  [[nodiscard]] result<void> wait_for_room(const wait_context& context);
  [[nodiscard]] std::byte* present_slot() const;
  [[nodiscard]] result<void> advance(const wait_context& context);

  lane_shape shape_;
  std::int32_t peer_;
  signal* other_;   // of the other end
  std::byte* data_; // banks × slots
  flag_owner flag_;
  std::uint64_t chunks_ = 0; // passed in this epoch; the sequence is its low half
};

} // namespace vdist::tensor
