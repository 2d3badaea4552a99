#include "actors/run/interrupt.hpp"

#include <csignal>
#include <unistd.h>

namespace vdist::actors {

namespace {

constexpr int exit_interrupted = 130;
volatile std::sig_atomic_t interrupts = 0; // the first signal; the handler's only way to tell

extern "C" void on_interrupt(int number) {
  if (interrupts != 0) {
    ::_exit(exit_interrupted);
  }
  interrupts = number;
}

} // namespace

void watch_for_interrupts() {
  struct sigaction action {};

  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN); // a closed stdout is an error of write(), not our death
}

bool is_interrupted() noexcept {
  return interrupts != 0;
}

int interrupted_by() noexcept {
  return interrupts;
}

} // namespace vdist::actors
