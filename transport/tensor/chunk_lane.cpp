#include "transport/tensor/chunk_lane.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace vdist::tensor {

namespace {

/// In front of every chunk.
struct alignas(line_bytes) chunk_head {
  std::uint64_t message_bytes = 0; // of the whole message
  std::uint64_t offset = 0;        // where this chunk begins in it
};

std::size_t stride(const lane_shape& shape) {
  return sizeof(chunk_head) + round_up(shape.slot_bytes, line_bytes);
}

/// Signals of a lane, the sender's first.
signal* signal_of(std::byte* memory, lane_end end) {
  return reinterpret_cast<signal*>(memory) + (end == lane_end::sender ? 0 : 1);
}

} // namespace

std::size_t lane_bytes(const lane_shape& shape) {
  return 2 * sizeof(signal) + exchange_banks * shape.slots * stride(shape);
}

chunk_lane::chunk_lane(std::byte* memory, const lane_shape& shape, lane_end end, std::int32_t peer)
    : shape_(shape),
      peer_(peer),
      other_(signal_of(memory, end == lane_end::sender ? lane_end::receiver : lane_end::sender)),
      data_(memory + 2 * sizeof(signal)),
      flag_(*signal_of(memory, end)) {}

result<void> chunk_lane::claim(epoch next) {
  VDIST_TRY(flag_.claim(next));
  chunks_ = 0;
  return {};
}

result<void> chunk_lane::send(std::span<const std::byte> data, epoch_member& member) {
  const auto& context = member.context();
  std::size_t done = 0;
  do { // an empty message is one empty chunk
    const auto chunk = data.subspan(done, std::min(shape_.slot_bytes, data.size() - done));
    VDIST_TRY(member.keep(wait_for_room(context)));
    std::byte* slot = present_slot();
    const chunk_head head{data.size(), done};
    std::memcpy(slot, &head, sizeof head);
    if (!chunk.empty()) {
      std::memcpy(slot + sizeof head, chunk.data(), chunk.size());
    }
    VDIST_TRY(member.keep(advance(context)));
    done += chunk.size();
  } while (done < data.size());
  return {};
}

result<void> chunk_lane::recv(std::span<std::byte> data, epoch_member& member) {
  const auto& context = member.context();
  std::size_t done = 0;
  do {
    const auto chunk = data.subspan(done, std::min(shape_.slot_bytes, data.size() - done));
    VDIST_TRY(member.keep(wait_for_sequence(*other_, peer_, flag_.last().sequence + 1, context)));
    const std::byte* slot = present_slot();
    chunk_head head;
    std::memcpy(&head, slot, sizeof head);
    if (head.message_bytes != data.size() || head.offset != done) {
      return member.keep(fail(errc::corrupt,
                              fmt::format("{}: the message has another size (bytes={} expected={} "
                                          "from_rank={})",
                                          context.operation,
                                          head.message_bytes,
                                          data.size(),
                                          peer_)));
    }
    if (!chunk.empty()) {
      std::memcpy(chunk.data(), slot + sizeof head, chunk.size());
    }
    VDIST_TRY(member.keep(advance(context)));
    done += chunk.size();
  } while (done < data.size());
  return {};
}

/// A receiver that has not started this epoch has read nothing of it: its bank is empty.
result<void> chunk_lane::wait_for_room(const wait_context& context) {
  if (chunks_ >= shape_.slots) {
    const auto oldest = static_cast<std::uint32_t>(chunks_ - shape_.slots + 1);
    return wait_for_sequence(*other_, peer_, oldest, context);
  }
  // Nothing of this epoch needs to have been read yet, but its end must be noticed.
  const auto seen = flag_value::unpack(other_->word.load(std::memory_order_acquire));
  if (seen.epoch > context.mine.value || context.is_fenced()) {
    return fenced(context, peer_);
  }
  return {};
}

std::byte* chunk_lane::present_slot() const {
  const std::size_t bank = flag_.last().epoch % exchange_banks;
  return data_ + (bank * shape_.slots + chunks_ % shape_.slots) * stride(shape_);
}

/// Shows the other end that the present slot has been written (or read).
result<void> chunk_lane::advance(const wait_context& context) {
  if (!flag_.publish()) {
    return fenced(context, peer_);
  }
  ++chunks_;
  return {};
}

} // namespace vdist::tensor
