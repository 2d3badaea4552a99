#include "transport/tensor/shared_rendezvous.hpp"

#include <fmt/format.h>

namespace vdist::tensor {

namespace {

constexpr std::uint64_t shape_magic = 0xc7;
constexpr std::uint32_t is_published = 1; // sequence of a flag

std::size_t signals_bytes(std::int32_t size) {
  return static_cast<std::size_t>(size) * sizeof(signal);
}

std::size_t stride(std::size_t card_bytes) {
  return round_up(card_bytes, line_bytes);
}

} // namespace

std::size_t shared_rendezvous::region_bytes(std::int32_t size, std::size_t card_bytes) {
  return sizeof(region_head) + signals_bytes(size)
         + exchange_banks * static_cast<std::size_t>(size) * stride(card_bytes);
}

result<shared_rendezvous> shared_rendezvous::join(std::span<std::byte> region,
                                                  std::int32_t rank,
                                                  std::int32_t size,
                                                  std::size_t card_bytes) {
  const std::uint64_t shape =
      shape_magic << 56U | static_cast<std::uint64_t>(size) << 48U | card_bytes;
  VDIST_TRY(join_region("rendezvous", region, region_bytes(size, card_bytes), shape));
  return shared_rendezvous(region.data(), rank, size, card_bytes);
}

shared_rendezvous::shared_rendezvous(std::byte* region,
                                     std::int32_t rank,
                                     std::int32_t size,
                                     std::size_t card_bytes)
    : rank_(rank),
      size_(size),
      card_bytes_(card_bytes),
      signals_(reinterpret_cast<signal*>(region + sizeof(region_head))),
      cards_(region + sizeof(region_head) + signals_bytes(size)),
      flag_(signals_[rank]) {}

result<void> shared_rendezvous::publish() {
  if (!flag_.publish()) {
    return fail(
        errc::stale,
        fmt::format("rendezvous: the place was claimed for a newer epoch (epoch={} rank={})",
                    flag_.last().epoch,
                    rank_));
  }
  return {};
}

result<std::span<const std::byte>> shared_rendezvous::card_of(std::int32_t rank,
                                                              const wait_context& context) const {
  VDIST_TRY(wait_for_sequence(signals_[rank], rank, is_published, context));
  return std::span<const std::byte>(card(rank));
}

bool shared_rendezvous::is_anybody_beyond(epoch mine) const noexcept {
  for (std::int32_t r = 0; r < size_; ++r) {
    const auto seen = flag_value::unpack(signals_[r].word.load(std::memory_order_acquire));
    if (seen.epoch > mine.value) {
      return true;
    }
  }
  return false;
}

std::span<std::byte> shared_rendezvous::card(std::int32_t rank) const {
  const std::size_t bank = flag_.last().epoch % exchange_banks;
  const std::size_t index = bank * static_cast<std::size_t>(size_) + static_cast<std::size_t>(rank);
  return {cards_ + index * stride(card_bytes_), card_bytes_};
}

} // namespace vdist::tensor
