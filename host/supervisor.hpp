// host/supervisor.hpp — the parent of every process of one host: the vault, the control process and
// the workers that it asks for. One thread, one poll loop; it computes nothing, blocks on nothing,
// and knows no model: what a worker is for is bytes that it hands on.
//
//   vdist-run ─┬─ vdist-vault              the memory of all; ends when the supervisor does
//   (board,    ├─ vdist-node               control: actors, front door. Its exit code is the program's
//    ledger)   ├─ vdist-worker …           asked for and given up by the control process
//              └─ vdist-worker …           spares: warm, without an order, or prepared for a rank (spare_pool.hpp)
//
// A process that dies takes down what depends on it, and no more (rest for one):
//
//   a worker dies  → the control process is told; it asks for a successor
//   the node dies  → a new node, which is told of the workers that live on
//   the vault dies → a new vault, which gets the descriptors and sockets of the old one: nobody else notices (H-15)
//   its memory is of no use any more → all but this process are ended and started again (one for all; H-13)
//
// H-5 However the supervisor ends, also by SIGKILL, every process that it started ends (H-1), and
//     with the last one all shared memory, which has no name, is gone.
// H-6 A control process or vault that ended by itself, or was killed, is started again, after a rest that doubles; too
//     often within a window ends everything. A control process that says how it ended (exit code) is believed, unless the
//     code is one of `exit_restart`, `exit_escalated`. The first of them is an operator's wish: neither counted nor rested
//     for. An interrupt is final.
// H-7 Ledger, board and host store are memory of the supervisor; they outlive all others.
// H-8 What a control process writes for the user through output() comes out once, however often it is restarted.
// H-10 A control process is started only when the one before it, and whatever else had to end, has been reaped: ledger
//     and vault have one writer at a time.
// H-12 What is started is the program that its file is at that time: a spare that was started from another file is ended,
//     not used.
// H-11 Nobody is waited for: messages to a control process that does not read are kept, and too many kept ones end it.
// H-13 A control process that needs other memory says which vault it wants (board, vault_wanted) and ends: then vault and
//     workers end, too. Ending with exit_restart for that is planned: its successor comes at once, and this counts as no
//     failure, as often as a cluster can lose a worker.
// H-14 Ends of control processes that one request was the cause of (board, ends_explained) are taken out of the count of H-6
//     before the next one is counted: who is told of the cause is the process that fails the request.
// H-15 The memory of a vault is kept here, too (vault_keeper.hpp), and goes to its successor. When vaults die, again and
//     again, before they have taken it over, node and workers are ended, and all start again with an empty one.
// A program that embeds the engine is the control process itself and cannot be started again: then memory that
// no vault takes over, or the end of the link, ends everything.
#pragma once

#include "transport/socket/message_socket.hpp"
#include "transport/vault/vault_keeper.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/board.hpp"
#include "host/child_table.hpp"
#include "host/outbox.hpp"
#include "host/output_tap.hpp"
#include "host/restart_history.hpp"
#include "host/spare_pool.hpp"

namespace vdist::host {

/// Exit codes of a control process that wants a successor: on purpose, and because it cannot help itself any more.
inline constexpr int exit_restart = 75;
inline constexpr int exit_escalated = 70;

struct supervisor_config {
  std::filesystem::path programs; // folder of vdist-node, vdist-vault, vdist-worker
  /// Arguments of vdist-node, to start one. Unset: the control process is at the other end of `link`.
  std::optional<std::vector<std::string>> control_arguments;
  protocol::host_settings settings;
  restart_limits restarts; // of control process and vault together
  /// Requests that may be under way at a time: what the ledger has room for.
  std::uint32_t accepted_max = 5120;
  /// Of the host store, which control process and workers get; 0: there is none.
  std::size_t store_bytes = 0;
  /// Whether a new control process goes on with the workers of the one before it. Else it finds nothing but an empty vault.
  bool keeps_workers = false;
  /// Whether it finds the requests of the one before it. Else an empty ledger.
  bool keeps_ledger = false;
};

class supervisor {
public:
  explicit supervisor(supervisor_config config);
  ~supervisor(); // ends all children
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  /// Makes board and ledger, starts the vault and starts (or welcomes, over `link`) the control process.
  [[nodiscard]] result<void> start(socket::unique_fd link = {});

  /// Until the control process has ended for good. Returns its exit code. Error: closed, when it or the
  /// vault died too often.
  [[nodiscard]] result<int> run();

private:
  static constexpr protocol::process_key vault_key{.role = protocol::process_role::vault};
  static constexpr protocol::process_key control_key{.role = protocol::process_role::control};

  /// What has to be gone before something is started again.
  enum class restart_scope : std::uint8_t { node, all };

  struct pending_restart {
    restart_scope scope = restart_scope::node;
    time_point due;
  };

  // Starting.
  [[nodiscard]] result<void> start_tree(restart_scope scope);
  [[nodiscard]] result<void> start_empty_vault();
  /// With what is kept of the one before it.
  [[nodiscard]] result<void> start_vault();
  [[nodiscard]] result<void> make_ledger();
  [[nodiscard]] result<void> make_store();
  void give_store(child_spec& to) const;
  [[nodiscard]] result<void> start_control();
  [[nodiscard]] result<void> welcome_control();
  [[nodiscard]] result<socket::unique_fd> new_vault_client();
  [[nodiscard]] result<void> watch_signals();

  // The loop.
  void wait_for_something();
  [[nodiscard]] result<std::optional<int>> turn();
  [[nodiscard]] result<std::optional<int>> take_in(const child_event& event);
  [[nodiscard]] result<int> write_the_rest(int exit_code);
  void look_at_signals();
  [[nodiscard]] result<std::optional<int>> look_at_link();

  /// Not while the control process is away: it has to say first what it goes on with.
  [[nodiscard]] bool may_keep_spares() const { return !pending_ && link_.has_value(); }

  // Ends and restarts.
  [[nodiscard]] result<std::optional<int>> on_control_ended(const child_event& event);
  void restart_as_ordered(bool wants_all);
  void listen_to_vault();
  void on_vault_dying();
  [[nodiscard]] result<void> on_vault_ended(const child_event& event);
  [[nodiscard]] bool is_restarting_all() const;
  [[nodiscard]] bool wants_other_vault() const;
  [[nodiscard]] result<void> plan_restart(restart_scope scope, const std::string& why);
  [[nodiscard]] result<duration> rest_before_restart(const std::string& why);
  void restart_all_at(time_point due);
  void end_all();
  [[nodiscard]] result<void> restart_when_due();
  [[nodiscard]] result<void> replace_vault_when_due();

  [[nodiscard]] static duration detect_of(const protocol::host_settings& settings) {
    return std::chrono::milliseconds(std::max(settings.detect_ms, 1));
  }

  // Messages (supervisor_link.cpp).
  [[nodiscard]] result<void> hear_last_words();
  [[nodiscard]] result<void> write_out(const protocol::output& more);
  [[nodiscard]] result<void> obey(const protocol::host_message& message);
  void spawn(const protocol::spawn_worker& wanted);
  [[nodiscard]] result<std::int32_t> start_worker(const protocol::spawn_worker& wanted);
  void tell(const protocol::host_message& message);

  supervisor_config config_;
  system_clock time_;
  socket::unique_fd signals_;
  std::optional<board> board_;
  vault::vault_keeper kept_{time_};
  std::optional<time_point> vault_due_;        // H-15
  std::optional<socket::message_socket> link_; // to the control process, while it lives
  outbox outbox_;
  output_tap output_;
  socket::unique_fd ledger_;
  std::size_t ledger_bytes_ = 0;
  socket::unique_fd store_;                                 // none without store_bytes
  std::map<std::int32_t, std::uint32_t> last_incarnations_; // by rank
  restart_history restarts_;
  std::size_t planned_restarts_ = 0; // H-13
  std::optional<pending_restart> pending_;
  bool is_interrupted_ = false;
  std::vector<std::byte> encoded_;
  std::optional<child_table> children_; // its destructor needs the rest
  std::optional<spare_pool> spares_;    // among the children
};

} // namespace vdist::host
