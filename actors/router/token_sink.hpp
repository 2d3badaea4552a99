// actors/router/token_sink.hpp — where a request's tokens go: the front door's end of a stream.
#pragma once

#include "runtime/protocol/request.hpp"

namespace vdist::actors {

/// Called by the router's thread only. Must not block.
class token_sink {
public:
  virtual ~token_sink() = default;

  /// In order of position, each position once, one terminal event last.
  virtual void push(const protocol::token_event& event) = 0;

  /// The reader wants no more. Becomes true before the router is sent a `cancel` for it, and stays
  /// so: a cancel that died in a mailbox is found here (O-7).
  [[nodiscard]] virtual bool is_cancelled() const { return false; }

  /// That is because it has all it asked for: a stop string came.
  [[nodiscard]] virtual bool is_satisfied() const { return false; }
};

} // namespace vdist::actors
