#include "host/output_tap.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <unistd.h>

namespace vdist::host {

result<void> output_tap::take(const protocol::output& more) {
  if (more.record != record_) {
    return {}; // it is out
  }
  const auto* text = reinterpret_cast<const char*>(more.bytes.data());
  if (more.is_stream) {
    const auto known =
        std::min<std::uint64_t>(streamed_ - std::min(streamed_, more.offset), more.bytes.size());
    waiting_.append(text + known, more.bytes.size() - known);
    streamed_ += more.bytes.size() - known;
  } else {
    record_text_.append(text, more.bytes.size());
  }
  if (waiting_.size() + record_text_.size() > waiting_max) {
    return fail(errc::queue_full, "stdout: nobody reads it");
  }
  if (more.is_end) {
    waiting_ += std::exchange(record_text_, {});
    streamed_ = 0;
    ++record_;
  }
  return {};
}

result<void> output_tap::flush() {
  constexpr std::size_t chunk_max = 4096; // PIPE_BUF
  while (!waiting_.empty()) {
    pollfd one{.fd = fd_, .events = POLLOUT, .revents = 0};
    if (::poll(&one, 1, 0) <= 0) {
      return {};
    }
    const auto written = ::write(fd_, waiting_.data(), std::min(waiting_.size(), chunk_max));
    if (written < 0 && errno != EINTR && errno != EAGAIN) {
      return fail(errc::io_failed, "stdout: cannot be written");
    }
    waiting_.erase(0, static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
  }
  return {};
}

} // namespace vdist::host
