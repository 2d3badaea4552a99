// transport/tensor/sigpipe_block.hpp — keeps a write to a closed connection from ending the process,
// for libraries that write without MSG_NOSIGNAL. Only this thread's mask changes, for the life of the
// object: no disposition of the process, which belongs to the program. Internal to transport/tensor.
// A SIGPIPE that comes meanwhile is dropped, one that was pending before stays. A thread that is made
// meanwhile inherits the block for good. Cost: four system calls.
#pragma once

#include <csignal>

namespace vdist::tensor {

class sigpipe_block {
public:
  sigpipe_block() noexcept;
  ~sigpipe_block();
  sigpipe_block(const sigpipe_block&) = delete;
  sigpipe_block& operator=(const sigpipe_block&) = delete;

private:
  sigset_t pipe_;
  sigset_t before_;
  bool was_pending_;
};

} // namespace vdist::tensor
