// host/output_tap.hpp — what a control process writes for the user goes through its parent, so that nothing is lost or
// written twice when a successor writes the same again from the beginning.
//
// O-1 Output is a sequence of records. Of each, what has gone out does not go out again, and none is begun before the one
//     before it is complete.
// O-2 A record that streams goes out as it comes: the successor repeats the same bytes, and what is known is skipped. Any
//     other record is kept until it is complete, because a successor may say it differently (times, for example).
// Never waits unless asked to: pipes take 4096 bytes at once when poll() says so. Not thread-safe.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <cstdint>
#include <string>
#include <utility>

namespace vdist::host {

class output_tap {
public:
  /// What a reader that does not read may leave here.
  static constexpr std::size_t waiting_max = std::size_t{64} << 20U;

  /// Writes to `fd`, which is borrowed.
  explicit output_tap(int fd) : fd_(fd) {}

  /// Error: queue_full (waiting_max).
  [[nodiscard]] result<void> take(const protocol::output& more);

  /// A control process begins: what its predecessor left incomplete is said again.
  void restart() { record_text_.clear(); }

  /// As much as goes without waiting. Error: io_failed (nobody will read it any more).
  [[nodiscard]] result<void> flush();

  /// Whether to wait until the descriptor takes more.
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }

  [[nodiscard]] int descriptor() const { return fd_; }

private:
  int fd_;
  std::uint64_t record_ = 0;   // the one that is not complete
  std::uint64_t streamed_ = 0; // bytes of it that are out or waiting
  std::string record_text_;    // of it, if it does not stream
  std::string waiting_;
};

} // namespace vdist::host
