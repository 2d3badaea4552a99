// transport/shm/shm_ring.hpp — a bounded broadcast ring of frames in memory that its users share:
// one writer, up to `readers_max` readers, threads of a process or processes of a host. Plans go
// down through a ring with one place per worker of a stage, results come up through rings with one.
// Why slots and chunks: a decode plan is 10 KiB and fits one slot; a plan that restores every
// sequence after a recovery can be megabytes and travels as several slots, which the reader joins
// in its own buffer. So the ring stays small and any frame up to the limit passes, also one larger
// than the whole ring.
//
// R-1 Publication is one compare-and-swap of the head after the bytes are there. A writer that is
//     killed before it leaves nothing, after it a whole slot; never a part of one.
// R-2 A slot is written again only when every attached place has moved past it. A reader joins in
//     two steps, at a head that may be old and then at the present one: the writer either sees the
//     place, or has published before that everything that its limit was computed from.
// R-3 Generations (L-1): whoever opens a place or the writing end takes it over; the former owner
//     gets errc::closed and changes nothing any more. Views are the reader's own copies, so nobody
//     can change what a caller looks at.
// R-4 A frame whose writer gave up or died leaves a torn beginning; readers discard it (counted as
//     torn) and its sequence number is used again, also by a successor: no gap.
// R-5 Bytes in the memory are not believed: a broken header is errc::corrupt when it is opened, a
//     broken chunk costs one frame (corrupt), a broken head ends the reader (corrupt, then closed).
// Crashes: a dead reader holds the writer up until detach_reader(), or the writer's deadline. A
// writer that dies between publication and wake-up costs sleepers at most one slice of the wait
// policy. Nothing in the memory is ever locked or allocated.
// Threads: shm_ring itself is immutable, all its functions are callable from any thread. A
// successor of the writer opens the ring after its predecessor has ended; if that one still writes,
// frames may be damaged and are reported so.
// Cost: one CRC and one copy on either side; no allocation once the largest frame has been seen.
#pragma once

#include "transport/frame/channel.hpp"
#include "transport/frame/tamper.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/shm/ring_layout.hpp"

#include <memory>

namespace vdist::shm {

/// What this user's ends are connected to. Fence and bell are borrowed and outlive them; either may
/// be null, and may lie in shared memory.
struct ring_links {
  const frame::fence* stop = nullptr; // ends waits of past epochs
  frame::bell* outer = nullptr;       // also rung for readers: at publication, close and departure.
                                      // Lets one thread wait for any of several rings
  std::shared_ptr<const void> hold; // keeps the memory mapped as long as an end lives; may be null
  std::shared_ptr<frame::tamper>
      tamper; // of the writer, which shares it; null: frames are left alone
};

/// A formatted ring as one user sees it. Borrows the memory, which outlives the ends that it opens;
/// they do not need the shm_ring itself.
class shm_ring {
public:
  /// Checks the header. Errors: corrupt, invalid_argument (alignment).
  [[nodiscard]] static result<shm_ring>
  open(std::span<std::byte> memory, const ring_links& links, const frame::wait_policy& waits);

  [[nodiscard]] const ring_shape& shape() const noexcept { return memory_.shape(); }

  /// The writing end, which goes on with the sequence that it finds; an older writer gets
  /// errc::closed from now on. Its destruction closes nothing. Errors: corrupt, resource_exhausted
  /// (opened 65,000 times).
  [[nodiscard]] result<std::unique_ptr<frame::frame_writer>> open_writer() const;

  /// The reader at place `index`. The first one of a reserved place gets every frame of the ring, a
  /// later one those written from now on, and detaches the older one. Its destruction detaches it.
  /// A closed ring can be opened; reading says so. Errors: invalid_argument (index), corrupt,
  /// resource_exhausted (opened 32,000 times).
  [[nodiscard]] result<std::unique_ptr<frame::frame_reader>>
  open_reader(std::uint32_t index, const frame::expectation& expected) const;

  /// The writer stops waiting for the place at `index`, whoever has it; reads there return closed.
  void detach_reader(std::uint32_t index) const noexcept;

  /// Ends the channel for everybody (C-4). Repeatable.
  void close() const noexcept;

private:
  shm_ring(const ring_memory& memory, const ring_links& links, const frame::wait_policy& waits)
      : memory_(memory), links_(links), waits_(waits) {}

  ring_memory memory_;
  ring_links links_;
  frame::wait_policy waits_;
};

} // namespace vdist::shm
