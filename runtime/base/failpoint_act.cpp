#include "runtime/base/failpoint_act.hpp"

#include <csignal>
#include <ctime>
#include <thread>
#include <unistd.h>

namespace vdist {

namespace {

/// Does nothing: a signal that is ignored does not rearm its timer.
void on_continue(int /*signal*/) {}

timespec timespec_of(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {.tv_sec = seconds.count(),
          .tv_nsec = static_cast<long>(std::chrono::nanoseconds(time - seconds).count())};
}

} // namespace

void end_self() {
  ::kill(::getpid(), SIGKILL);
  for (;;) {
    ::pause(); // until it arrives
  }
}

/// A timer sends SIGCONT, which continues a stopped process whoever sends it. It repeats: its first
/// signal may come before the stop, when this thread had to wait for a CPU.
void stop_self(std::chrono::milliseconds pause) {
  struct sigaction go_on {};

  struct sigaction before {};

  go_on.sa_handler = on_continue;
  go_on.sa_flags = SA_RESTART;
  sigaction(SIGCONT, &go_on, &before);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGCONT;
  timer_t timer{};
  const itimerspec times{.it_interval = timespec_of(pause), .it_value = timespec_of(pause)};
  const auto end = std::chrono::steady_clock::now() + pause;
  const bool has_timer = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
  if (has_timer && timer_settime(timer, 0, &times, nullptr) == 0) {
    ::kill(::getpid(), SIGSTOP);
    // Another thread may take the signal: this one goes on until it learns of it, and must not take the timer away.
    std::this_thread::sleep_until(end);
  }
  if (has_timer) {
    timer_delete(timer);
  }
  sigaction(SIGCONT, &before, nullptr);
}

} // namespace vdist
