// tests/fault/cluster_talk.hpp — asks a running vdist-run what vdist-ctl would ask, without a process for each question.
// Nothing is cached. A cluster that is not there (yet, or any more), and a control process that is just being replaced,
// answer nothing: nullopt.
#pragma once

#include "tests/support/process.hpp"

#include "actors/control/control_client.hpp"
#include "actors/control/protocol.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <utility>

namespace vdist::testing {

class cluster_talk {
public:
  explicit cluster_talk(pid_t program, std::string name = "vdist")
      : address_{.name = std::move(name), .pid = program} {}

  [[nodiscard]] std::optional<control::cluster_status> status() const {
    return asked(control::control_request::kind::status, {}, control::decode_status);
  }

  [[nodiscard]] std::optional<control::fault_page> faults() const { return order({}); }

  [[nodiscard]] std::optional<control::fault_page> arm(std::string rule) const {
    return order({.what = control::fault_order::kind::arm, .rule = std::move(rule)});
  }

  [[nodiscard]] std::optional<control::fault_page> clear() const {
    return order({.what = control::fault_order::kind::clear, .rule = {}});
  }

  [[nodiscard]] bool drain() const {
    return asked(control::control_request::kind::drain, {}, control::decode_drain).has_value();
  }

private:
  template <class Answer>
  [[nodiscard]] std::optional<Answer> asked(control::control_request::kind what,
                                            control::fault_order wanted,
                                            result<Answer> (*decode)(std::string_view)) const {
    const auto reply = control::ask(
        address_,
        control::encode(control::control_request{.what = what, .order = std::move(wanted)}),
        std::chrono::seconds(2));
    if (!reply) {
      return std::nullopt;
    }
    auto decoded = decode(*reply);
    return decoded ? std::optional(std::move(*decoded)) : std::nullopt;
  }

  [[nodiscard]] std::optional<control::fault_page> order(control::fault_order wanted) const {
    return asked(control::control_request::kind::faults, std::move(wanted), control::decode_faults);
  }

  control::cluster_address address_;
};

/// Whether the program still runs; it stays to be waited for.
inline bool has_ended(const process& program) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(program.pid()), &info, WEXITED | WNOHANG | WNOWAIT) != 0
         || info.si_pid != 0;
}

/// Looks until `is_so`; false: the program ended first, or `patience` did.
template <class Predicate>
bool wait_while_running(const process& program,
                        std::chrono::milliseconds patience,
                        const Predicate& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!is_so()) {
    if (has_ended(program) || std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1)); // nobody tells when it is so
  }
  return true;
}

} // namespace vdist::testing
