#include "tests/sim/sim_channel.hpp"

#include <algorithm>
#include <utility>

namespace vdist::testing {

namespace {

/// Frames of a writer that may come back.
constexpr std::size_t past_max = 8;

} // namespace

void deliver(const std::shared_ptr<sim_link>& link, wire_bytes bytes) {
  link->arrived.push_back(std::move(bytes));
  if (link->wake) {
    link->wake();
  }
}

wire_bytes sim_writer::encoded(const frame::envelope& sealed,
                               std::span<const std::byte> body) const {
  wire_bytes bytes(frame::frame_bytes(sealed));
  frame::encode(sealed, body, bytes);
  return bytes;
}

void sim_writer::send(const wire_bytes& bytes) {
  const auto delay = std::exchange(faults_.delay, duration::zero());
  for (const auto& link : links_) {
    const auto earliest = world_.line->now() + delay + world_.chance->microseconds(1, 40);
    link->last_arrival = std::max({link->last_arrival, earliest, faults_.partitioned_until});
    world_.line->at(link->last_arrival, [link, bytes] { deliver(link, bytes); });
  }
}

result<void> sim_writer::write(const frame::envelope& header,
                               std::span<const std::byte> body,
                               time_point /*deadline*/) {
  if (world_.stop->is_raised_above(epoch(header.epoch))) {
    return fail(errc::aborted, "channel: write fenced");
  }
  auto sealed = header;
  sealed.sequence = next_sequence_++;
  VDIST_TRY(frame::seal(sealed, body, {}));
  auto todo = frame::tampering::none;
  if (!faults_.next.empty()) {
    todo = faults_.next.front();
    faults_.next.pop_front();
  }
  if (todo == frame::tampering::old_epoch) {
    sealed.epoch -= std::min(sealed.epoch, 1U);
    VDIST_TRY(frame::seal(sealed, body, {}));
  }
  auto bytes = encoded(sealed, body);
  past_.push_back(bytes);
  if (past_.size() > past_max) {
    past_.pop_front();
  }
  switch (todo) {
  case frame::tampering::drop:
    return {};
  case frame::tampering::full:
    --next_sequence_;
    return fail(errc::timed_out, "channel: no space before the deadline");
  case frame::tampering::reorder:
    if (!held_) {
      held_ = std::move(bytes);
      return {};
    }
    break;
  case frame::tampering::duplicate:
    send(bytes);
    break;
  case frame::tampering::corrupt:
    bytes[world_.chance->below(bytes.size())] ^= std::byte{1} << world_.chance->below(8);
    break;
  case frame::tampering::truncate:
    bytes.resize(world_.chance->below(bytes.size()));
    break;
  case frame::tampering::old_epoch:
  case frame::tampering::none:
    break;
  }
  send(bytes);
  if (const auto late = std::exchange(held_, std::nullopt)) {
    send(*late);
  }
  return {};
}

result<frame::frame_view> sim_reader::read(time_point /*deadline*/) {
  const auto& expected = gate_.expected();
  if (world_.stop->is_raised_above(epoch(expected.epoch))) {
    return fail(errc::aborted, "channel: read fenced");
  }
  while (!link_->arrived.empty()) {
    current_ = std::move(link_->arrived.front());
    link_->arrived.pop_front();
    frame::drop_reason why{};
    const auto view = frame::parse(current_, {}, &why);
    if (!view) {
      gate_.refuse(why);
      return view.error();
    }
    switch (gate_.admit(view->header)) {
    case frame::verdict::drop:
      continue;
    case frame::verdict::hold:
      link_->arrived.push_front(std::move(current_));
      return fail(errc::aborted, "channel: the next frame is of a newer epoch");
    case frame::verdict::lost:
      link_->arrived.push_front(std::move(current_));
      return fail(errc::corrupt, "channel: frames were lost");
    case frame::verdict::pass:
      world_.checks->require(view->header.epoch == expected.epoch,
                             "I4: a frame of another epoch was heard");
      world_.checks->require(!expected.incarnation
                                 || view->header.incarnation == *expected.incarnation,
                             "I5: a frame of another incarnation was heard");
      if (world_.heard != nullptr) {
        *world_.heard = view->header.epoch;
      }
      return *view;
    }
  }
  return fail(errc::timed_out, "channel: no frame before the deadline");
}

} // namespace vdist::testing
