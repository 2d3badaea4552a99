// host/host_link.hpp — the control process's end of the link to its host supervisor: asks for workers,
// and is told how they end. Also makes a supervisor of its own when nobody launched this process:
// that is how a program that embeds the engine gets worker processes.
//
// H-4 on_ended of a spawn is called exactly once, also when the worker could not be started or the
//     supervisor has gone; then nothing of the worker runs any more.
// Thread-safe. Callbacks come from the link's own thread and must not block; none comes after the
// destructor has returned.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/protocol/host.hpp"

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host/child_process.hpp"

namespace vdist::host {

/// One process of the host, for people.
struct process_info {
  protocol::process_key key;
  std::int32_t pid = 0;
};

class host_link {
public:
  using ended = std::function<void(const protocol::process_ended&)>;

  /// Over a descriptor that the supervisor gave to this process.
  [[nodiscard]] static result<std::unique_ptr<host_link>> open(socket::unique_fd link);

  /// Starts a supervisor (`vdist-run` in the folder `programs`) that serves this process alone and
  /// ends with it.
  [[nodiscard]] static result<std::unique_ptr<host_link>>
  launch(const std::filesystem::path& programs);

  ~host_link(); // the supervisor of launch() ends what it started
  host_link(const host_link&) = delete;
  host_link& operator=(const host_link&) = delete;

  /// What the supervisor gave along; call once each.
  [[nodiscard]] socket::unique_fd take_vault() { return std::move(vault_); }

  [[nodiscard]] socket::unique_fd take_ledger() { return std::move(ledger_); }

  [[nodiscard]] std::size_t ledger_bytes() const { return welcome_.ledger_bytes; }

  /// Starts a worker process; `order` is its protocol::worker_order. Error: closed (on_ended is not
  /// called then).
  [[nodiscard]] result<void>
  spawn(const protocol::process_key& key, std::vector<std::byte> order, ended on_ended);

  /// Kills the process; on_ended follows. Unknown keys are ignored.
  void kill(const protocol::process_key& key);

  /// Everything that runs on this host, this process included.
  [[nodiscard]] std::vector<process_info> processes() const;

private:
  struct worker {
    ended on_ended;
    std::int32_t pid = 0;
  };

  host_link(socket::unique_fd link, child_process supervisor);
  [[nodiscard]] result<void> receive_welcome();
  [[nodiscard]] result<void> send(const protocol::host_message& message);
  void listen();
  void obey(const protocol::host_message& message);
  void finish(const protocol::process_ended& how);
  void abandon_all();

  system_clock time_;
  socket::message_socket link_;
  child_process supervisor_; // of launch()
  protocol::host_welcome welcome_;
  socket::unique_fd vault_;
  socket::unique_fd ledger_;

  std::mutex send_mutex_;
  mutable std::mutex mutex_;
  std::map<protocol::process_key, worker> workers_; // guarded by mutex_
  bool is_closed_ = false;                          // guarded by mutex_
  std::atomic<bool> is_stopping_{false};
  std::thread listener_;
};

} // namespace vdist::host
