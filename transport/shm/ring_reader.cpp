#include "transport/shm/ring_end.hpp"
#include "transport/shm/word_copy.hpp"

#include <fmt/format.h>
#include <vector>

namespace vdist::shm {

namespace {

class ring_reader final : public frame::frame_reader {
public:
  ring_reader(const ring_end& end,
              std::uint32_t index,
              const stamp& mine,
              const frame::expectation& expected)
      : end_(end),
        index_(index),
        generation_(mine.generation),
        cursor_(mine.position),
        gate_(expected),
        buffer_(end.memory.shape().slot_bytes) {}

  ~ring_reader() override { detach(); }

  ring_reader(const ring_reader&) = delete;
  ring_reader& operator=(const ring_reader&) = delete;

  result<frame::frame_view> read(time_point deadline) override {
    while (true) {
      if (!held_) {
        VDIST_TRY(wait_for_slot(deadline));
        VDIST_ASSIGN(held_, take_slot());
        if (!held_) {
          continue;
        }
      } else if (is_detached()) {
        return detached();
      }
      const frame::frame_view view = *held_;
      switch (gate_.admit(view.header)) {
      case frame::verdict::hold:
        return fail(errc::aborted,
                    fmt::format("ring: the next frame is of a newer epoch (frame={} mine={})",
                                view.header.epoch,
                                gate_.expected().epoch));
      case frame::verdict::lost:
        return fail(errc::corrupt,
                    fmt::format("ring: frames were lost (sequence={})", view.header.sequence));
      case frame::verdict::drop:
        held_.reset();
        continue;
      case frame::verdict::pass:
        held_.reset();
        return view;
      }
    }
  }

  bool has_frame() const noexcept override { return held_ || can_go_on(); }

  void expect(const frame::expectation& expected) override { gate_.expect(expected); }

  void close() noexcept override { detach(); }

  const frame::drop_counters& drops() const noexcept override { return gate_.drops(); }

private:
  void detach() const noexcept { end_.detach(index_, generation_); }

  [[nodiscard]] bool is_detached() const noexcept {
    return stamp::unpack(end_.memory.place(index_).load()).generation != generation_;
  }

  static error detached() { return fail(errc::closed, "ring: the reader is detached"); }

  [[nodiscard]] bool can_go_on() const noexcept {
    return end_.memory.head().position != cursor_ || end_.is_closed() || is_detached();
  }

  result<void> wait_for_slot(time_point deadline) const {
    const frame::wait_bounds bounds{.deadline = deadline,
                                    .stop = end_.links.stop,
                                    .mine = epoch(gate_.expected().epoch),
                                    .expected_at = {}};
    const auto ready = [this] {
      return can_go_on();
    };
    switch (end_.waits.wait(end_.memory.header().data, ready, bounds)) {
    case frame::wait_status::aborted:
      return fail(errc::aborted,
                  fmt::format("ring: read fenced (epoch={})", gate_.expected().epoch));
    case frame::wait_status::timed_out:
      return fail(errc::timed_out, "ring: no frame before the deadline");
    case frame::wait_status::ok:
      break;
    }
    if (is_detached()) {
      return detached();
    }
    // The writer publishes before it closes: what is there now was written before the close (C-4).
    const auto head = end_.memory.head().position;
    if (head == cursor_) {
      return fail(errc::closed, "ring: closed");
    }
    if (head - cursor_ > end_.memory.shape().slots) { // R-5; also when it is behind
      detach();
      return fail(errc::corrupt,
                  fmt::format("ring: impossible head (head={} cursor={})", head, cursor_));
    }
    return {};
  }

  /// Takes the slot at the cursor: a whole frame, or nothing yet when it is one chunk of many. What
  /// was copied is looked at only after the cursor has moved: the place was ours until then, so no
  /// writer that keeps R-2 has touched the slot.
  result<std::optional<frame::frame_view>> take_slot() {
    const auto chunk = end_.memory.load_chunk(cursor_);
    const std::size_t start = chunk.is_first() ? 0 : filled_;
    const bool is_wanted = chunk.is_first() || is_joining_;
    const bool is_good = is_plausible(chunk, start);
    if (is_wanted && is_good) {
      if (buffer_.size() < start + chunk.bytes) {
        buffer_.resize(start + chunk.bytes);
      }
      copy_from_shared(end_.memory.payload(cursor_),
                       std::span(buffer_).subspan(start, chunk.bytes));
    }
    VDIST_TRY(advance());
    if (!is_wanted) {
      return std::optional<frame::frame_view>{}; // joined in the middle of this frame
    }
    if (is_joining_ && chunk.is_first()) {
      gate_.refuse(frame::drop_reason::torn);
    }
    is_joining_ = is_good && !chunk.is_last();
    if (!is_good) {
      gate_.refuse(frame::drop_reason::too_long);
      return fail(errc::corrupt,
                  fmt::format("ring: impossible chunk (bytes={} frame_bytes={} flags={})",
                              chunk.bytes,
                              chunk.frame_bytes,
                              chunk.flags));
    }
    filled_ = start + chunk.bytes;
    return is_joining_ ? std::optional<frame::frame_view>{} : parse();
  }

  /// Whether a chunk that begins at `start` of its frame may be what it says.
  [[nodiscard]] bool is_plausible(const chunk_info& chunk, std::size_t start) const {
    const auto end = start + chunk.bytes;
    const auto& limits = end_.memory.shape().limits;
    return chunk.bytes > 0 && chunk.bytes <= end_.memory.payload_max()
           && chunk.frame_bytes <= sizeof(frame::envelope) + limits.body_bytes_max
           && (chunk.is_last() ? end == chunk.frame_bytes : end < chunk.frame_bytes);
  }

  /// Gives the slot back to the writer. Rings only when the writer can be waiting for this reader:
  /// it waits while head == cursor + slots of the slowest. Cursor and head are sequentially
  /// consistent: either we see that head, or the writer sees this cursor.
  result<void> advance() {
    auto expected = stamp{generation_, cursor_}.packed();
    const stamp next{generation_, cursor_ + 1};
    if (!end_.memory.place(index_).compare_exchange_strong(expected, next.packed())) {
      return detached();
    }
    if (end_.memory.head().position - cursor_ >= end_.memory.shape().slots) {
      end_.memory.header().space.ring();
    }
    ++cursor_;
    return {};
  }

  result<std::optional<frame::frame_view>> parse() {
    frame::drop_reason why{};
    const auto bytes = std::span(buffer_).first(filled_);
    auto view = frame::parse(bytes, end_.memory.shape().limits, &why);
    if (!view) {
      gate_.refuse(why);
      return view.error();
    }
    return std::optional(*view);
  }

  const ring_end end_;
  const std::uint32_t index_;
  const std::uint16_t generation_;
  std::uint64_t cursor_; // slots read; the place holds the same
  frame::frame_gate gate_;
  std::optional<frame::frame_view> held_; // parsed, not yet admitted (G-2)
  bool is_joining_ = false;               // buffer_ holds the beginning of a frame
  std::vector<std::byte> buffer_; // the frame that views point into; a slot, more once one had to
                                  // be joined
  std::size_t filled_ = 0;
};

} // namespace

result<std::unique_ptr<frame::frame_reader>>
make_ring_reader(const ring_end& end, std::uint32_t index, const frame::expectation& expected) {
  auto& place = end.memory.place(index);
  auto word = place.load();
  stamp mine;
  bool is_first = false;
  do {
    const auto seen = stamp::unpack(word);
    const auto head = end.memory.head().position;
    if (head > position_max) {
      return fail(errc::corrupt, fmt::format("ring: impossible head (head={})", head));
    }
    if (seen.generation > generation_max) {
      return fail(errc::resource_exhausted,
                  fmt::format("ring: place was opened too often (index={})", index));
    }
    is_first = seen.generation == reserved_generation;
    mine = seen.later(seen.is_attached() ? 2 : 1);
    mine.position = is_first ? seen.position : head;
  } while (!place.compare_exchange_weak(word, mine.packed()));
  if (!is_first) { // the writer sees the place now; what it had published before is not ours
    auto expected_word = mine.packed();
    mine.position = end.memory.head().position;
    // Fails when the place was taken over or detached meanwhile; read() will say so.
    place.compare_exchange_strong(expected_word, mine.packed());
    end.memory.header().space.ring();
    end.wake_readers();
  }
  return std::unique_ptr<frame::frame_reader>(
      std::make_unique<ring_reader>(end, index, mine, expected));
}

} // namespace vdist::shm
