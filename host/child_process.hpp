// host/child_process.hpp — starts, watches and ends one program. A child never outlives the thread that
// started it, unless asked to, and nothing but the named descriptors reaches it.
//
// H-1 With `dies_with_parent` the kernel kills the child when the starting thread ends, however it
//     ends (PR_SET_PDEATHSIG): start children from a thread that lives as long as they shall.
// H-2 The child sees the given descriptors as 3, 4, …, and stdin, stdout, stderr; no others.
// H-3 A signal goes to the process that was started and to no other that got its number later
//     (pidfd). Only its parent reaps it, so until then the number is its own, and nobody has to compare start times.
// H-9 A child writes no core file: that would delay its end, and its successor, by seconds.
// Thread-safe apart from that: start_child() may be called in a program with threads, because
// between fork and exec only async-signal-safe calls are made.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace vdist::host {

struct child_spec {
  std::filesystem::path program;
  std::vector<std::string> arguments; // without the program's name
  std::vector<int> descriptors;       // borrowed; become 3, 4, …
  bool dies_with_parent = true;       // H-1
  bool has_own_group = true;          // of processes: the terminal's Ctrl-C does not reach it
};

/// How a child ended.
struct child_end {
  int exit_code = 0;
  int signal = 0; // 0: it ended by itself

  /// "exit code 4" or "killed by signal 9 (Killed)".
  [[nodiscard]] std::string text() const;
};

/// What has happened to a child that still exists.
enum class stop_change : std::uint8_t { none, stopped, continued };

/// A started child. Destruction kills and reaps it.
class child_process {
public:
  child_process() = default;

  child_process(pid_t pid, socket::unique_fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  ~child_process() { end(); }

  child_process(child_process&& other) noexcept;
  child_process& operator=(child_process&& other) noexcept;
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Readable when the child has ended. Borrowed.
  [[nodiscard]] int descriptor() const { return pidfd_.get(); }

  /// Nothing happens when it has ended already.
  void send_signal(int signal) const noexcept;

  /// The last change since the previous call. A stop by the terminal (Ctrl-Z) is none that counts. SIGCHLD says when to ask; several may be one.
  [[nodiscard]] stop_change take_stop_change() const noexcept;

  /// Takes note of its end. Call when descriptor() is readable; else waits until it has ended.
  [[nodiscard]] child_end reap();

  /// Waits this long for it to end by itself, then kills and reaps it.
  void end_within(std::chrono::milliseconds patience) noexcept;

  /// Kills it, if it still runs, and reaps it.
  void end() noexcept { end_within(std::chrono::milliseconds(0)); }

private:
  pid_t pid_ = 0; // 0: none, or reaped
  socket::unique_fd pidfd_;
};

/// Errors: not_found (no such program), resource_exhausted, io_failed.
[[nodiscard]] result<child_process> start_child(const child_spec& spec);

} // namespace vdist::host
