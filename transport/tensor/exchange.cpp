#include "transport/tensor/exchange.hpp"

#include <fmt/format.h>

namespace vdist::tensor {

result<void> join_region(std::string_view what,
                         std::span<std::byte> region,
                         std::size_t needed,
                         std::uint64_t shape) {
  if (region.size() < needed || reinterpret_cast<std::uintptr_t>(region.data()) % line_bytes != 0) {
    return fail(errc::invalid_argument,
                fmt::format("{}: the region is too small or not aligned to {} (bytes={} needed={})",
                            what,
                            line_bytes,
                            region.size(),
                            needed));
  }
  auto& head = *reinterpret_cast<region_head*>(region.data());
  std::uint64_t present = 0;
  if (head.shape.compare_exchange_strong(present, shape, std::memory_order_acq_rel)
      || present == shape) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("{}: the region was made for other settings (shape={:#x} mine={:#x})",
                          what,
                          present,
                          shape));
}

result<void> flag_owner::claim(epoch next) {
  if (next.value == 0) {
    return fail(errc::invalid_argument, "exchange: epochs count from 1 (epoch=0)");
  }
  const flag_value wanted{next.value, 0};
  auto present = mine_->word.load(std::memory_order_acquire);
  do {
    if (flag_value::unpack(present).epoch >= next.value) {
      return fail(errc::stale,
                  fmt::format("exchange: the place already acts in this or a later epoch "
                              "(epoch={} present={})",
                              next.value,
                              flag_value::unpack(present).epoch));
    }
  } while (!mine_->word.compare_exchange_weak(
      present, wanted.packed(), std::memory_order_acq_rel, std::memory_order_acquire));
  last_ = wanted;
  mine_->changed.ring();
  return {};
}

bool flag_owner::publish() noexcept {
  const flag_value next{last_.epoch, last_.sequence + 1};
  auto present = last_.packed();
  if (!mine_->word.compare_exchange_strong(
          present, next.packed(), std::memory_order_acq_rel, std::memory_order_acquire)) {
    return false;
  }
  last_ = next;
  mine_->changed.ring();
  return true;
}

error fenced(const wait_context& context, std::int32_t peer_rank) {
  return fail(errc::aborted,
              fmt::format("{}: the epoch is over (epoch={} bytes={} waiting_for_rank={})",
                          context.operation,
                          context.mine.value,
                          context.bytes,
                          peer_rank));
}

error late(const wait_context& context, std::int32_t peer_rank, flag_value seen) {
  return fail(errc::timed_out,
              fmt::format("{}: rank {} is late (epoch={} bytes={} its_epoch={} its_sequence={})",
                          context.operation,
                          peer_rank,
                          context.mine.value,
                          context.bytes,
                          seen.epoch,
                          seen.sequence));
}

error late(const wait_context& context, std::int32_t peer_rank) {
  return fail(errc::timed_out,
              fmt::format("{}: rank {} is late (epoch={} bytes={})",
                          context.operation,
                          peer_rank,
                          context.mine.value,
                          context.bytes));
}

result<void> wait_for_sequence(signal& peer,
                               std::int32_t peer_rank,
                               std::uint32_t wanted,
                               const wait_context& context) {
  flag_value seen;
  const auto mine = context.mine.value;
  const auto has_come = [&peer, &seen, wanted, mine] {
    seen = flag_value::unpack(peer.word.load(std::memory_order_acquire));
    return seen.epoch > mine || (seen.epoch == mine && has_reached(seen.sequence, wanted));
  };
  const frame::wait_bounds bounds{
      .deadline = context.deadline, .stop = context.stop, .mine = context.mine, .expected_at = {}};
  switch (context.waits->wait(peer.changed, has_come, bounds)) {
  case frame::wait_status::ok:
    break;
  case frame::wait_status::timed_out:
    return late(context, peer_rank, seen);
  case frame::wait_status::aborted:
    return fenced(context, peer_rank);
  }
  return seen.epoch > mine ? result<void>(fenced(context, peer_rank)) : result<void>{};
}

} // namespace vdist::tensor
