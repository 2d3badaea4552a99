#include "transport/tensor/sigpipe_block.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <sys/wait.h>
#include <unistd.h>

using vdist::tensor::sigpipe_block;

BOOST_AUTO_TEST_SUITE(sigpipe_block_suite)

namespace {

/// Writes to a pipe that nobody reads; whether that gave an error instead of a signal's death.
bool write_to_nobody() {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) {
    return false;
  }
  close(ends[0]);
  const bool is_refused = write(ends[1], "x", 1) == -1 && errno == EPIPE;
  close(ends[1]);
  return is_refused;
}

bool is_pending() {
  sigset_t present;
  sigpending(&present);
  return sigismember(&present, SIGPIPE) == 1;
}

/// Runs `body` in a process of its own with SIGPIPE's default action; its status.
template <class Body>
int status_of(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_write_to_nobody_is_an_error_and_leaves_nothing_pending) {
  const int status = status_of([] {
    bool is_right = false;
    {
      const sigpipe_block block;
      is_right = write_to_nobody() && is_pending();
    }
    return is_right && !is_pending();
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(outside_of_it_nothing_has_changed) {
  const int status = status_of([] {
    { const sigpipe_block block; }
    return write_to_nobody();
  });
  BOOST_TEST(WIFSIGNALED(status));
  BOOST_TEST(WTERMSIG(status) == SIGPIPE);
}

BOOST_AUTO_TEST_CASE(a_signal_that_was_pending_before_stays) {
  const int status = status_of([] {
    const sigpipe_block of_the_program;
    const bool is_right = write_to_nobody() && is_pending();
    {
      const sigpipe_block block;
      write_to_nobody();
    }
    return is_right && is_pending();
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()
