// tests/bench/serve/own_server.hpp — a vdist-run that is started to be measured, on a port of the system's choice, and ended
// with its object. It is its own process: what it takes is not what the load takes.
#pragma once

#include "tests/bench/serve/report.hpp"
#include "tests/bench/serve/request_text.hpp"

#include "runtime/base/result.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace vdist::bench::serve {

struct own_server_options {
  std::string config;
  std::vector<std::string> overrides; // section.key=value
  std::chrono::seconds start_time{600};
  const std::atomic<bool>* stop = nullptr; // borrowed; set: the start is given up
};

class own_server {
public:
  /// Blocks until requests are served. Errors: those of the configuration; not_found (no vdist-run beside this program),
  /// closed (it ended; the end of what it said is in the text), timed_out, cancelled.
  [[nodiscard]] static result<std::unique_ptr<own_server>> start(const own_server_options& options);

  /// Ends it at once, with all its processes.
  ~own_server();
  own_server(const own_server&) = delete;
  own_server& operator=(const own_server&) = delete;

  [[nodiscard]] const endpoint& where() const;

  /// A key that it takes; empty: it asks for none.
  [[nodiscard]] const std::string& api_key() const;

  /// Of all its processes since the last call, or since its start.
  [[nodiscard]] std::vector<process_cost> costs();

private:
  struct impl;
  explicit own_server(std::unique_ptr<impl> inside);

  std::unique_ptr<impl> impl_;
};

} // namespace vdist::bench::serve
