#include "transport/shm/ring_end.hpp"
#include "transport/shm/word_copy.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace vdist::shm {

namespace {

class ring_writer final : public frame::frame_writer {
public:
  ring_writer(const ring_end& end, const stamp& head, std::uint64_t sequence)
      : end_(end), head_(head), next_sequence_(sequence) {}

  result<void> write(const frame::envelope& header,
                     std::span<const std::byte> body,
                     time_point deadline) override {
    mine_ = epoch(header.epoch);
    frame::envelope sealed = header;
    sealed.sequence = next_sequence_;
    VDIST_TRY(frame::seal(sealed, body, end_.memory.shape().limits));
    if (end_.links.tamper) [[unlikely]] {
      VDIST_TRY(put_tampered(sealed, body, deadline));
    } else {
      VDIST_TRY(put(sealed, body, deadline));
    }
    ++next_sequence_;
    return {};
  }

  void close() noexcept override { end_.close(); }

private:
  using tampering = frame::tampering;

  /// Writes a sealed frame. A body that is shorter than the envelope promises is one that was cut.
  result<void>
  put(const frame::envelope& sealed, std::span<const std::byte> body, time_point deadline) {
    const std::size_t total = sizeof sealed + body.size();
    for (std::size_t offset = 0; offset < total;) {
      VDIST_TRY(wait_for_space(deadline));
      const std::size_t bytes = fill_slot(sealed, body, offset);
      VDIST_TRY(publish());
      offset += bytes;
    }
    return {};
  }

  /// What the tamper makes of a frame. Every number still takes at least one slot before the next
  /// frame's, but for one that was held back.
  result<void>
  put_tampered(frame::envelope sealed, std::span<const std::byte> body, time_point deadline) {
    switch (end_.links.tamper->on_frame(sealed)) {
    case tampering::drop:
      return put_torn(sealed, deadline);
    case tampering::duplicate:
      VDIST_TRY(put(sealed, body, deadline));
      break;
    case tampering::reorder:
      if (!held_) {
        held_ = held_frame{sealed, {body.begin(), body.end()}};
        return {};
      }
      break;
    case tampering::corrupt:
      return put_corrupt(sealed, body, deadline);
    case tampering::truncate:
      return body.empty() ? put_corrupt(sealed, body, deadline)
                          : put(sealed, body.first(body.size() / 2), deadline);
    case tampering::old_epoch:
      sealed.epoch -= std::min(sealed.epoch, 1U);
      VDIST_TRY(frame::seal(sealed, body, end_.memory.shape().limits));
      break;
    case tampering::full:
      return no_space();
    case tampering::none:
      break;
    }
    VDIST_TRY(put(sealed, body, deadline));
    if (const auto late = std::exchange(held_, std::nullopt)) {
      return put(late->sealed, late->body, deadline);
    }
    return {};
  }

  /// The beginning of a frame that never ends: it has its number and its slot, and readers pass over it.
  result<void> put_torn(const frame::envelope& sealed, time_point deadline) {
    VDIST_TRY(wait_for_space(deadline));
    end_.memory.store_chunk(head_.position,
                            {.bytes = 1,
                             .flags = chunk_first,
                             .frame_bytes = sizeof sealed,
                             .sequence = sealed.sequence});
    copy_to_shared(std::as_bytes(std::span(&sealed, 1)).first(1),
                   end_.memory.payload(head_.position));
    return publish();
  }

  result<void>
  put_corrupt(frame::envelope sealed, std::span<const std::byte> body, time_point deadline) {
    std::vector<std::byte> bytes(body.begin(), body.end());
    if (bytes.empty()) {
      sealed.reserved ^= 1U;
    } else {
      bytes[bytes.size() / 2] ^= std::byte{1};
    }
    return put(sealed, bytes, deadline);
  }

  enum class outlook : std::uint8_t { full, has_space, closed, replaced, unread, corrupt };

  /// What became of the slot at head. limit_ may be older than a reader that has joined since; R-2
  /// says why it does not overrun that one either.
  outlook look() {
    const auto& header = end_.memory.header();
    if (end_.is_closed()) {
      return outlook::closed;
    }
    if (header.head.load() != head_.packed()) { // before its successor's slots are touched
      return outlook::replaced;
    }
    const auto departures = header.departures.load();
    if (departures == departures_seen_ && head_.position < limit_) {
      return outlook::has_space;
    }
    departures_seen_ = departures;
    return look_at_places();
  }

  outlook look_at_places() {
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    for (std::uint32_t i = 0; i < end_.memory.shape().readers_max; ++i) {
      const auto place = stamp::unpack(end_.memory.place(i).load());
      if (place.is_attached() && place.position < least) {
        least = place.position;
        slowest_ = i;
      }
    }
    limit_ = 0;
    if (least == std::numeric_limits<std::uint64_t>::max()) {
      return outlook::unread;
    }
    if (least > head_.position) {
      return outlook::corrupt;
    }
    limit_ = least + end_.memory.shape().slots;
    return head_.position < limit_ ? outlook::has_space : outlook::full;
  }

  result<void> wait_for_space(time_point deadline) {
    const frame::wait_bounds bounds{
        .deadline = deadline, .stop = end_.links.stop, .mine = mine_, .expected_at = {}};
    auto seen = outlook::full;
    const auto can_go_on = [this, &seen] {
      seen = look();
      return seen != outlook::full;
    };
    switch (end_.waits.wait(end_.memory.header().space, can_go_on, bounds)) {
    case frame::wait_status::aborted:
      return fail(errc::aborted, fmt::format("ring: write fenced (epoch={})", mine_.value));
    case frame::wait_status::timed_out:
      return no_space();
    case frame::wait_status::ok:
      break;
    }
    switch (seen) {
    case outlook::closed:
      return fail(errc::closed, "ring: closed");
    case outlook::replaced:
      return replaced();
    case outlook::unread:
      return fail(errc::closed, "ring: no reader is attached");
    case outlook::corrupt:
      return fail(errc::corrupt, fmt::format("ring: a reader is ahead (reader={})", slowest_));
    default:
      return {};
    }
  }

  [[nodiscard]] error no_space() const {
    return fail(errc::timed_out,
                fmt::format("ring: no space before the deadline (slots={} reader={})",
                            end_.memory.shape().slots,
                            slowest_));
  }

  static error replaced() { return fail(errc::closed, "ring: another writer has taken over"); }

  /// Fills the slot at head with the frame's bytes from `offset` on; returns how many fitted.
  std::size_t fill_slot(const frame::envelope& sealed,
                        std::span<const std::byte> body,
                        std::size_t offset) const {
    const std::size_t total = sizeof sealed + body.size();
    const std::size_t bytes = std::min(end_.memory.payload_max(), total - offset);
    end_.memory.store_chunk(
        head_.position,
        {.bytes = static_cast<std::uint32_t>(bytes),
         .flags = (offset == 0 ? chunk_first : 0U) | (offset + bytes == total ? chunk_last : 0U),
         .frame_bytes = total,
         .sequence = sealed.sequence});
    if (end_.links.tamper) [[unlikely]] {
      end_.links.tamper->inside_slot();
    }
    std::byte* payload = end_.memory.payload(head_.position);
    if (offset == 0) { // a slot always has room for the envelope
      copy_to_shared(std::as_bytes(std::span(&sealed, 1)), payload);
      copy_to_shared(body.first(bytes - sizeof sealed), payload + sizeof sealed);
    } else {
      copy_to_shared(body.subspan(offset - sizeof sealed, bytes), payload);
    }
    return bytes;
  }

  ///
  result<void> publish() {
    auto expected = head_.packed();
    const stamp next{head_.generation, head_.position + 1};
    if (!end_.memory.header().head.compare_exchange_strong(expected, next.packed())) {
      return replaced();
    }
    head_ = next;
    end_.wake_readers();
    return {};
  }

  const ring_end end_;
  stamp head_;              // what this writer last published
  std::uint64_t limit_ = 0; // head may rise to this without looking at the places again
  std::uint32_t departures_seen_ = 0;
  std::uint32_t slowest_ = 0; // the place that holds the writer up
  std::uint64_t next_sequence_;
  epoch mine_; // of the frame that is being written, whatever a tamper makes of its envelope

  /// Of a tamper.
  struct held_frame {
    frame::envelope sealed;
    std::vector<std::byte> body;
  };

  std::optional<held_frame> held_; // comes behind the next frame
};

/// The number of the next frame: behind the last one that is complete in the ring.
result<std::uint64_t> recover_sequence(const ring_memory& memory, const stamp& head) {
  if (head.position == 0) {
    return std::uint64_t{1};
  }
  const auto last = memory.load_chunk(head.position - 1);
  // Every number took at least one slot.
  if (last.sequence == 0 || last.sequence > head.position) {
    return fail(errc::corrupt,
                fmt::format("ring: impossible sequence (sequence={} head={})",
                            last.sequence,
                            head.position));
  }
  return last.sequence + (last.is_last() ? 1 : 0);
}

} // namespace

result<std::unique_ptr<frame::frame_writer>> make_ring_writer(const ring_end& end) {
  auto& head = end.memory.header().head;
  auto word = head.load();
  stamp mine;
  do {
    mine = stamp::unpack(word).later(1);
    if (mine.position > position_max) {
      return fail(errc::corrupt, fmt::format("ring: impossible head (head={})", mine.position));
    }
    if (mine.generation > generation_max) {
      return fail(errc::resource_exhausted, "ring: opened by too many writers");
    }
  } while (!head.compare_exchange_weak(word, mine.packed()));
  VDIST_ASSIGN(const auto sequence, recover_sequence(end.memory, mine));
  end.memory.header().space.ring(); // a predecessor that waits there learns that it is replaced
  end.wake_readers();               // or it died between publication and wake-up
  return std::unique_ptr<frame::frame_writer>(std::make_unique<ring_writer>(end, mine, sequence));
}

} // namespace vdist::shm
