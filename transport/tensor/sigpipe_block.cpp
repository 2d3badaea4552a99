#include "transport/tensor/sigpipe_block.hpp"

#include <cerrno>
#include <ctime>
#include <pthread.h>

namespace vdist::tensor {

sigpipe_block::sigpipe_block() noexcept {
  sigset_t present;
  sigpending(&present);
  was_pending_ = sigismember(&present, SIGPIPE) == 1;
  sigemptyset(&pipe_);
  sigaddset(&pipe_, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
}

sigpipe_block::~sigpipe_block() {
  const timespec at_once{};
  while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &at_once) == -1 && errno == EINTR) {
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

} // namespace vdist::tensor
