#include "transport/tensor/shared_communicator.hpp"

#include "transport/tensor/shared_all_to_all.hpp"
#include "transport/tensor/tree_sum.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <vector>

namespace vdist::tensor {

namespace {

constexpr std::uint64_t shape_magic = 0xa5;
constexpr std::size_t slot_floats_max = std::size_t{1} << 40U;

/// Floats of a cache line: shares begin on lines, so that ranks do not write one together.
constexpr std::size_t share_unit = line_bytes / sizeof(float);

/// One rank's part of every row of a gather's result.
struct row_parts {
  float* data;        // of the first row
  std::size_t part;   // floats
  std::size_t stride; // floats from row to row

  /// Floats `first` … of the [rows, part] that the rank gave, to their places.
  void put(std::size_t first, std::span<const float> piece) const {
    while (!piece.empty()) {
      const std::size_t column = first % part;
      const auto now = piece.first(std::min(piece.size(), part - column));
      std::memcpy(data + first / part * stride + column, now.data(), now.size_bytes());
      first += now.size();
      piece = piece.subspan(now.size());
    }
  }
};

class shared_communicator final : public communicator {
public:
  shared_communicator(std::span<std::byte> region,
                      const shared_communicator_settings& settings,
                      const frame::wait_policy& waits)
      : settings_(settings),
        ranks_(static_cast<std::size_t>(settings.size)),
        me_(static_cast<std::size_t>(settings.rank)),
        member_(waits, settings.timeout, settings.stop),
        slots_(region.data(), {ranks_, settings.slot_floats}, settings.rank) {
    const region_layout layout{ranks_, settings.slot_floats};
    for (std::size_t r = 0; r < ranks_; ++r) {
      const auto lane = [&, peer = static_cast<std::int32_t>(r)](std::size_t at, lane_end end) {
        return chunk_lane(region.data() + at, layout.mail(), end, peer);
      };
      to_.push_back(lane(layout.lane_at(me_, r), lane_end::sender));
      from_.push_back(lane(layout.lane_at(r, me_), lane_end::receiver));
    }
  }

  std::int32_t rank() const noexcept override { return settings_.rank; }

  std::int32_t size() const noexcept override { return settings_.size; }

  result<void> start_epoch(epoch next) override {
    VDIST_TRY(slots_.claim(next));
    for (std::size_t r = 0; r < ranks_; ++r) {
      VDIST_TRY(member_.keep(to_[r].claim(next)));
      VDIST_TRY(member_.keep(from_[r].claim(next)));
    }
    member_.enter(next);
    return {};
  }

  result<void> all_reduce_sum(std::span<float> data) override {
    VDIST_TRY(member_.begin("all_reduce_sum", data.size_bytes()));
    if (ranks_ == 1) {
      return {};
    }
    const bool is_small = data.size() <= settings_.one_shot_floats_max;
    for (std::size_t done = 0; done < data.size(); done += settings_.slot_floats) {
      const auto chunk = data.subspan(done, std::min(settings_.slot_floats, data.size() - done));
      VDIST_TRY(is_small ? reduce_in_one(chunk) : reduce_in_two(chunk));
    }
    return {};
  }

  result<void> reduce_scatter_sum(std::span<const float> in, std::span<float> out) override {
    VDIST_TRY(check_parts_fit("reduce_scatter_sum", out.size(), in.size(), ranks_));
    VDIST_TRY(member_.begin("reduce_scatter_sum", in.size_bytes()));
    std::size_t width = settings_.slot_floats / ranks_; // of every part, in one exchange
    width = width < share_unit ? width : width / share_unit * share_unit;
    for (std::size_t done = 0; done < out.size(); done += width) {
      const std::size_t count = std::min(width, out.size() - done);
      const std::size_t half = slots_.next_half();
      for (std::size_t r = 0; r < ranks_; ++r) {
        if (r != me_) {
          std::memcpy(slots_.data(half, me_) + r * width,
                      &in[r * out.size() + done],
                      count * sizeof(float));
        }
      }
      VDIST_TRY(slots_.exchange(member_));
      slot_list parts;
      for (std::size_t r = 0; r < ranks_; ++r) {
        parts[r] = r == me_ ? &in[r * out.size() + done] : slots_.data(half, r) + me_ * width;
      }
      tree_sum(std::span(parts).first(ranks_), 0, count, &out[done]);
    }
    return {};
  }

  result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) override {
    VDIST_TRY(check_gather(in.size(), out.size(), rows, ranks_));
    VDIST_TRY(member_.begin("all_gather", out.size_bytes()));
    const std::size_t part = rows == 0 ? 0 : in.size() / rows;
    for (std::size_t done = 0; done < in.size(); done += settings_.slot_floats) {
      const auto chunk = in.subspan(done, std::min(settings_.slot_floats, in.size() - done));
      const std::size_t half = slots_.next_half();
      std::memcpy(slots_.data(half, me_), chunk.data(), chunk.size_bytes());
      VDIST_TRY(slots_.exchange(member_));
      for (std::size_t r = 0; r < ranks_; ++r) {
        const row_parts to{out.data() + r * part, part, ranks_ * part};
        to.put(done, {slots_.data(half, r), chunk.size()});
      }
    }
    return {};
  }

  result<void> all_to_all(std::span<const std::byte> in, std::span<std::byte> out) override {
    VDIST_TRY(check_parts_fit("all_to_all", in.size() / ranks_, in.size(), ranks_));
    VDIST_TRY(check_parts_fit("all_to_all", in.size() / ranks_, out.size(), ranks_));
    VDIST_TRY(member_.begin("all_to_all", in.size()));
    const equal_parts parts(in.size() / ranks_, settings_.size);
    return exchange_parts(slots_, member_, {in, parts.view(), out, parts.view()});
  }

  result<void> all_to_all_v(std::span<const std::byte> in,
                            const rank_parts& in_parts,
                            std::span<std::byte> out,
                            const rank_parts& out_parts) override {
    const all_to_all_arguments given{in, in_parts, out, out_parts};
    VDIST_TRY(check_all_to_all(given, settings_.rank, settings_.size));
    VDIST_TRY(member_.begin("all_to_all_v", in.size()));
    return exchange_parts(slots_, member_, given);
  }

  result<void> broadcast(std::span<std::byte> data, std::int32_t root) override {
    VDIST_TRY(check_root("broadcast", root, settings_.size));
    VDIST_TRY(member_.begin("broadcast", data.size()));
    const auto from = static_cast<std::size_t>(root);
    const std::size_t room = settings_.slot_floats * sizeof(float);
    for (std::size_t done = 0; done < data.size(); done += room) {
      const auto chunk = data.subspan(done, std::min(room, data.size() - done));
      const std::size_t half = slots_.next_half();
      if (from == me_) {
        std::memcpy(slots_.data(half, me_), chunk.data(), chunk.size());
      }
      VDIST_TRY(slots_.exchange(member_));
      if (from != me_) {
        std::memcpy(chunk.data(), slots_.data(half, from), chunk.size());
      }
    }
    return {};
  }

  result<void> barrier() override {
    VDIST_TRY(member_.begin("barrier", 0));
    return slots_.exchange(member_);
  }

  result<void> send(std::span<const std::byte> data, std::int32_t to) override {
    VDIST_TRY(check_peer("send", to, settings_.rank, settings_.size));
    VDIST_TRY(member_.begin("send", data.size()));
    return to_[static_cast<std::size_t>(to)].send(data, member_);
  }

  result<void> recv(std::span<std::byte> data, std::int32_t from) override {
    VDIST_TRY(check_peer("recv", from, settings_.rank, settings_.size));
    VDIST_TRY(member_.begin("recv", data.size()));
    return from_[static_cast<std::size_t>(from)].recv(data, member_);
  }

private:
  /// One address per rank, in rank order.
  using slot_list = std::array<const float*, group_ranks_max>;

  std::span<const float* const> list_slots(std::size_t half, slot_list& list) const {
    for (std::size_t r = 0; r < ranks_; ++r) {
      list[r] = slots_.data(half, r);
    }
    return std::span(list).first(ranks_);
  }

  result<void> reduce_in_one(std::span<float> data) {
    const std::size_t half = slots_.next_half();
    std::memcpy(slots_.data(half, me_), data.data(), data.size_bytes());
    VDIST_TRY(slots_.exchange(member_));
    slot_list list;
    tree_sum(list_slots(half, list), 0, data.size(), data.data());
    return {};
  }

  /// First element of rank r's share of `count`.
  [[nodiscard]] std::size_t share_begin(std::size_t count, std::size_t r) const {
    const std::size_t units = (count + share_unit - 1) / share_unit;
    return std::min(count, units * r / ranks_ * share_unit);
  }

  result<void> reduce_in_two(std::span<float> data) {
    const std::size_t parts_half = slots_.next_half();
    std::memcpy(slots_.data(parts_half, me_), data.data(), data.size_bytes());
    VDIST_TRY(slots_.exchange(member_));
    const std::size_t sums_half = slots_.next_half();
    const std::size_t begin = share_begin(data.size(), me_);
    const std::size_t end = share_begin(data.size(), me_ + 1);
    slot_list list;
    tree_sum(list_slots(parts_half, list), begin, end - begin, slots_.data(sums_half, me_) + begin);
    VDIST_TRY(slots_.exchange(member_));
    for (std::size_t r = 0; r < ranks_; ++r) {
      const std::size_t from = share_begin(data.size(), r);
      const std::size_t count = share_begin(data.size(), r + 1) - from;
      if (count > 0) {
        std::memcpy(&data[from], slots_.data(sums_half, r) + from, count * sizeof(float));
      }
    }
    return {};
  }

  const shared_communicator_settings settings_;
  const std::size_t ranks_;
  const std::size_t me_;
  epoch_member member_;
  shared_slots slots_;
  std::vector<chunk_lane> to_;   // one per rank; the one to itself is never used
  std::vector<chunk_lane> from_; // likewise
};

} // namespace

std::size_t exchange_bytes(std::int32_t size, std::size_t max_floats) {
  return region_layout{static_cast<std::size_t>(size), max_floats}.bytes();
}

result<std::unique_ptr<communicator>>
make_shared_communicator(std::span<std::byte> region,
                         const shared_communicator_settings& settings,
                         const frame::wait_policy& waits) {
  VDIST_TRY(check_place("shared communicator", settings.rank, settings.size));
  const auto slot_floats_min = static_cast<std::size_t>(settings.size);
  if (settings.slot_floats < slot_floats_min || settings.slot_floats > slot_floats_max) {
    return fail(errc::invalid_argument,
                fmt::format("shared communicator: slot_floats must be {} to {} (slot_floats={})",
                            slot_floats_min,
                            slot_floats_max,
                            settings.slot_floats));
  }
  const std::uint64_t shape =
      shape_magic << 56U | static_cast<std::uint64_t>(settings.size) << 48U | settings.slot_floats;
  VDIST_TRY(join_region(
      "shared communicator", region, exchange_bytes(settings.size, settings.slot_floats), shape));
  return std::unique_ptr<communicator>(
      std::make_unique<shared_communicator>(region, settings, waits));
}

} // namespace vdist::tensor
