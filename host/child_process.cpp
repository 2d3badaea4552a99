#include "host/child_process.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace vdist::host {

namespace {

/// Descriptors are lifted above this first, so that none is overwritten before it is placed.
constexpr int staging_descriptor = 512;
constexpr int first_descriptor = 3;
constexpr int exec_failed = 127;

/// Everything the child needs, laid out before the fork: after it nothing may be allocated.
struct prepared {
  const char* program = nullptr;
  std::vector<char*> arguments;
  std::vector<int> descriptors;
  bool dies_with_parent = true;
  bool has_own_group = true;
  pid_t parent = 0;
  int report = -1; // where the child writes errno when it cannot become the program
};

[[noreturn]] void give_up(int report) {
  const int cause = errno;
  [[maybe_unused]] const auto written = ::write(report, &cause, sizeof cause);
  ::_exit(exec_failed);
}

/// Signal masks and handlers of the parent mean nothing to the program. One that is not in the terminal's group is not
/// stopped by the terminal either, also when it writes there (stty tostop).
void reset_signals(bool has_own_group) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGPIPE}) {
    ::signal(signal, SIG_DFL);
  }
  for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) {
    ::signal(signal, has_own_group ? SIG_IGN : SIG_DFL);
  }
}

/// H-2. Returns false with errno set.
bool place_descriptors(std::vector<int>& descriptors) {
  for (int& fd : descriptors) {
    fd = ::fcntl(fd, F_DUPFD_CLOEXEC, staging_descriptor);
    if (fd < 0) {
      return false;
    }
  }
  int wanted = first_descriptor;
  for (const int fd : descriptors) {
    if (::dup2(fd, wanted++) < 0) {
      return false;
    }
  }
  return true;
}

/// Runs in the child.
[[noreturn]] void become(prepared& with) {
  const int report = ::fcntl(with.report, F_DUPFD_CLOEXEC, staging_descriptor);
  if (with.has_own_group) {
    ::setpgid(0, 0);
  }
  if (with.dies_with_parent
      && (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != with.parent)) {
    give_up(report);
  }
  reset_signals(with.has_own_group);
  constexpr rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core); // H-9
  if (!place_descriptors(with.descriptors)) {
    give_up(report);
  }
  const auto first_unwanted =
      static_cast<unsigned>(first_descriptor) + static_cast<unsigned>(with.descriptors.size());
  // What the parent opened without close-on-exec does not reach the program either.
  ::syscall(SYS_close_range, first_unwanted, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  ::execv(with.program, with.arguments.data());
  give_up(report);
}

/// 0 when the child became the program, else its errno.
int read_report(int fd) {
  int cause = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd, &cause, sizeof cause);
  } while (got < 0 && errno == EINTR);
  return got == sizeof cause ? cause : 0;
}

error start_failed(const child_spec& spec, int cause) {
  const auto code = cause == ENOENT || cause == EACCES ? errc::not_found
                    : cause == EAGAIN || cause == ENOMEM || cause == EMFILE
                        ? errc::resource_exhausted
                        : errc::io_failed;
  return fail(code,
              fmt::format("start: {} (program={})", std::strerror(cause), spec.program.string()));
}

} // namespace

std::string child_end::text() const {
  return signal != 0 ? fmt::format("killed by signal {} ({})", signal, ::strsignal(signal))
                     : fmt::format("exit code {}", exit_code);
}

child_process::child_process(child_process&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}

child_process& child_process::operator=(child_process&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

void child_process::send_signal(int signal) const noexcept {
  if (pid_ != 0) {
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
  }
}

stop_change child_process::take_stop_change() const noexcept {
  auto last = stop_change::none;
  siginfo_t info{};
  while (pid_ != 0
         && ::waitid(static_cast<idtype_t>(P_PIDFD),
                     static_cast<id_t>(pidfd_.get()),
                     &info,
                     WSTOPPED | WCONTINUED | WNOHANG)
                == 0
         && info.si_pid != 0) {
    const bool is_by_terminal = info.si_code == CLD_STOPPED && info.si_status != SIGSTOP;
    last = info.si_code == CLD_CONTINUED || is_by_terminal ? stop_change::continued
                                                           : stop_change::stopped;
    info = {};
  }
  return last;
}

child_end child_process::reap() {
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WEXITED)
             != 0
         && errno == EINTR) {
  }
  pid_ = 0;
  pidfd_.reset();
  return info.si_code == CLD_EXITED ? child_end{.exit_code = info.si_status}
                                    : child_end{.signal = info.si_status};
}

void child_process::end_within(std::chrono::milliseconds patience) noexcept {
  if (pid_ == 0) {
    return;
  }
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, static_cast<int>(patience.count())) <= 0) {
    send_signal(SIGKILL);
  }
  (void)reap();
}

result<child_process> start_child(const child_spec& spec) {
  const auto program = spec.program.string();
  std::vector<std::string> words{program};
  words.insert(words.end(), spec.arguments.begin(), spec.arguments.end());
  prepared with{.program = program.c_str(),
                .descriptors = spec.descriptors,
                .dies_with_parent = spec.dies_with_parent,
                .has_own_group = spec.has_own_group,
                .parent = ::getpid()};
  for (auto& word : words) {
    with.arguments.push_back(word.data());
  }
  with.arguments.push_back(nullptr);

  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return start_failed(spec, errno);
  }
  const socket::unique_fd reading(ends[0]);
  socket::unique_fd writing(ends[1]);
  with.report = writing.get();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(with);
  }
  if (pid < 0) {
    return start_failed(spec, errno);
  }
  writing.reset();
  socket::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (const int cause = read_report(reading.get()); cause != 0) {
    ::waitpid(pid, nullptr, 0);
    return start_failed(spec, cause);
  }
  if (!pidfd) {
    const int cause = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return start_failed(spec, cause);
  }
  return child_process(pid, std::move(pidfd));
}

} // namespace vdist::host
