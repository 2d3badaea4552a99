// transport/frame/channel.hpp — ordered, loss-free, bounded channels of frames: one writer, one or
// more readers. Forms: transport/shm (threads of a process, processes of a host),
// transport/zmq (hosts). One conformance test for all: tests/transport/channel_conformance.hpp.
//
// C-1 A reader gets every frame written since it was attached, in order, once, with a checked CRC.
// C-2 A full channel makes the writer wait (back-pressure); it never drops.
// C-3 Every wait ends by its deadline (timed_out), by a raised fence (aborted) or by a close
//     (closed). An interrupted read or write may be repeated; nothing was lost or doubled by it.
// C-4 After a close readers still get what was written before it, then errc::closed; writers get
//     errc::closed at once, also when no reader is attached any more.
// C-5 Frames of a past epoch or incarnation are skipped and counted (frame_gate); of a newer epoch
//     they are kept and read() says aborted until expect() names that epoch.
// One thread at a time per writer object and per reader object; different objects are independent.
#pragma once

#include "transport/frame/frame_gate.hpp"

#include "runtime/base/clock.hpp"

namespace vdist::frame {

class frame_writer {
public:
  virtual ~frame_writer() = default;

  /// Sends one frame; stamps sequence, length and checksum. Errors: timed_out (back-pressure beyond
  /// the deadline), aborted (the fence is above header.epoch), closed, invalid_argument (too long).
  [[nodiscard]] virtual result<void>
  write(const envelope& header, std::span<const std::byte> body, time_point deadline) = 0;

  /// Ends the channel for everybody; wakes all waiters. Callable from any thread, repeatedly.
  virtual void close() noexcept = 0;
};

class frame_reader {
public:
  virtual ~frame_reader() = default;

  /// The next frame. The view stays valid until the next read(), expect(), close() or destruction.
  /// A deadline in the past makes it a poll. Errors: timed_out, aborted, closed, corrupt (one frame
  /// was damaged or lost; reading goes on behind it).
  [[nodiscard]] virtual result<frame_view> read(time_point deadline) = 0;

  /// Whether read() would return at once. Cheap; for a thread that serves several channels.
  [[nodiscard]] virtual bool has_frame() const noexcept = 0;

  /// From now on listens to this peer, incarnation and epoch (C-5).
  virtual void expect(const expectation& expected) = 0;

  /// Detaches this reader: the writer no longer waits for it. Callable from any thread.
  virtual void close() noexcept = 0;

  [[nodiscard]] virtual const drop_counters& drops() const noexcept = 0;
};

} // namespace vdist::frame
