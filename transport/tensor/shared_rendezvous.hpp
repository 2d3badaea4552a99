// transport/tensor/shared_rendezvous.hpp — where the members of a group leave what the others need
// before they can talk: one card of bytes per member and epoch, in memory that all of them map.
// Internal to transport/tensor.
// Why not a store with keys: cards are claimed, fenced and bounded like everything else here, and an
// epoch's cards cannot be taken for another's (T-3). The flag also tells who has gone on to a newer
// epoch, when a connection has ended and nobody is left to ask.
// One thread per object.
#pragma once

#include "transport/tensor/exchange.hpp"

namespace vdist::tensor {

class shared_rendezvous {
public:
  /// Bytes of the region for `size` members with cards of `card_bytes`.
  [[nodiscard]] static std::size_t region_bytes(std::int32_t size, std::size_t card_bytes);

  /// Joins. `region`: 64-byte aligned, zero-filled before the first member joined; borrowed. Error:
  /// invalid_argument.
  [[nodiscard]] static result<shared_rendezvous>
  join(std::span<std::byte> region, std::int32_t rank, std::int32_t size, std::size_t card_bytes);

  /// Claims this member's place for `next`. Errors: stale, invalid_argument.
  [[nodiscard]] result<void> claim(epoch next) { return flag_.claim(next); }

  /// This member's card of the present epoch: written after claim(), before publish().
  [[nodiscard]] std::span<std::byte> my_card() const { return card(rank_); }

  /// Shows the card to the others. Error: stale, when the place was claimed for a newer epoch.
  [[nodiscard]] result<void> publish();

  /// Waits for a member's card. Errors: timed_out, aborted.
  [[nodiscard]] result<std::span<const std::byte>> card_of(std::int32_t rank,
                                                           const wait_context& context) const;

  /// Whether any member acts in an epoch above `mine`.
  [[nodiscard]] bool is_anybody_beyond(epoch mine) const noexcept;

private:
  shared_rendezvous(std::byte* region,
                    std::int32_t rank,
                    std::int32_t size,
                    std::size_t card_bytes);

  [[nodiscard]] std::span<std::byte> card(std::int32_t rank) const;

  std::int32_t rank_;
  std::int32_t size_;
  std::size_t card_bytes_;
  signal* signals_;  // one per rank, in the region
  std::byte* cards_; // banks × ranks, in the region
  flag_owner flag_;
};

} // namespace vdist::tensor
