// tests/support/served_run.hpp — a vdist-run that serves HTTP on a port of the system's choice.
#pragma once

#include "tests/support/process_tree.hpp"

#include <cstdint>
#include <string>

namespace vdist::testing {

/// Add to a configuration: no prompt, so it serves.
inline constexpr const char* serving_toml = "[server]\nport = 0\n";

/// Of the line that says where it serves; waits for it. `times`: how many control processes have said so.
inline std::uint16_t port_of(const process& run, int times = 1) {
  const std::string mark = "vdist-run: serving at http://127.0.0.1:";
  std::string text;
  std::size_t at = 0;
  wait_until("it serves", [&] {
    text = run.err();
    at = std::string::npos;
    std::size_t from = 0;
    for (int i = 0; i < times; ++i) {
      at = text.find(mark, from);
      if (at == std::string::npos) {
        return !is_alive(run.pid());
      }
      from = at + mark.size();
    }
    return text.find('\n', at) != std::string::npos;
  });
  BOOST_REQUIRE_MESSAGE(at != std::string::npos, text);
  return static_cast<std::uint16_t>(std::stoi(text.substr(at + mark.size())));
}

} // namespace vdist::testing
