// actors/gateway/faulty_links.hpp — failpoints on the channels: channel.{plans,results,commands,events}, where a frame is
// damaged, and slot.{plans,results,commands,events}, where its writer ends in the middle of a slot.
// Costs two relaxed loads per frame while nothing is armed.
#pragma once

#include "transport/frame/tamper.hpp"

#include "runtime/base/failpoint.hpp"

#include <memory>
#include <string_view>

namespace vdist::actors {

/// The place of a channel. The frame's step is not known here: rules with a step strike nowhere.
struct faulty_channel {
  std::string_view point; // a literal, as the next one
  std::string_view slot_point;
  std::int32_t replica = -1;
  std::int32_t stage = -1;
  std::int32_t rank = -1; // slot within the replica
};

class faulty_link final : public frame::tamper {
public:
  faulty_link(failpoints& points, const faulty_channel& channel)
      : points_(points), channel_(channel) {}

  [[nodiscard]] frame::tampering on_frame(const frame::envelope& /*sealed*/) override {
    if (!points_.is_armed()) {
      return frame::tampering::none;
    }
    switch (points_.reach(channel_.point, place())) {
    case failpoint_outcome::drop:
      return frame::tampering::drop;
    case failpoint_outcome::duplicate:
      return frame::tampering::duplicate;
    case failpoint_outcome::reorder:
      return frame::tampering::reorder;
    case failpoint_outcome::corrupt:
      return frame::tampering::corrupt;
    case failpoint_outcome::truncate:
      return frame::tampering::truncate;
    case failpoint_outcome::old_epoch:
      return frame::tampering::old_epoch;
    case failpoint_outcome::full:
      return frame::tampering::full;
    default:
      return frame::tampering::none;
    }
  }

  void inside_slot() override { VDIST_FAILPOINT(points_, channel_.slot_point, place()); }

private:
  [[nodiscard]] failpoint_context place() const {
    return {.replica = channel_.replica, .stage = channel_.stage, .rank = channel_.rank};
  }

  failpoints& points_; // outlives the channel
  faulty_channel channel_;
};

/// For shm::ring_links; null without points.
[[nodiscard]] inline std::shared_ptr<frame::tamper> tamper_with(failpoints* points,
                                                                const faulty_channel& channel) {
  return points == nullptr ? nullptr : std::make_shared<faulty_link>(*points, channel);
}

} // namespace vdist::actors
