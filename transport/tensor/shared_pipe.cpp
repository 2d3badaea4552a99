#include "transport/tensor/shared_pipe.hpp"

#include "transport/tensor/exchange.hpp"
#include "transport/tensor/shared_communicator.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace vdist::tensor {

namespace {

constexpr std::uint64_t shape_magic = 0xb6;
constexpr std::uint32_t slots_max = 1U << 15U;
constexpr std::size_t slot_floats_max = std::size_t{1} << 40U;

/// In front of every chunk.
struct alignas(line_bytes) chunk_head {
  std::uint64_t message_floats = 0; // of the whole message
  std::uint64_t offset_floats = 0;  // where this chunk begins in it
};

std::size_t slot_bytes(std::size_t slot_floats) {
  return sizeof(chunk_head) + round_up(slot_floats * sizeof(float), line_bytes);
}

constexpr std::size_t data_offset = sizeof(region_head) + 2 * sizeof(signal);

/// Place of each end in error messages: there is no rank to name.
constexpr std::int32_t sender_place = 0;
constexpr std::int32_t receiver_place = 1;

class shared_pipe final : public pipe {
public:
  shared_pipe(std::span<std::byte> region,
              const shared_pipe_settings& settings,
              const frame::wait_policy& waits)
      : settings_(settings),
        waits_(waits),
        signals_(reinterpret_cast<signal*>(region.data() + sizeof(region_head))),
        data_(region.data() + data_offset),
        flag_(signals_[is_sender() ? sender_place : receiver_place]) {}

  result<void> start_epoch(epoch next) override {
    VDIST_TRY(flag_.claim(next));
    slot_index_ = 0;
    is_in_step_ = true;
    return {};
  }

  result<void> send(std::span<const float> data) override {
    VDIST_TRY(begin("pipe send", data.size_bytes(), pipe_end::sender));
    std::size_t done = 0;
    do { // an empty message is one empty chunk
      const auto chunk = data.subspan(done, std::min(settings_.slot_floats, data.size() - done));
      VDIST_TRY(keep_step(wait_for_room()));
      std::byte* slot = present_slot();
      const chunk_head head{data.size(), done};
      std::memcpy(slot, &head, sizeof head);
      if (!chunk.empty()) {
        std::memcpy(slot + sizeof head, chunk.data(), chunk.size_bytes());
      }
      VDIST_TRY(advance(receiver_place));
      done += chunk.size();
    } while (done < data.size());
    return {};
  }

  result<void> recv(std::span<float> data) override {
    VDIST_TRY(begin("pipe recv", data.size_bytes(), pipe_end::receiver));
    std::size_t done = 0;
    do {
      const auto chunk = data.subspan(done, std::min(settings_.slot_floats, data.size() - done));
      VDIST_TRY(keep_step(wait_for_sequence(
          signals_[sender_place], sender_place, flag_.last().sequence + 1, context_)));
      const std::byte* slot = present_slot();
      chunk_head head;
      std::memcpy(&head, slot, sizeof head);
      if (head.message_floats != data.size() || head.offset_floats != done) {
        return keep_step(
            fail(errc::corrupt,
                 fmt::format("pipe recv: the message has another size (floats={} expected={})",
                             head.message_floats,
                             data.size())));
      }
      if (!chunk.empty()) {
        std::memcpy(chunk.data(), slot + sizeof head, chunk.size_bytes());
      }
      VDIST_TRY(advance(sender_place));
      done += chunk.size();
    } while (done < data.size());
    return {};
  }

private:
  [[nodiscard]] bool is_sender() const { return settings_.end == pipe_end::sender; }

  result<void> begin(std::string_view operation, std::size_t bytes, pipe_end needed) {
    if (settings_.end != needed) {
      return fail(errc::invalid_argument,
                  fmt::format("{}: this is the other end of the pipe", operation));
    }
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

  /// Passes `outcome` on; a failure ends the epoch for this end.
  result<void> keep_step(result<void> outcome) {
    is_in_step_ = is_in_step_ && outcome.has_value();
    return outcome;
  }

  /// A receiver that has not started this epoch has read nothing of it: its bank is empty.
  result<void> wait_for_room() {
    const auto sent = flag_.last().sequence;
    if (sent < settings_.slots) {
      // Nothing of this epoch needs to have been read yet, but a newer epoch must be noticed.
      const auto seen =
          flag_value::unpack(signals_[receiver_place].word.load(std::memory_order_acquire));
      if (seen.epoch > context_.mine.value
          || (settings_.stop != nullptr && settings_.stop->is_raised_above(context_.mine))) {
        return fenced(context_, receiver_place);
      }
      return {};
    }
    return wait_for_sequence(
        signals_[receiver_place], receiver_place, sent - settings_.slots + 1, context_);
  }

  [[nodiscard]] std::byte* present_slot() const {
    const std::size_t bank = flag_.last().epoch % exchange_banks;
    return data_ + (bank * settings_.slots + slot_index_) * slot_bytes(settings_.slot_floats);
  }

  /// Shows the other end that the present slot has been written (or read).
  result<void> advance(std::int32_t other) {
    if (!flag_.publish()) {
      return keep_step(fenced(context_, other));
    }
    slot_index_ = slot_index_ + 1 == settings_.slots ? 0 : slot_index_ + 1;
    return {};
  }

  const shared_pipe_settings settings_;
  const frame::wait_policy waits_;
  signal* const signals_; // sender's, receiver's
  std::byte* const data_; // banks × slots
  flag_owner flag_;
  wait_context context_;
  std::size_t slot_index_ = 0; // of the coming chunk; apart from the sequence, which wraps
  bool is_in_step_ = false;
};

} // namespace

std::size_t pipe_bytes(std::uint32_t slots, std::size_t slot_floats) {
  return data_offset + exchange_banks * slots * slot_bytes(slot_floats);
}

result<std::unique_ptr<pipe>> make_shared_pipe(std::span<std::byte> region,
                                               const shared_pipe_settings& settings,
                                               const frame::wait_policy& waits) {
  if (settings.slots < 1 || settings.slots > slots_max || settings.slot_floats == 0
      || settings.slot_floats > slot_floats_max) {
    return fail(errc::invalid_argument,
                fmt::format("shared pipe: slots must be 1 to {} and slot_floats 1 to {} (slots={} "
                            "slot_floats={})",
                            slots_max,
                            slot_floats_max,
                            settings.slots,
                            settings.slot_floats));
  }
  const std::size_t needed = pipe_bytes(settings.slots, settings.slot_floats);
  if (region.size() < needed || reinterpret_cast<std::uintptr_t>(region.data()) % line_bytes != 0) {
    return fail(errc::invalid_argument,
                fmt::format("shared pipe: the region is too small or not aligned to {} (bytes={} "
                            "needed={})",
                            line_bytes,
                            region.size(),
                            needed));
  }
  const std::uint64_t shape =
      shape_magic << 56U | std::uint64_t{settings.slots} << 41U | settings.slot_floats;
  VDIST_TRY(agree_on_shape(*reinterpret_cast<region_head*>(region.data()), shape));
  return std::unique_ptr<pipe>(std::make_unique<shared_pipe>(region, settings, waits));
}

} // namespace vdist::tensor
