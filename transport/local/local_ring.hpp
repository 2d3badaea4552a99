// transport/local/local_ring.hpp — a bounded broadcast ring between threads of one process: one
// writer, up to `readers_max` readers; with one reader it is the worker's channel upward.
// Why slots and chunks: a decode plan is 10 KiB and fits one slot (no copy on the reading side); a
// plan that restores every sequence after a recovery can be megabytes and travels as several slots,
// which the reader joins in its own buffer. So the ring stays small and any frame up to
// frame_bytes_max passes, also one larger than the whole ring.
//
// R-1 Publication is one store of head_; readers look at nothing beyond it.
// R-2 The writer reuses a slot only when every attached reader has moved past it.
// R-3 Each attachment has its own cursor. A reader that was detached keeps writing to a cursor that
//     nobody looks at, so a late thread of a dead worker cannot disturb its successor.
// R-4 A frame whose write was interrupted leaves a torn beginning; readers discard it (counted as
//     torn) and its sequence number is used again by the next frame: no gap.
// Threads: write() by one thread at a time; a successor may write only after its predecessor's
// thread has ended. A view of a detached reader may be overwritten: detach a worker whose thread
// still runs only if its results are no longer believed (its incarnation is stale).
// Cost: one CRC and one copy per write, one CRC per read; no allocation once the largest frame has
// been seen.
#pragma once

#include "transport/frame/channel.hpp"
#include "transport/frame/wait_policy.hpp"

#include <memory>
#include <mutex>
#include <vector>

namespace vdist::local {

struct local_ring_settings {
  std::uint32_t readers_max = 1;
  std::uint32_t slots = 16;                        // at least 2
  std::size_t slot_bytes = std::size_t{64} << 10U; // multiple of 64, at least 256
  frame::frame_limits limits;
};

/// What a ring is connected to; all borrowed, all outlive the ring.
struct local_ring_links {
  const frame::fence* stop = nullptr; // ends waits of past epochs
  frame::bell* outer = nullptr; // also rung at every publication and at close: lets one thread
                                // wait for any of several rings
};

class local_ring {
public:
  /// Allocates slots × slot_bytes. Broken settings (see above) are a broken invariant.
  local_ring(const local_ring_settings& settings,
             const local_ring_links& links,
             const frame::wait_policy& waits);
  ~local_ring(); // no reader or writer may be in use
  local_ring(const local_ring&) = delete;
  local_ring& operator=(const local_ring&) = delete;

  /// The writing end; owned by the ring.
  [[nodiscard]] frame::frame_writer& writer() noexcept;

  /// A reader at place `index` that gets all frames written from now on. An older reader of that
  /// place is detached first. The reader must not outlive the ring.
  /// Error: invalid_argument (index), closed.
  [[nodiscard]] result<std::unique_ptr<frame::frame_reader>>
  attach(std::uint32_t index, const frame::expectation& expected);

  /// The writer stops waiting for the reader at `index`; that reader's reads return closed.
  /// Any thread.
  void detach(std::uint32_t index) noexcept;

  /// See C-4. Any thread, repeatedly.
  void close() noexcept;

private:
  struct state;
  class writer_end;
  class reader_end;
  std::unique_ptr<state> state_;
  std::unique_ptr<writer_end> writer_;
};

} // namespace vdist::local
