// tests/transport/vault/vault_fixture.hpp — vaults to talk to: a server on a thread of this process
// and the program vdist-vault as a child of it. Both end with the object, which waits for the end.
#pragma once

#include "transport/vault/vault_client.hpp"
#include "transport/vault/vault_server.hpp"

#include "runtime/base/log.hpp"

#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace vdist::testing {

inline const vdist::system_clock vault_clock;

/// Only a defect ever waits that long.
[[nodiscard]] inline time_point vault_patience() {
  return vault_clock.now() + std::chrono::seconds(20);
}

/// The parent's side of a vault, wherever its server runs.
class vault_host {
public:
  vault_host();
  virtual ~vault_host() = default;
  vault_host(const vault_host&) = delete;
  vault_host& operator=(const vault_host&) = delete;

  /// A client's end of a new pair.
  [[nodiscard]] socket::unique_fd open_client() const;
  [[nodiscard]] std::unique_ptr<vault::vault_client>
  make_client(const vault::vault_client_settings& settings = {},
              const vault::device_access& devices = {}) const;

  /// For messages that no parent sends.
  [[nodiscard]] const socket::message_socket& control() const { return *control_; }

  /// Lets go of the control socket; the server ends.
  void close() { control_.reset(); }

protected:
  socket::unique_fd server_end_;

private:
  std::unique_ptr<socket::message_socket> control_;
};

class server_thread final : public vault_host {
public:
  explicit server_thread(const vault::vault_server_settings& settings = {},
                         const vault::device_memory_source& devices = {});
  ~server_thread() override;

private:
  result<void> served_; // written by thread_
  std::thread thread_;
};

class server_process final : public vault_host {
public:
  explicit server_process(const std::vector<std::string>& arguments = {});
  ~server_process() override;

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Waits for its end; the exit code, or minus the signal.
  int wait();

private:
  pid_t pid_ = -1;
};

/// For tests whose clients are refused: the server's log lines are expected.
struct quiet_log {
  quiet_log() { log::initialise("off"); }

  ~quiet_log() { log::initialise("info"); }

  quiet_log(const quiet_log&) = delete;
  quiet_log& operator=(const quiet_log&) = delete;
};

/// Starts vdist-vault with these arguments; `control` becomes its descriptor 3.
[[nodiscard]] pid_t start_vault(const std::vector<std::string>& arguments, int control);
/// Exit code of a child, or minus the signal that ended it.
int wait_for(pid_t child);

} // namespace vdist::testing
