// tests/runtime/ledger/child_process.hpp — children that a test kills: one that runs on its own, and
// one that runs one instruction at a time, so that the test can look at, or change, what they share
// between any two of them. None outlives its object.
#pragma once

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <functional>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace vdist::testing {

/// Runs `act`, which does not return, until it is killed.
class forked_child {
public:
  explicit forked_child(const std::function<void()>& act) : pid_(fork()) {
    BOOST_REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      act();
      _exit(1);
    }
  }

  forked_child(const forked_child&) = delete;
  forked_child& operator=(const forked_child&) = delete;

  ~forked_child() { kill(); }

  /// True: it ran until then.
  bool kill() {
    if (pid_ < 0) {
      return false;
    }
    int status = 0;
    ::kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFSIGNALED(status);
  }

private:
  pid_t pid_;
};

class traced_child {
public:
  /// What the child calls where the stepping is to start, and again where it may end.
  using mark = std::function<void()>;

  /// The child runs `act` and exits with 0; it stands still at the first mark.
  explicit traced_child(const std::function<void(const mark&)>& act) {
    if (!can_step) {
      return;
    }
    pid_ = fork();
    BOOST_REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      act([is_traced = false]() mutable {
        is_traced = is_traced || ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0;
        raise(is_traced ? SIGSTOP : SIGKILL);
      });
      _exit(0);
    }
    wait();
  }

  traced_child(const traced_child&) = delete;
  traced_child& operator=(const traced_child&) = delete;

  ~traced_child() {
    if (is_traced()) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  /// False: no child can be traced here, or it has ended.
  [[nodiscard]] bool is_traced() const { return pid_ > 0 && WIFSTOPPED(status_); }

  /// Runs one instruction; false: the child is at its second mark, or has ended.
  bool step() {
    // Plain conditions: thousands of counted checks would cost more than the steps.
    if (ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0
        || waitpid(pid_, &status_, 0) != pid_) {
      BOOST_FAIL("the child cannot be traced any longer");
    }
    return WIFSTOPPED(status_) && WSTOPSIG(status_) == SIGTRAP;
  }

  /// Runs the rest at full speed, past the marks that are left.
  void finish() {
    while (is_traced()) {
      BOOST_REQUIRE(ptrace(PTRACE_CONT, pid_, nullptr, nullptr) == 0);
      wait();
    }
  }

  /// Of a child that has ended; -1: a signal ended it.
  [[nodiscard]] int exit_code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1; }

private:
  // Under the thread sanitizer most instructions are its own, and a case would take minutes.
#if defined(__SANITIZE_THREAD__)
  static constexpr bool can_step = false;
#else
  static constexpr bool can_step = true;
#endif

  void wait() {
    BOOST_REQUIRE(waitpid(pid_, &status_, 0) == pid_);
  }

  pid_t pid_ = -1;
  int status_ = 0;
};

} // namespace vdist::testing
