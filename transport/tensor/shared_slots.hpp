// transport/tensor/shared_slots.hpp — the doubled slots of a group in memory that all ranks map, and
// the exchange on them (proof in shared_communicator.hpp). Internal to transport/tensor.
// Region: head, one signal per rank, slots (banks × halves × ranks), lanes (from × to). A slot is a
// table of size+1 offsets, which all_to_all uses, then slot_floats floats.
#pragma once

#include "transport/tensor/chunk_lane.hpp"

namespace vdist::tensor {

/// Where things lie in a region; bytes from its beginning.
struct region_layout {
  std::size_t ranks = 1;
  std::size_t slot_floats = 0;

  [[nodiscard]] std::size_t table_bytes() const;
  [[nodiscard]] std::size_t slot_bytes() const;
  [[nodiscard]] lane_shape mail() const;
  [[nodiscard]] std::size_t slots_at() const;
  [[nodiscard]] std::size_t lane_at(std::size_t from, std::size_t to) const;

  [[nodiscard]] std::size_t bytes() const { return lane_at(ranks, 0); }
};

/// One rank's view of the slots. One thread.
class shared_slots {
public:
  shared_slots(std::byte* region, const region_layout& layout, std::int32_t rank);

  /// Claims the rank's place for `next`. Errors: stale, invalid_argument.
  [[nodiscard]] result<void> claim(epoch next) { return flag_.claim(next); }

  [[nodiscard]] std::size_t ranks() const { return layout_.ranks; }

  [[nodiscard]] std::size_t me() const { return me_; }

  /// Floats of data in a slot.
  [[nodiscard]] std::size_t floats() const { return layout_.slot_floats; }

  /// The half that the coming exchange writes and reads.
  [[nodiscard]] std::size_t next_half() const { return (flag_.last().sequence + 1) % halves; }

  /// Data and table of rank r's slot, of the present epoch. Only r writes them.
  [[nodiscard]] float* data(std::size_t half, std::size_t r) const;
  [[nodiscard]] std::uint64_t* table(std::size_t half, std::size_t r) const;

  /// Publishes what was written to this rank's slot and waits for everybody's, within the operation
  /// that `member` has begun. Errors: timed_out, aborted.
  [[nodiscard]] result<void> exchange(epoch_member& member);

  static constexpr std::size_t halves = 2;

private:
  [[nodiscard]] std::byte* slot(std::size_t half, std::size_t r) const;

  const region_layout layout_;
  const std::size_t me_;
  std::byte* const region_;
  signal* const signals_; // one per rank
  flag_owner flag_;
};

} // namespace vdist::tensor
