// tests/support/process.hpp — runs a program and gathers what it writes. For tests of the programs
// as users see them.
#pragma once

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace vdist::testing {

struct process_result {
  int exit_code = -1; // 128 + signal when a signal ended it
  std::string out;
  std::string err;
  std::chrono::duration<double> wall{};
  std::chrono::duration<double> cpu{};
};

/// A running program; its output goes to files below `folder`, which outlives it.
class process {
public:
  process(const std::vector<std::string>& command,
          const std::filesystem::path& folder,
          const std::string& work_folder)
      : out_(folder / "stdout"),
        err_(folder / "stderr"),
        started_(std::chrono::steady_clock::now()) {
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addchdir_np(&files, work_folder.c_str());
    std::vector<char*> arguments;
    for (const auto& word : command) {
      arguments.push_back(const_cast<char*>(word.c_str()));
    }
    arguments.push_back(nullptr);
    const int failed = posix_spawn(&pid_, arguments[0], &files, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (failed != 0) {
      throw std::runtime_error("cannot start " + command.front());
    }
  }

  process(const process&) = delete;
  process& operator=(const process&) = delete;

  ~process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  void signal(int number) const { ::kill(pid_, number); }

  [[nodiscard]] std::string out() const { return content_of(out_); }

  [[nodiscard]] std::string err() const { return content_of(err_); }

  /// CPU time that the running program has used.
  [[nodiscard]] std::chrono::duration<double> cpu() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    text.erase(0, text.rfind(')') + 2); // from the third field on
    std::size_t at = 0;
    for (int field = 3; field < 14; ++field) {
      at = text.find(' ', at) + 1;
    }
    std::size_t used = 0;
    const auto user = std::stoll(text.substr(at), &used);
    const auto system = std::stoll(text.substr(at + used));
    return std::chrono::duration<double>(static_cast<double>(user + system)
                                         / static_cast<double>(::sysconf(_SC_CLK_TCK)));
  }

  /// Waits for its end.
  process_result wait() {
    int status = 0;
    rusage used{};
    ::wait4(pid_, &status, 0, &used);
    pid_ = 0;
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .out = out(),
            .err = err(),
            .wall = std::chrono::steady_clock::now() - started_,
            .cpu = std::chrono::duration<double>(seconds(used.ru_utime) + seconds(used.ru_stime))};
  }

private:
  static std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path out_;
  std::filesystem::path err_;
  std::chrono::steady_clock::time_point started_;
  pid_t pid_ = 0;
};

} // namespace vdist::testing
