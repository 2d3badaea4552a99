// actors/router/token_sink.hpp — where a request's tokens go: the front door's end of a stream.
#pragma once

#include "runtime/protocol/request.hpp"

namespace vdist::actors {

/// Called by the router's thread only, in order of position, each position once, one terminal event
/// last. Must not block.
class token_sink {
public:
  virtual ~token_sink() = default;
  virtual void push(const protocol::token_event& event) = 0;
};

} // namespace vdist::actors
