#include "transport/local/local_ring.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <optional>

namespace vdist::local {

namespace {

constexpr std::size_t line_bytes = 64;

struct alignas(line_bytes) line {
  std::byte bytes[line_bytes];
};

/// In front of every slot's payload.
struct slot_head {
  std::uint32_t bytes = 0;       // payload of this slot
  std::uint32_t flags = 0;       // chunk_first | chunk_last
  std::uint64_t frame_bytes = 0; // of the whole frame
};

constexpr std::uint32_t chunk_first = 1;
constexpr std::uint32_t chunk_last = 2;

/// One reader's place in the ring. Shared by the ring's table and the reader itself: either may go
/// first.
struct attachment {
  alignas(line_bytes) std::atomic<std::uint64_t> cursor{0}; // slots read; moved by the reader only
  alignas(line_bytes) std::atomic<bool> is_detached{false};
};

} // namespace

struct local_ring::state {
  state(const local_ring_settings& s, const local_ring_links& l, const frame::wait_policy& w)
      : settings(s),
        links(l),
        waits(w),
        memory(s.slots * s.slot_bytes / line_bytes),
        readers(s.readers_max) {}

  [[nodiscard]] std::byte* slot(std::uint64_t number) {
    return memory[number % settings.slots * (settings.slot_bytes / line_bytes)].bytes;
  }

  [[nodiscard]] std::size_t payload_max() const { return settings.slot_bytes - sizeof(slot_head); }

  void ring_readers() {
    data.ring();
    if (links.outer != nullptr) {
      links.outer->ring();
    }
  }

  /// The reader that holds the writer up most: its index and cursor. Locks.
  struct slowest {
    std::size_t index = 0;
    std::uint64_t cursor = std::numeric_limits<std::uint64_t>::max();
  };

  [[nodiscard]] slowest find_slowest() {
    const std::lock_guard lock(mutex);
    slowest found;
    for (std::size_t i = 0; i < readers.size(); ++i) {
      if (readers[i] != nullptr) {
        const auto cursor = readers[i]->cursor.load(std::memory_order_acquire);
        found = cursor < found.cursor ? slowest{i, cursor} : found;
      }
    }
    return found;
  }

  /// Takes `which` (nullptr: whoever is there) out of the table.
  void detach(std::size_t index, const attachment* which) {
    {
      const std::lock_guard lock(mutex);
      auto& place = readers[index];
      if (place == nullptr || (which != nullptr && place.get() != which)) {
        return;
      }
      place->is_detached.store(true, std::memory_order_release);
      place.reset();
      reader_count.fetch_sub(1, std::memory_order_release);
    }
    space.ring();
    ring_readers();
  }

  void close() {
    is_closed.store(true, std::memory_order_release);
    space.ring();
    ring_readers();
  }

  const local_ring_settings settings;
  const local_ring_links links;
  const frame::wait_policy waits;
  std::vector<line> memory;
  std::mutex mutex;
  std::vector<std::shared_ptr<attachment>> readers; // guarded by mutex; shared with the reader
  std::atomic<std::uint32_t> reader_count{0};       // places taken
  std::atomic<bool> is_closed{false};
  alignas(line_bytes) std::atomic<std::uint64_t> head{0}; // slots published
  frame::bell data;                                       // rung at publication
  frame::bell space;                                      // rung when a reader moves on or goes
};

class local_ring::writer_end final : public frame::frame_writer {
public:
  explicit writer_end(state& ring) : ring_(ring) {}

  result<void> write(const frame::envelope& header,
                     std::span<const std::byte> body,
                     time_point deadline) override {
    frame::envelope sealed = header;
    sealed.sequence = next_sequence_;
    VDIST_TRY(frame::seal(sealed, body, ring_.settings.limits));
    const std::size_t total = frame::frame_bytes(sealed);
    for (std::size_t offset = 0; offset < total;) {
      VDIST_TRY(wait_for_space(epoch(header.epoch), deadline));
      offset += publish(sealed, body, offset, total);
    }
    ++next_sequence_;
    return {};
  }

  void close() noexcept override { ring_.close(); }

private:
  /// Whether the slot at head may be written, or waiting for it is pointless. limit_ may be older
  /// than a reader that has been attached since: its cursor started at a head that was not behind
  /// the one limit_ was computed from, so the old limit does not overrun it either.
  bool has_space_or_end() {
    if (ring_.is_closed.load(std::memory_order_acquire)
        || ring_.reader_count.load(std::memory_order_acquire) == 0) {
      return true;
    }
    const auto head = ring_.head.load(std::memory_order_relaxed);
    if (head < limit_) {
      return true;
    }
    const auto slowest = ring_.find_slowest();
    if (slowest.cursor != std::numeric_limits<std::uint64_t>::max()) {
      limit_ = slowest.cursor + ring_.settings.slots;
    }
    return head < limit_;
  }

  result<void> wait_for_space(epoch mine, time_point deadline) {
    const frame::wait_bounds bounds{
        .deadline = deadline, .stop = ring_.links.stop, .mine = mine, .expected_at = {}};
    const auto status = ring_.waits.wait(
        ring_.space, [this] { return has_space_or_end(); }, bounds);
    if (status == frame::wait_status::aborted) {
      return fail(errc::aborted, fmt::format("local ring: write fenced (epoch={})", mine.value));
    }
    if (status == frame::wait_status::timed_out) {
      return fail(errc::timed_out,
                  fmt::format("local ring: no space before the deadline (slots={} reader={})",
                              ring_.settings.slots,
                              ring_.find_slowest().index));
    }
    if (ring_.is_closed.load(std::memory_order_acquire)) {
      return fail(errc::closed, "local ring: closed");
    }
    if (ring_.reader_count.load(std::memory_order_acquire) == 0) {
      return fail(errc::closed, "local ring: no reader is attached");
    }
    return {};
  }

  /// Fills the slot at head with the frame's bytes from `offset` on; returns how many fitted.
  std::size_t publish(const frame::envelope& sealed,
                      std::span<const std::byte> body,
                      std::size_t offset,
                      std::size_t total) {
    const auto head = ring_.head.load(std::memory_order_relaxed);
    std::byte* slot = ring_.slot(head);
    const std::size_t bytes = std::min(ring_.payload_max(), total - offset);
    slot_head chunk;
    chunk.bytes = static_cast<std::uint32_t>(bytes);
    chunk.flags = (offset == 0 ? chunk_first : 0U) | (offset + bytes == total ? chunk_last : 0U);
    chunk.frame_bytes = total;
    std::memcpy(slot, &chunk, sizeof chunk);
    std::byte* payload = slot + sizeof chunk;
    if (offset == 0) { // a slot always has room for the envelope
      std::memcpy(payload, &sealed, sizeof sealed);
      copy(body.first(bytes - sizeof sealed), payload + sizeof sealed);
    } else {
      copy(body.subspan(offset - sizeof sealed, bytes), payload);
    }
    ring_.head.store(head + 1, std::memory_order_release);
    ring_.ring_readers();
    return bytes;
  }

  static void copy(std::span<const std::byte> from, std::byte* to) {
    if (!from.empty()) {
      std::memcpy(to, from.data(), from.size());
    }
  }

  state& ring_;
  std::uint64_t limit_ = 0; // head may rise to this without looking at the readers again
  std::uint64_t next_sequence_ = 1;
};

class local_ring::reader_end final : public frame::frame_reader {
public:
  reader_end(state& ring,
             std::size_t index,
             std::shared_ptr<attachment> place,
             const frame::expectation& expected)
      : ring_(ring),
        index_(index),
        place_(std::move(place)),
        cursor_(place_->cursor.load(std::memory_order_relaxed)),
        gate_(expected) {}

  ~reader_end() override { close(); }

  result<frame::frame_view> read(time_point deadline) override {
    while (true) {
      if (!held_) {
        release_slot();
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
                    fmt::format("local ring: the next frame is of a newer epoch (frame={} mine={})",
                                view.header.epoch,
                                gate_.expected().epoch));
      case frame::verdict::lost:
        return fail(
            errc::corrupt,
            fmt::format("local ring: frames were lost (sequence={})", view.header.sequence));
      case frame::verdict::drop:
        held_.reset();
        continue;
      case frame::verdict::pass:
        held_.reset();
        return view;
      }
    }
  }

  bool has_frame() const noexcept override {
    return held_ || ring_.head.load(std::memory_order_acquire) > cursor_ + (holds_slot_ ? 1U : 0U)
           || ring_.is_closed.load(std::memory_order_acquire) || is_detached();
  }

  void expect(const frame::expectation& expected) override { gate_.expect(expected); }

  void close() noexcept override { ring_.detach(index_, place_.get()); }

  const frame::drop_counters& drops() const noexcept override { return gate_.drops(); }

private:
  [[nodiscard]] bool is_detached() const noexcept {
    return place_->is_detached.load(std::memory_order_acquire);
  }

  static error detached() { return fail(errc::closed, "local ring: the reader is detached"); }

  [[nodiscard]] bool has_slot() const {
    return ring_.head.load(std::memory_order_acquire) > cursor_;
  }

  /// Gives the slot that the last view pointed into back to the writer.
  void release_slot() {
    if (holds_slot_) {
      holds_slot_ = false;
      ++cursor_;
      place_->cursor.store(cursor_, std::memory_order_release);
      ring_.space.ring();
    }
  }

  result<void> wait_for_slot(time_point deadline) {
    const frame::wait_bounds bounds{.deadline = deadline,
                                    .stop = ring_.links.stop,
                                    .mine = epoch(gate_.expected().epoch),
                                    .expected_at = {}};
    const auto can_go_on = [this] {
      return has_slot() || is_detached() || ring_.is_closed.load(std::memory_order_acquire);
    };
    switch (ring_.waits.wait(ring_.data, can_go_on, bounds)) {
    case frame::wait_status::aborted:
      return fail(errc::aborted,
                  fmt::format("local ring: read fenced (epoch={})", gate_.expected().epoch));
    case frame::wait_status::timed_out:
      return fail(errc::timed_out, "local ring: no frame before the deadline");
    case frame::wait_status::ok:
      break;
    }
    if (is_detached()) {
      return detached();
    }
    // The writer publishes before it closes: what is there now was written before the close (C-4).
    return has_slot() ? result<void>{} : fail(errc::closed, "local ring: closed");
  }

  /// Takes the slot at the cursor: a whole frame, or nothing yet when it is one chunk of many.
  result<std::optional<frame::frame_view>> take_slot() {
    holds_slot_ = true;
    const std::byte* slot = ring_.slot(cursor_);
    slot_head chunk;
    std::memcpy(&chunk, slot, sizeof chunk);
    const std::span payload(slot + sizeof chunk, chunk.bytes);
    const bool is_first = (chunk.flags & chunk_first) != 0;
    const bool is_last = (chunk.flags & chunk_last) != 0;
    if (is_first) {
      if (is_joining_) {
        gate_.refuse(frame::drop_reason::torn);
      }
      is_joining_ = !is_last;
      if (is_last) {
        return parse(payload);
      }
      joined_.clear();
      joined_.reserve(chunk.frame_bytes);
    } else if (!is_joining_) {
      return std::optional<frame::frame_view>{}; // attached in the middle of this frame
    }
    joined_.insert(joined_.end(), payload.begin(), payload.end());
    if (!is_last) {
      return std::optional<frame::frame_view>{};
    }
    is_joining_ = false;
    return parse(joined_);
  }

  result<std::optional<frame::frame_view>> parse(std::span<const std::byte> bytes) {
    frame::drop_reason why{};
    auto view = frame::parse(bytes, ring_.settings.limits, &why);
    if (!view) {
      gate_.refuse(why);
      return view.error();
    }
    return std::optional(*view);
  }

  state& ring_;
  const std::size_t index_;
  const std::shared_ptr<attachment> place_; // shared with the ring's table until detached
  std::uint64_t cursor_;                    // this thread's copy of place_->cursor
  frame::frame_gate gate_;
  std::optional<frame::frame_view> held_; // parsed, not yet admitted (G-2)
  bool holds_slot_ = false;               // the slot at cursor_ is in use by a view
  bool is_joining_ = false;
  std::vector<std::byte> joined_; // chunks so far; bounded by frame_limits
};

local_ring::local_ring(const local_ring_settings& settings,
                       const local_ring_links& links,
                       const frame::wait_policy& waits) {
  VDIST_CHECK(settings.readers_max >= 1 && settings.slots >= 2 && settings.slot_bytes >= 256
                  && settings.slot_bytes % line_bytes == 0
                  && settings.slot_bytes <= std::numeric_limits<std::uint32_t>::max(),
              "local ring: settings are outside their legal range");
  state_ = std::make_unique<state>(settings, links, waits);
  writer_ = std::make_unique<writer_end>(*state_);
}

local_ring::~local_ring() = default;

frame::frame_writer& local_ring::writer() noexcept {
  return *writer_;
}

result<std::unique_ptr<frame::frame_reader>>
local_ring::attach(std::uint32_t index, const frame::expectation& expected) {
  if (index >= state_->settings.readers_max) {
    return fail(errc::invalid_argument,
                fmt::format("local ring: no such reader place (index={} readers_max={})",
                            index,
                            state_->settings.readers_max));
  }
  if (state_->is_closed.load(std::memory_order_acquire)) {
    return fail(errc::closed, "local ring: closed");
  }
  detach(index);
  auto place = std::make_shared<attachment>();
  {
    const std::lock_guard lock(state_->mutex);
    place->cursor.store(state_->head.load(std::memory_order_acquire), std::memory_order_relaxed);
    state_->readers[index] = place;
    state_->reader_count.fetch_add(1, std::memory_order_release);
  }
  return std::unique_ptr<frame::frame_reader>(
      std::make_unique<reader_end>(*state_, index, std::move(place), expected));
}

void local_ring::detach(std::uint32_t index) noexcept {
  if (index < state_->settings.readers_max) {
    state_->detach(index, nullptr);
  }
}

void local_ring::close() noexcept {
  state_->close();
}

} // namespace vdist::local
