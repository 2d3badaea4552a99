// transport/tensor/exchange.hpp — flags and layout of exchange regions; internal to
// transport/tensor. A flag is one 64-bit word {epoch, sequence} per participant, written by that
// participant only; data lies in banks, one per epoch modulo exchange_banks. Regions hold offsets,
// atomics and futex words only, so every process may map them at an address of its own, and a
// process that dies at any instruction leaves nothing locked.
// X-1 A flag moves forward: within an epoch by sequence, else to a higher epoch. It is changed by
//     compare-and-swap from the value its owner last wrote, so an owner whose place was claimed for
//     a newer epoch notices at its next publication and changes nothing.
#pragma once

#include "transport/frame/wait_policy.hpp"

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace vdist::tensor {

inline constexpr std::size_t line_bytes = 64;
/// Epochs that may pass before a late writer could meet its own bank again.
inline constexpr std::uint32_t exchange_banks = 8;

[[nodiscard]] constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// A participant's word in an epoch.
struct flag_value {
  std::uint32_t epoch = 0;
  std::uint32_t sequence = 0;

  [[nodiscard]] constexpr std::uint64_t packed() const {
    return std::uint64_t{epoch} << 32U | sequence;
  }

  static constexpr flag_value unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> 32U), static_cast<std::uint32_t>(word)};
  }
};

/// Sequences wrap after 2^32; two that are compared are never half that far apart.
[[nodiscard]] constexpr bool has_reached(std::uint32_t sequence, std::uint32_t wanted) {
  return static_cast<std::int32_t>(sequence - wanted) >= 0;
}

/// What one participant shows to the others: its flag, and the bell it rings after changing it.
struct alignas(line_bytes) signal {
  std::atomic<std::uint64_t> word{0};
  frame::bell changed;
};

static_assert(std::is_standard_layout_v<signal> && sizeof(signal) == 2 * line_bytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// First line of a region: its shape, set by whoever joins first, the same for all who follow.
struct alignas(line_bytes) region_head {
  std::atomic<std::uint64_t> shape{0};
};

/// Checks size and alignment of a region that begins with a region_head, and sets or compares its
/// shape. `shape` is not 0; `what` is joined, for the message. Error: invalid_argument.
[[nodiscard]] result<void> join_region(std::string_view what,
                                       std::span<std::byte> region,
                                       std::size_t needed,
                                       std::uint64_t shape);

/// This participant's side of its signal.
class flag_owner {
public:
  explicit flag_owner(signal& mine) : mine_(&mine) {}

  /// Claims the place for `next`, sequence 0. Errors: stale, invalid_argument (epoch 0).
  [[nodiscard]] result<void> claim(epoch next);

  /// Publishes the next sequence; everything written before is visible to who sees it. False: the
  /// place was claimed for a newer epoch.
  [[nodiscard]] bool publish() noexcept;

  [[nodiscard]] const flag_value& last() const noexcept { return last_; }

private:
  signal* mine_;
  flag_value last_;
};

/// One operation's waits: bounds that do not change, and words for the errors.
struct wait_context {
  const frame::wait_policy* waits = nullptr;
  const frame::fence* stop = nullptr;
  time_point deadline;
  epoch mine;
  std::string_view operation;
  std::size_t bytes = 0;

  [[nodiscard]] bool is_fenced() const { return stop != nullptr && stop->is_raised_above(mine); }
};

/// Waits until `peer` has reached `wanted` in this epoch. Errors: timed_out, aborted.
[[nodiscard]] result<void> wait_for_sequence(signal& peer,
                                             std::int32_t peer_rank,
                                             std::uint32_t wanted,
                                             const wait_context& context);

/// `operation: epoch is over (…)`.
[[nodiscard]] error fenced(const wait_context& context, std::int32_t peer_rank);

/// `operation: rank N is late (…)`.
[[nodiscard]] error late(const wait_context& context, std::int32_t peer_rank, flag_value seen);

/// The same where no flag says how far the peer has come.
[[nodiscard]] error late(const wait_context& context, std::int32_t peer_rank);

} // namespace vdist::tensor
