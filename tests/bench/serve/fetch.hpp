// tests/bench/serve/fetch.hpp — one request on a connection of its own, for what is asked of a server beside the load.
#pragma once

#include "tests/bench/serve/request_text.hpp"

#include "runtime/base/result.hpp"

#include <chrono>
#include <string>

namespace vdist::bench::serve {

struct fetched {
  int status = 0;
  std::string body;
};

/// `request`: head and body, as get_of() makes them. Blocks no longer than `timeout`, but for the resolution of a name.
/// Errors: not_found (the host), closed (nobody listens, or the connection ended), timed_out, corrupt (not HTTP, or too large).
[[nodiscard]] result<fetched>
fetch(const endpoint& from, const std::string& request, std::chrono::milliseconds timeout);

} // namespace vdist::bench::serve
