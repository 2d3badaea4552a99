#include "transport/tensor/shared_communicator.hpp"

#include "transport/tensor/exchange.hpp"
#include "transport/tensor/tree_sum.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <limits>

namespace vdist::tensor {

namespace {

constexpr std::size_t halves = 2;
constexpr std::uint64_t shape_magic = 0xa5;
constexpr std::size_t slot_floats_max = std::size_t{1} << 40U;

std::size_t slot_bytes(std::size_t slot_floats) {
  return round_up(slot_floats * sizeof(float), line_bytes);
}

std::size_t data_offset(std::int32_t size) {
  return sizeof(region_head) + static_cast<std::size_t>(size) * sizeof(signal);
}

/// 64-byte units of a share of the two-shot reduction, so that ranks do not write one cache line
/// together.
constexpr std::size_t share_unit = line_bytes / sizeof(float);

class shared_communicator final : public communicator {
public:
  shared_communicator(std::span<std::byte> region,
                      const shared_communicator_settings& settings,
                      const frame::wait_policy& waits)
      : settings_(settings),
        waits_(waits),
        ranks_(static_cast<std::size_t>(settings.size)),
        me_(static_cast<std::size_t>(settings.rank)),
        signals_(reinterpret_cast<signal*>(region.data() + sizeof(region_head))),
        data_(region.data() + data_offset(settings.size)),
        flag_(signals_[me_]) {}

  std::int32_t rank() const noexcept override { return settings_.rank; }

  std::int32_t size() const noexcept override { return settings_.size; }

  result<void> start_epoch(epoch next) override {
    VDIST_TRY(flag_.claim(next));
    is_in_step_ = true;
    return {};
  }

  result<void> all_reduce_sum(std::span<float> data) override {
    VDIST_TRY(begin("all_reduce_sum", data.size_bytes()));
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

  result<void> all_gather(std::span<const float> in, std::span<float> out) override {
    VDIST_TRY(begin("all_gather", out.size_bytes()));
    if (out.size() != in.size() * ranks_) {
      return fail(errc::invalid_argument,
                  fmt::format("all_gather: out must hold size * in (in={} out={} size={})",
                              in.size(),
                              out.size(),
                              ranks_));
    }
    for (std::size_t done = 0; done < in.size(); done += settings_.slot_floats) {
      const auto chunk = in.subspan(done, std::min(settings_.slot_floats, in.size() - done));
      const std::size_t half = next_half();
      std::memcpy(slot(half, me_), chunk.data(), chunk.size_bytes());
      VDIST_TRY(exchange());
      for (std::size_t r = 0; r < ranks_; ++r) {
        std::memcpy(out.data() + r * in.size() + done, slot(half, r), chunk.size_bytes());
      }
    }
    return {};
  }

  result<void> broadcast(std::span<std::byte> data, std::int32_t root) override {
    VDIST_TRY(begin("broadcast", data.size()));
    if (root < 0 || root >= settings_.size) {
      return fail(errc::invalid_argument,
                  fmt::format("broadcast: no such root (root={} size={})", root, settings_.size));
    }
    const auto from = static_cast<std::size_t>(root);
    const std::size_t room = settings_.slot_floats * sizeof(float);
    for (std::size_t done = 0; done < data.size(); done += room) {
      const auto chunk = data.subspan(done, std::min(room, data.size() - done));
      const std::size_t half = next_half();
      if (from == me_) {
        std::memcpy(slot(half, me_), chunk.data(), chunk.size());
      }
      VDIST_TRY(exchange());
      if (from != me_) {
        std::memcpy(chunk.data(), slot(half, from), chunk.size());
      }
    }
    return {};
  }

  result<void> barrier() override {
    VDIST_TRY(begin("barrier", 0));
    return exchange();
  }

private:
  /// Notes what the following exchanges belong to. After a failure nothing works before the next
  /// epoch: this rank may have missed an exchange that the others have made.
  result<void> begin(std::string_view operation, std::size_t bytes) {
    if (!is_in_step_) {
      return fail(errc::aborted,
                  fmt::format("{}: no epoch was started, or the present one has failed (epoch={})",
                              operation,
                              flag_.last().epoch));
    }
    context_ = wait_context{&waits_,
                            settings_.stop,
                            waits_.now() + settings_.timeout,
                            epoch(flag_.last().epoch),
                            operation,
                            bytes};
    return {};
  }

  /// The half that the coming exchange writes and reads.
  [[nodiscard]] std::size_t next_half() const { return (flag_.last().sequence + 1) % halves; }

  [[nodiscard]] float* slot(std::size_t half, std::size_t r) const {
    const std::size_t bank = flag_.last().epoch % exchange_banks;
    const std::size_t index = (bank * halves + half) * ranks_ + r;
    return reinterpret_cast<float*>(data_ + index * slot_bytes(settings_.slot_floats));
  }

  /// Publishes what was written to this rank's slot and waits for everybody's. The proof that one
  /// wait is enough (header) needs the wait for all, always.
  result<void> exchange() {
    if (!flag_.publish()) {
      is_in_step_ = false;
      return fenced(context_, settings_.rank);
    }
    for (std::size_t i = 1; i < ranks_; ++i) {
      const std::size_t r = (me_ + i) % ranks_;
      if (auto done = wait_for_sequence(
              signals_[r], static_cast<std::int32_t>(r), flag_.last().sequence, context_);
          !done) [[unlikely]] {
        is_in_step_ = false;
        return done;
      }
    }
    return {};
  }

  /// Everybody's slots of one half, in rank order.
  using slot_list = std::array<const float*, exchange_ranks_max>;

  std::span<const float* const> list_slots(std::size_t half, slot_list& list) const {
    for (std::size_t r = 0; r < ranks_; ++r) {
      list[r] = slot(half, r);
    }
    return std::span(list).first(ranks_);
  }

  result<void> reduce_in_one(std::span<float> data) {
    const std::size_t half = next_half();
    std::memcpy(slot(half, me_), data.data(), data.size_bytes());
    VDIST_TRY(exchange());
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
    const std::size_t parts_half = next_half();
    std::memcpy(slot(parts_half, me_), data.data(), data.size_bytes());
    VDIST_TRY(exchange());
    const std::size_t sums_half = next_half();
    const std::size_t begin = share_begin(data.size(), me_);
    const std::size_t end = share_begin(data.size(), me_ + 1);
    slot_list list;
    tree_sum(list_slots(parts_half, list), begin, end - begin, slot(sums_half, me_) + begin);
    VDIST_TRY(exchange());
    for (std::size_t r = 0; r < ranks_; ++r) {
      const std::size_t from = share_begin(data.size(), r);
      const std::size_t count = share_begin(data.size(), r + 1) - from;
      if (count > 0) {
        std::memcpy(data.data() + from, slot(sums_half, r) + from, count * sizeof(float));
      }
    }
    return {};
  }

  const shared_communicator_settings settings_;
  const frame::wait_policy waits_;
  const std::size_t ranks_;
  const std::size_t me_;
  signal* const signals_; // one per rank, in the region
  std::byte* const data_; // banks × halves × ranks slots, in the region
  flag_owner flag_;
  wait_context context_;    // of the operation under way
  bool is_in_step_ = false; // an epoch runs and has not failed
};

} // namespace

std::size_t exchange_bytes(std::int32_t size, std::size_t max_floats) {
  return data_offset(size)
         + exchange_banks * halves * static_cast<std::size_t>(size) * slot_bytes(max_floats);
}

result<std::unique_ptr<communicator>>
make_shared_communicator(std::span<std::byte> region,
                         const shared_communicator_settings& settings,
                         const frame::wait_policy& waits) {
  if (settings.size < 1 || settings.size > exchange_ranks_max || settings.rank < 0
      || settings.rank >= settings.size) {
    return fail(errc::invalid_argument,
                fmt::format("shared communicator: rank or size out of range (rank={} size={} "
                            "size_max={})",
                            settings.rank,
                            settings.size,
                            exchange_ranks_max));
  }
  if (settings.slot_floats == 0 || settings.slot_floats > slot_floats_max) {
    return fail(errc::invalid_argument,
                fmt::format("shared communicator: slot_floats must be 1 to {} (slot_floats={})",
                            slot_floats_max,
                            settings.slot_floats));
  }
  const std::size_t needed = exchange_bytes(settings.size, settings.slot_floats);
  if (region.size() < needed || reinterpret_cast<std::uintptr_t>(region.data()) % line_bytes != 0) {
    return fail(errc::invalid_argument,
                fmt::format("shared communicator: the region is too small or not aligned to {} "
                            "(bytes={} needed={})",
                            line_bytes,
                            region.size(),
                            needed));
  }
  const std::uint64_t shape =
      shape_magic << 56U | static_cast<std::uint64_t>(settings.size) << 48U | settings.slot_floats;
  VDIST_TRY(agree_on_shape(*reinterpret_cast<region_head*>(region.data()), shape));
  return std::unique_ptr<communicator>(
      std::make_unique<shared_communicator>(region, settings, waits));
}

} // namespace vdist::tensor
