// host/supervisor.hpp — the parent of every process of one host: the vault, the control process and
// the workers that it asks for. One thread, one poll loop; it computes nothing, blocks on nothing,
// and knows no model: what a worker is for is bytes that it hands on.
//
//   vdist-run ─┬─ vdist-vault              the memory of all; ends when the supervisor does
//              ├─ vdist-node               control: actors, front door. Its exit code is the program's
//              └─ vdist-worker …           asked for and given up by the control process
//
// H-5 However the supervisor ends, also by SIGKILL, every process that it started ends (H-1), and
//     with the last one all shared memory, which has no name, is gone.
// H-6 The end of a worker is told to the control process. The end of the control process or of the
//     vault ends everything.
// H-7 The ledger is memory of the supervisor; the control process maps it.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/child_process.hpp"

namespace vdist::host {

struct supervisor_config {
  std::filesystem::path programs; // folder of vdist-node, vdist-vault, vdist-worker
  /// Arguments of vdist-node, to start one. Unset: the control process is at the other end of `link`.
  std::optional<std::vector<std::string>> control_arguments;
};

class supervisor {
public:
  explicit supervisor(supervisor_config config);
  ~supervisor(); // ends all children
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  /// Starts the vault, makes the ledger and starts (or welcomes, over `link`) the control process.
  [[nodiscard]] result<void> start(socket::unique_fd link = {});

  /// Until the control process has ended. Returns its exit code. Error: closed, when it or the
  /// vault died.
  [[nodiscard]] result<int> run();

private:
  [[nodiscard]] result<void> start_vault();
  [[nodiscard]] result<void> make_ledger();
  [[nodiscard]] result<void> start_control();
  [[nodiscard]] result<void> welcome_control();
  [[nodiscard]] result<socket::unique_fd> new_vault_client();
  [[nodiscard]] result<void> watch_signals();
  [[nodiscard]] result<std::optional<int>> turn();
  [[nodiscard]] result<std::optional<int>> look_at_link();
  [[nodiscard]] result<std::optional<int>> look_at_fixed_children();
  void look_at_workers();
  void forward_signal();
  void obey(const protocol::host_message& message);
  void spawn(const protocol::spawn_worker& wanted);
  [[nodiscard]] result<child_process> start_worker(const protocol::spawn_worker& wanted);
  void tell(const protocol::host_message& message);

  supervisor_config config_;
  system_clock time_;
  socket::unique_fd signals_;
  std::optional<socket::message_socket> vault_control_;
  std::optional<socket::message_socket> link_; // to the control process, while it lives
  socket::unique_fd ledger_;
  std::size_t ledger_bytes_ = 0;
  child_process vault_;
  child_process control_;
  std::map<protocol::process_key, child_process> workers_;
  std::vector<std::byte> encoded_;
};

} // namespace vdist::host
