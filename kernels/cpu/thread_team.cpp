#include "kernels/cpu/thread_team.hpp"

#include <chrono>
#include <climits>
#include <csignal>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vdist::kernels {

namespace {

constexpr std::uint64_t field = (1U << 20) - 1U;

std::int32_t units_of(std::uint64_t ticket) {
  return static_cast<std::int32_t>(ticket & field);
}

std::int32_t next_of(std::uint64_t ticket) {
  return static_cast<std::int32_t>((ticket >> 20) & field);
}

/// About a microsecond of courtesy to the other hardware thread, then to the other threads of this
/// core.
void pause_and_yield() noexcept {
#if defined(__x86_64__)
  for (int i = 0; i < 16; ++i) {
    _mm_pause();
  }
#endif
  sched_yield();
}

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  static_assert(sizeof word == sizeof(std::uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

} // namespace

thread_team::thread_team(std::int32_t threads) {
  // Helpers take no signals: those belong to the threads that handle them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (std::int32_t thread = 1; thread < threads; ++thread) {
    helpers_.emplace_back([this, thread] { help(thread); });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

thread_team::~thread_team() {
  is_stopping_.store(true);
  signal_.fetch_add(1);
  futex_wake_all(signal_);
  for (std::thread& helper : helpers_) {
    helper.join();
  }
}

void thread_team::share(std::int32_t units, const void* context, unit_function function) noexcept {
  context_ = context;
  function_ = function;
  finished_.store(0, std::memory_order_relaxed);
  const std::uint64_t job = (ticket_.load(std::memory_order_relaxed) >> 40) + 1;
  ticket_.store(job << 40 | static_cast<std::uint64_t>(units), std::memory_order_seq_cst);
  // Either we see the sleeper, or the sleeper, which counts itself first, sees the new ticket.
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    signal_.fetch_add(1);
    futex_wake_all(signal_);
  }
  while (take_and_run(0)) {
  }
  while (finished_.load(std::memory_order_acquire) != units) {
    pause_and_yield();
  }
}

bool thread_team::has_work() const noexcept {
  const std::uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
  return next_of(ticket) < units_of(ticket);
}

bool thread_team::take_and_run(std::int32_t thread) noexcept {
  std::uint64_t ticket = ticket_.load(std::memory_order_relaxed);
  do {
    if (next_of(ticket) >= units_of(ticket)) {
      return false;
    }
  } while (!ticket_.compare_exchange_weak(ticket,
                                          ticket + (std::uint64_t{1} << 20),
                                          std::memory_order_acquire,
                                          std::memory_order_relaxed));
  function_(context_, next_of(ticket), thread);
  finished_.fetch_add(1, std::memory_order_release);
  return true;
}

bool thread_team::spin_for_work() const noexcept {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(spin_us);
  do {
    if (has_work() || is_stopping_.load(std::memory_order_relaxed)) {
      return true;
    }
    pause_and_yield();
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void thread_team::sleep_for_work() noexcept {
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  const std::uint32_t seen = signal_.load(std::memory_order_seq_cst);
  if (!has_work() && !is_stopping_.load(std::memory_order_seq_cst)) {
    futex_wait(signal_, seen);
  }
  sleepers_.fetch_sub(1, std::memory_order_seq_cst);
}

void thread_team::help(std::int32_t thread) noexcept {
  while (!is_stopping_.load(std::memory_order_acquire)) {
    while (take_and_run(thread)) {
    }
    if (!spin_for_work()) {
      sleep_for_work();
    }
  }
}

} // namespace vdist::kernels
