// tests/bench/serve/load_run.hpp — sends a workload to a server and watches the answers: one thread, epoll, thousands of
// connections, each with one request at a time and kept for the next.
//
// L-1 Every request that is begun gets exactly one record, also when nothing answers, and all of the workload are begun
// unless the run is stopped. It ends in bounded time: a request has `timeout` from the moment that it is begun. L-2 Open
// loop: a request's time counts from when it was due, not from when we came to send it, so that a stall of server or client is
// in all the figures it delayed (coordinated omission). L-3 Nothing is sent twice: a connection that ends before its answer
// is a failed request, not another try. L-4 Closed loop: a connection's next request begins when its answer is complete.
#pragma once

#include "tests/bench/serve/answer_reader.hpp"
#include "tests/bench/serve/request_text.hpp"
#include "tests/bench/serve/workload.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace vdist::bench::serve {

struct load_progress {
  double seconds = 0;
  std::size_t requests = 0; // of the workload
  std::size_t begun = 0;
  std::size_t ok = 0;
  std::size_t not_ok = 0; // refused ones included
};

struct load_options {
  request_form form;
  bool is_open_loop = true;
  std::size_t in_flight_max =
      4096; // requests at a time; of a closed loop, how many there always are
  std::chrono::milliseconds timeout{600'000};
  std::size_t idle_connections = 0;        // kept beside the load, without a request
  std::chrono::milliseconds hold{0};       // the run lasts at least so long
  const std::atomic<bool>* stop = nullptr; // borrowed; set: what is under way is interrupted
  std::function<void(const load_progress&)> on_progress; // about once a second; empty: nobody
  std::function<void()>
      before_close; // the run is over, its connections still stand; empty: nothing
};

/// Of one request. Times are of the steady clock.
struct request_record {
  answer_figures answer;
  time_point due;                // open loop: when it was planned; closed loop: as begun
  time_point begun;              // when it was given to a connection
  time_point ended;              // when its fate was known
  std::int32_t input_tokens = 0; // as planned
};

struct load_record {
  std::vector<request_record> requests; // in the order in which they ended
  time_point started;
  time_point ended;
  std::size_t in_flight_peak = 0;
  std::size_t idle_opened = 0;
  std::size_t idle_lost = 0; // that the server had closed at the end
};

/// Errors: not_found (the host), resource_exhausted (descriptors for so many connections), io_failed.
[[nodiscard]] result<load_record> run_load(const workload& load, const load_options& options);

} // namespace vdist::bench::serve
