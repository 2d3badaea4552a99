#include "transport/tensor/shared_all_to_all.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

namespace vdist::tensor {

namespace {

/// Bytes [begin, end) of a stream.
struct byte_range {
  std::size_t begin = 0;
  std::size_t end = 0;

  [[nodiscard]] std::size_t size() const { return end - begin; }

  [[nodiscard]] byte_range within(const byte_range& window) const {
    const std::size_t from = std::clamp(begin, window.begin, window.end);
    return {from, std::clamp(end, from, window.end)};
  }
};

/// What of each rank's stream is for this one.
using range_list = std::array<byte_range, group_ranks_max>;

class part_exchange {
public:
  part_exchange(const shared_slots& slots, const all_to_all_arguments& given)
      : slots_(slots), given_(given), room_(slots.floats() * sizeof(float)) {}

  [[nodiscard]] std::size_t rounds() const { return rounds_; }

  void copy_own_part() const {
    const std::size_t me = slots_.me();
    if (given_.in_parts.counts[me] > 0) {
      std::memcpy(&given_.out[given_.out_parts.offsets[me]],
                  &given_.in[given_.in_parts.offsets[me]],
                  given_.in_parts.counts[me]);
    }
  }

  /// Part r of this rank's stream is [table[r], table[r+1]); its own part is empty.
  void write_table(std::size_t half) const {
    std::uint64_t* begins = slots_.table(half, slots_.me());
    begins[0] = 0;
    for (std::size_t r = 0; r < slots_.ranks(); ++r) {
      begins[r + 1] = begins[r] + count_for(r);
    }
  }

  result<void> read_tables(std::size_t half, std::string_view operation) {
    const std::size_t me = slots_.me();
    for (std::size_t r = 0; r < slots_.ranks(); ++r) {
      const std::uint64_t* begins = slots_.table(half, r);
      rounds_ = std::max(rounds_, (begins[slots_.ranks()] + room_ - 1) / room_);
      coming_[r] = {begins[me], begins[me + 1]};
      if (r != me && coming_[r].size() != given_.out_parts.counts[r]) {
        return fail(
            errc::corrupt,
            fmt::format("{}: a rank sends another count (bytes={} expected={} from_rank={})",
                        operation,
                        coming_[r].size(),
                        given_.out_parts.counts[r],
                        r));
      }
    }
    return {};
  }

  /// Writes this rank's stream into its slot, as much as the round shows of it.
  void show(std::size_t half, std::size_t round) const {
    auto* data = reinterpret_cast<std::byte*>(slots_.data(half, slots_.me()));
    const auto window = window_of(round);
    byte_range part;
    for (std::size_t r = 0; r < slots_.ranks(); ++r, part.begin = part.end) {
      part.end = part.begin + count_for(r);
      if (const auto shown = part.within(window); shown.size() > 0) {
        std::memcpy(data + (shown.begin - window.begin),
                    &given_.in[given_.in_parts.offsets[r] + (shown.begin - part.begin)],
                    shown.size());
      }
    }
  }

  /// Takes what is for this rank out of everybody's slots.
  void take(std::size_t half, std::size_t round) const {
    const auto window = window_of(round);
    for (std::size_t r = 0; r < slots_.ranks(); ++r) {
      if (const auto taken = coming_[r].within(window); taken.size() > 0) {
        std::memcpy(&given_.out[given_.out_parts.offsets[r] + (taken.begin - coming_[r].begin)],
                    reinterpret_cast<const std::byte*>(slots_.data(half, r))
                        + (taken.begin - window.begin),
                    taken.size());
      }
    }
  }

private:
  [[nodiscard]] std::size_t count_for(std::size_t r) const {
    return r == slots_.me() ? 0 : given_.in_parts.counts[r];
  }

  [[nodiscard]] byte_range window_of(std::size_t round) const {
    return {round * room_, (round + 1) * room_};
  }

  const shared_slots& slots_;
  const all_to_all_arguments& given_;
  const std::size_t room_; // bytes of data in a slot
  range_list coming_;
  std::size_t rounds_ = 1; // until the tables say more
};

} // namespace

result<void>
exchange_parts(shared_slots& slots, epoch_member& member, const all_to_all_arguments& given) {
  part_exchange parts(slots, given);
  parts.copy_own_part();
  for (std::size_t round = 0; round < parts.rounds(); ++round) {
    const std::size_t half = slots.next_half();
    if (round == 0) {
      parts.write_table(half);
    }
    parts.show(half, round);
    VDIST_TRY(slots.exchange(member));
    if (round == 0) {
      VDIST_TRY(member.keep(parts.read_tables(half, member.context().operation)));
    }
    parts.take(half, round);
  }
  return {};
}

} // namespace vdist::tensor
