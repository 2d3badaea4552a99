// tests/sim/sim_channel.hpp — the channels of an epoch in virtual time: real envelopes, real gates, and between the two an
// adversary that loses, doubles, delays, moves, damages, cuts and ages frames, and lets those of the past come back.
// A frame is bytes from the moment it is sealed; whatever becomes of them, only parse() and frame_gate decide what is heard.
//
// H-1 What a reader delivers is of the epoch and the incarnation that it was told to expect (I4, I5); the reader checks its
//     gate.
#pragma once

#include "tests/sim/dice.hpp"
#include "tests/sim/timeline.hpp"
#include "tests/sim/verdict.hpp"

#include "transport/frame/channel.hpp"
#include "transport/frame/fence.hpp"
#include "transport/frame/tamper.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace vdist::testing {

using wire_bytes = std::vector<std::byte>;

/// What the adversary does to the frames of one writer.
struct channel_faults {
  std::deque<frame::tampering> next; // of the frames to come, one each
  duration delay{};                  // of the next frame
  time_point partitioned_until{};    // nothing arrives before
};

/// The surroundings of a channel; borrowed, outlive it.
struct channel_world {
  timeline* line = nullptr;
  dice* chance = nullptr;
  verdict* checks = nullptr;
  const frame::fence* stop = nullptr;
  const std::set<std::uint64_t>* poison = nullptr; // ids of requests that workers die of
  std::uint32_t* heard =
      nullptr; // the epoch of the last frame that a reader delivered; may be null
};

/// From the writer to one reader. Shared by both ends and by frames that are on their way.
struct sim_link {
  std::deque<wire_bytes> arrived;
  time_point last_arrival{}; // order is kept
  std::function<void()> wake;
};

class sim_writer final : public frame::frame_writer {
public:
  sim_writer(const channel_world& world,
             std::vector<std::shared_ptr<sim_link>> links,
             channel_faults& faults,
             std::deque<wire_bytes>& past)
      : world_(world), links_(std::move(links)), faults_(faults), past_(past) {}

  [[nodiscard]] result<void> write(const frame::envelope& header,
                                   std::span<const std::byte> body,
                                   time_point deadline) override;

  void close() noexcept override {}

private:
  [[nodiscard]] wire_bytes encoded(const frame::envelope& sealed,
                                   std::span<const std::byte> body) const;
  void send(const wire_bytes& bytes);

  channel_world world_;
  std::vector<std::shared_ptr<sim_link>> links_;
  channel_faults& faults_;
  std::deque<wire_bytes>& past_; // the last frames, for those that come back
  std::uint64_t next_sequence_ = 1;
  std::optional<wire_bytes> held_; // comes behind the next frame
};

class sim_reader final : public frame::frame_reader {
public:
  sim_reader(const channel_world& world,
             std::shared_ptr<sim_link> link,
             const frame::expectation& expected)
      : world_(world), link_(std::move(link)), gate_(expected) {
    gate_.start_at(1);
  }

  /// Never waits: what has not arrived is late.
  [[nodiscard]] result<frame::frame_view> read(time_point deadline) override;

  [[nodiscard]] bool has_frame() const noexcept override { return !link_->arrived.empty(); }

  void expect(const frame::expectation& expected) override { gate_.expect(expected); }

  void close() noexcept override {}

  [[nodiscard]] const frame::drop_counters& drops() const noexcept override {
    return gate_.drops();
  }

private:
  channel_world world_;
  std::shared_ptr<sim_link> link_;
  frame::frame_gate gate_;
  wire_bytes current_; // what the last view points into
};

/// Puts bytes into a link now: a frame of the past that comes back.
void deliver(const std::shared_ptr<sim_link>& link, wire_bytes bytes);

} // namespace vdist::testing
