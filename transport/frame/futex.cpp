#include "transport/frame/futex.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vdist::frame::futex {

namespace {

// The kernel reads and writes a plain 32-bit word where the atomic is.
std::uint32_t* address(const std::atomic<std::uint32_t>& word) {
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
  return reinterpret_cast<std::uint32_t*>(const_cast<std::atomic<std::uint32_t>*>(&word));
}

constexpr std::int64_t ns_per_s = 1'000'000'000;

timespec to_timespec(std::int64_t ns) {
  return timespec{.tv_sec = ns / ns_per_s, .tv_nsec = ns % ns_per_s};
}

#ifdef FUTEX_32
bool can_wait_for_two() {
  // No words at all is refused with EINVAL by a kernel that knows the call.
  return syscall(SYS_futex_waitv, nullptr, 0U, 0U, nullptr, 0) == -1 && errno == EINVAL;
}
#endif

} // namespace

void wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, address(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void wait(const std::atomic<std::uint32_t>& word,
          std::uint32_t seen,
          std::chrono::nanoseconds at_most) noexcept {
  if (at_most.count() <= 0) {
    return;
  }
  const timespec relative = to_timespec(at_most.count());
  syscall(SYS_futex, address(word), FUTEX_WAIT, seen, &relative, nullptr, 0);
}

void wait_two(const std::atomic<std::uint32_t>& word,
              std::uint32_t seen,
              const std::atomic<std::uint32_t>& other,
              std::uint32_t other_seen,
              std::chrono::nanoseconds at_most) noexcept {
  if (at_most.count() <= 0) {
    return;
  }
#ifdef FUTEX_32
  static const bool has_call = can_wait_for_two();
  if (has_call) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const timespec end =
        to_timespec(std::int64_t{now.tv_sec} * ns_per_s + now.tv_nsec + at_most.count());
    const auto entry = [](const std::atomic<std::uint32_t>& w, std::uint32_t value) {
      futex_waitv waiter{};
      waiter.val = value;
      waiter.uaddr = reinterpret_cast<std::uintptr_t>(address(w));
      waiter.flags = FUTEX_32;
      return waiter;
    };
    std::array waiters{entry(word, seen), entry(other, other_seen)};
    syscall(SYS_futex_waitv, waiters.data(), waiters.size(), 0U, &end, CLOCK_MONOTONIC);
    return;
  }
#endif
  if (other.load(std::memory_order_seq_cst) == other_seen) {
    wait(word, seen, std::min<std::chrono::nanoseconds>(at_most, two_words_poll));
  }
}

} // namespace vdist::frame::futex
