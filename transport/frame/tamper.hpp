// transport/frame/tamper.hpp — damages frames on purpose, between sealing and channel: what a fault script does to a channel.
// It has to sit inside the writer: only there a frame has its sequence, so only there one can be lost, doubled or moved so
// that the reader sees what a real fault would show it.
#pragma once

#include "transport/frame/envelope.hpp"

#include <cstdint>

namespace vdist::frame {

/// What becomes of one frame.
enum class tampering : std::uint8_t {
  none,
  drop,      // its sequence is used, the frame never comes: a gap
  duplicate, // twice, with one sequence
  reorder,   // behind the next frame; never, if there is none
  corrupt,   // a bit of the body (of the envelope, if there is none) is flipped after sealing
  truncate,  // the second half of the body is missing; as corrupt, if there is none
  old_epoch, // sealed with the epoch before
  full,      // the write fails as if there were no room
};

/// Asked by the writer for every frame, in its thread.
class tamper {
public:
  virtual ~tamper() = default;

  /// `sealed`: as the frame would be written.
  [[nodiscard]] virtual tampering on_frame(const envelope& sealed) = 0;

  /// A slot has its header and not yet its bytes; nothing of it is published. A place to end the writer.
  virtual void inside_slot() {}
};

} // namespace vdist::frame
