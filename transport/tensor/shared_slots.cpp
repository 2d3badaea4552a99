#include "transport/tensor/shared_slots.hpp"

#include "transport/tensor/shared_communicator.hpp"

namespace vdist::tensor {

std::size_t region_layout::table_bytes() const {
  return round_up((ranks + 1) * sizeof(std::uint64_t), line_bytes);
}

std::size_t region_layout::slot_bytes() const {
  return table_bytes() + round_up(slot_floats * sizeof(float), line_bytes);
}

lane_shape region_layout::mail() const {
  return {mail_slots, slot_floats / ranks * sizeof(float)};
}

std::size_t region_layout::slots_at() const {
  return sizeof(region_head) + ranks * sizeof(signal);
}

std::size_t region_layout::lane_at(std::size_t from, std::size_t to) const {
  const std::size_t slots = exchange_banks * shared_slots::halves * ranks;
  return slots_at() + slots * slot_bytes() + (from * ranks + to) * lane_bytes(mail());
}

shared_slots::shared_slots(std::byte* region, const region_layout& layout, std::int32_t rank)
    : layout_(layout),
      me_(static_cast<std::size_t>(rank)),
      region_(region),
      signals_(reinterpret_cast<signal*>(region + sizeof(region_head))),
      flag_(signals_[me_]) {}

std::byte* shared_slots::slot(std::size_t half, std::size_t r) const {
  const std::size_t bank = flag_.last().epoch % exchange_banks;
  const std::size_t index = (bank * halves + half) * layout_.ranks + r;
  return region_ + layout_.slots_at() + index * layout_.slot_bytes();
}

float* shared_slots::data(std::size_t half, std::size_t r) const {
  return reinterpret_cast<float*>(slot(half, r) + layout_.table_bytes());
}

std::uint64_t* shared_slots::table(std::size_t half, std::size_t r) const {
  return reinterpret_cast<std::uint64_t*>(slot(half, r));
}

/// The proof that one wait is enough needs the wait for all, always.
result<void> shared_slots::exchange(epoch_member& member) {
  const auto& context = member.context();
  if (!flag_.publish()) {
    return member.keep(fenced(context, static_cast<std::int32_t>(me_)));
  }
  for (std::size_t i = 1; i < layout_.ranks; ++i) {
    const std::size_t r = (me_ + i) % layout_.ranks;
    VDIST_TRY(member.keep(wait_for_sequence(
        signals_[r], static_cast<std::int32_t>(r), flag_.last().sequence, context)));
  }
  return {};
}

} // namespace vdist::tensor
