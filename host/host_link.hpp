// host/host_link.hpp — the control process's end of the link to its host supervisor: asks for workers,
// and is told how they end. Also makes a supervisor of its own when nobody launched this process:
// that is how a program that embeds the engine gets worker processes.
//
// A control process that follows a dead one finds the workers that lived on (`living`): each is a stranger until it is
// adopted, if only to be ended.
//
// H-4 on_ended of a spawn or adoption is called exactly once, also when the worker could not be started or the
//     supervisor has gone; then nothing of the worker runs any more. on_dying is called at most once, before it.
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

#include "host/board.hpp"
#include "host/child_process.hpp"

namespace vdist::host {

/// One process of the host, for people.
struct process_info {
  protocol::process_key key;
  std::int32_t pid = 0;
};

/// What its owner wants to hear of a worker process.
struct worker_callbacks {
  std::function<void(const protocol::process_ended&)> on_ended;
  std::function<void()>
      on_dying; // may be empty: it does nothing useful any more, but is not over yet
};

class host_link {
public:
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

  [[nodiscard]] socket::unique_fd take_store() { return std::move(store_); }

  /// Of the host store; 0: there is none.
  [[nodiscard]] std::size_t store_bytes() const { return welcome_.store_bytes; }

  /// The host's board; lives as long as this.
  [[nodiscard]] const host::board& board() const { return *board_; }

  /// The same for who uses it longer.
  [[nodiscard]] const std::shared_ptr<const host::board>& shared_board() const { return board_; }

  /// How many control processes the supervisor has had, this one included.
  [[nodiscard]] std::uint32_t node_starts() const { return welcome_.node_starts; }

  /// From now on the link's thread asks `gets_on` several times within `stall`, and says on the board when the answer is
  /// yes. A process that has not said so for `stall` is killed by its supervisor. `gets_on` must not block. Nothing
  /// happens unless is_child().
  void watch(std::function<bool()> gets_on, std::chrono::milliseconds stall);

  /// Nobody is asked any more when this returns, and nothing is expected of this process.
  void stop_watching();

  /// The workers that outlived the control process before this one, at the time of its start.
  [[nodiscard]] const std::vector<protocol::living_worker>& living() const {
    return welcome_.living;
  }

  /// The last incarnation of a rank, living or not; 0: it had none.
  [[nodiscard]] std::uint32_t last_incarnation(std::int32_t rank) const;

  /// Starts a worker process from what `wanted` says. Error: closed (nothing is called then).
  [[nodiscard]] result<void> spawn(protocol::spawn_worker wanted, worker_callbacks callbacks);

  /// Takes over one of the living. What has happened to it meanwhile is told at once, by this call. Error: not_found (it
  /// is none, or has an owner).
  [[nodiscard]] result<void> adopt(const protocol::process_key& key, worker_callbacks callbacks);

  /// From now on a spare is kept for what `wanted` says (runtime/protocol/host.hpp, P-7). `on_ready` (may be empty) hears of
  /// every spare of the rank that has become ready, until the next call for it.
  void prepare_spare(protocol::prepare_spare wanted,
                     std::function<void(const protocol::spare_ready&)> on_ready);

  /// Kills the process; on_ended follows. Unknown keys are ignored.
  void kill(const protocol::process_key& key);

  /// Any signal to any process of the host. Unknown keys are ignored.
  void signal(const protocol::process_key& key, int number);

  /// Hands on part of what the user is to read; of any length. Only for a child of the supervisor (is_child()). Errors:
  /// closed, timed_out.
  [[nodiscard]] result<void> write_output(protocol::output more);

  /// Whether the supervisor is the parent of this process, and not launched by it.
  [[nodiscard]] bool is_child() const { return welcome_.life < life_entries_max; }

  /// How the supervisor looks after processes from now on.
  void configure(const protocol::host_settings& settings);

  /// Everything that runs on this host, this process included.
  [[nodiscard]] std::vector<process_info> processes() const;

private:
  struct worker {
    worker_callbacks callbacks; // no on_ended: a stranger
    std::int32_t pid = 0;
    bool is_dying = false;                      // of a stranger: to be told
    std::optional<protocol::process_ended> how; // of a stranger that has ended: to be told
  };

  host_link(socket::unique_fd link, child_process supervisor);
  [[nodiscard]] result<void> receive_welcome();
  [[nodiscard]] result<void> send(const protocol::host_message& message);
  void listen();
  [[nodiscard]] time_point look_after_self();
  void try_send(const char* operation, const protocol::host_message& message);
  void obey(const protocol::host_message& message);
  void note_dying(const protocol::process_key& key);
  void finish(const protocol::process_ended& how);
  void note_ready(const protocol::spare_ready& ready);
  void abandon_all();

  system_clock time_;
  socket::message_socket link_;
  child_process supervisor_; // of launch()
  protocol::host_welcome welcome_;
  socket::unique_fd vault_;
  socket::unique_fd ledger_;
  socket::unique_fd store_;
  std::shared_ptr<const host::board> board_; // shared with those who use its areas

  std::mutex send_mutex_;
  mutable std::mutex mutex_;
  std::int32_t vault_pid_ = 0;                      // guarded by mutex_
  std::map<protocol::process_key, worker> workers_; // guarded by mutex_
  std::map<std::int32_t, std::function<void(const protocol::spare_ready&)>>
      spares_;             // by rank; guarded by mutex_
  bool is_closed_ = false; // guarded by mutex_
  std::atomic<bool> is_stopping_{false};

  std::mutex watch_mutex_;
  std::function<bool()> gets_on_;          // guarded by watch_mutex_; empty: not watched
  std::chrono::milliseconds look_pause_{}; // guarded by watch_mutex_
  time_point next_look_{};                 // guarded by watch_mutex_
  progress_word progress_;                 // guarded by watch_mutex_
  std::thread listener_;
};

} // namespace vdist::host
