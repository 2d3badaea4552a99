// transport/frame/frame_gate.hpp — decides which parsed frames a reader may hear, and counts the
// others. One gate per reader; used by the reader's thread only, the counters by any thread.
//
// G-1 Only frames of the expected cluster, protocol, group, sender and incarnation pass.
// G-2 An older epoch is dropped and counted. A newer one is held: the frame stays where it is and
//     passes once expect() has named that epoch (protocol rules P-1 and P-2).
// G-3 Sequences rise by one. A gap is an error (a frame was lost), a repetition is dropped.
#pragma once

#include "transport/frame/envelope.hpp"

#include <array>
#include <atomic>
#include <optional>

namespace vdist::frame {

/// Frames not delivered, by reason. Written by one thread, read by any.
class drop_counters {
public:
  void count(drop_reason reason) noexcept {
    counts_[static_cast<std::size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t of(drop_reason reason) const noexcept {
    return counts_[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t total() const noexcept;

private:
  std::array<std::atomic<std::uint64_t>, drop_reasons> counts_{};
};

/// Who the reader listens to. Unset fields match anything.
struct expectation {
  std::uint64_t cluster = 0;
  std::uint16_t protocol = 0;
  std::uint16_t version_min = 0;
  std::uint16_t version_max = 0xffff;
  std::int32_t group = 0;
  std::uint32_t epoch = 0;
  std::optional<std::int32_t> sender;
  std::optional<std::uint32_t> incarnation;
};

enum class verdict : std::uint8_t {
  pass, // deliver it
  drop, // counted; consume it and read on
  lost, // counted as gap; report errc::corrupt once, the frame passes when it is shown again
  hold, // of a newer epoch: leave it in the channel, report errc::aborted
};

class frame_gate {
public:
  explicit frame_gate(const expectation& expected) : expected_(expected) {}

  /// From now on listens to this peer and epoch. The sequence is not reset: it belongs to the
  /// channel.
  void expect(const expectation& expected) { expected_ = expected; }

  [[nodiscard]] const expectation& expected() const noexcept { return expected_; }

  /// The sequence that the next frame must have; 0: whatever comes first.
  void start_at(std::uint64_t sequence) noexcept { next_sequence_ = sequence; }

  [[nodiscard]] std::uint64_t next_sequence() const noexcept { return next_sequence_; }

  /// Decides on a parsed frame and advances the sequence unless the frame is held.
  [[nodiscard]] verdict admit(const envelope& header) noexcept;

  /// Counts a frame that parse() refused. Its sequence is unknown and its loss is reported by the
  /// caller, so the next frame may have any; a torn frame never had one.
  void refuse(drop_reason reason) noexcept {
    drops_.count(reason);
    next_sequence_ = reason == drop_reason::torn ? next_sequence_ : 0;
  }

  [[nodiscard]] const drop_counters& drops() const noexcept { return drops_; }

private:
  [[nodiscard]] bool is_foreign(const envelope& header) const noexcept;

  expectation expected_;
  std::uint64_t next_sequence_ = 0;
  drop_counters drops_;
};

} // namespace vdist::frame
