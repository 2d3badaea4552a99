// runtime/protocol/host.hpp — between the host supervisor, which is the parent of every process of a
// host, and the control process, which decides who lives.
//
//   supervisor ──host_welcome──▶ control     first; carries three descriptors: vault client, ledger, board; a fourth, the host
//                                            store, if it has bytes
//   control ──spawn_worker──▶ supervisor     process_started or process_ended follows
//   control ──kill_process──▶ supervisor     SIGKILL; process_ended follows
//   control ──signal_process──▶ supervisor   any signal, to any process; what comes of it is told as always
//   control ──output──▶ supervisor           what the user is to read, in order (host/output_tap.hpp)
//   control ──host_settings──▶ supervisor    at any time; the last one holds
//   control ──prepare_spare──▶ supervisor    when a worker of the rank has loaded; spare_ready may follow
//   supervisor ──process_started, process_dying, process_ended, spare_ready──▶ control
//
// P-1 A process is known by (role, rank, incarnation); no key is used twice.
// P-2 Every spawn_worker is answered by exactly one process_ended in the end, also when the process
//     could not be started. After it nothing of that process runs any more.
// P-3 Messages travel over one message socket; when it closes, the other side has gone.
// P-4 A control process that follows a dead one is told in host_welcome which workers live, and the last incarnation of
//     every rank that ever had one. It adopts or kills each of them; process_ended comes for these as well.
// P-5 process_dying says that a process has come to its end and will do nothing useful any more, before it is over. It is
//     told at most once, and not always: process_ended alone is certain.
// P-6 Both ends are of one version (runtime/protocol/version.hpp): a welcome of another one is refused, and says so.
// P-7 The last prepare_spare of a rank holds, also for later control processes, until a spawn_worker of the rank uses it up:
//     whoever loads asks again. The same one again changes nothing; another one ends the spare that was prepared for the
//     one before. spare_ready is told for every spare that has come to its rest, late or never, and relied on by nobody.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/protocol/version.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::protocol {

enum class process_role : std::uint8_t { supervisor = 0, vault = 1, control = 2, worker = 3 };

/// The program's name without "vdist-": run, vault, node, worker.
[[nodiscard]] std::string_view to_string(process_role role) noexcept;

struct process_key {
  process_role role = process_role::worker;
  std::int32_t rank = 0; // global; 0 but for workers
  std::uint32_t incarnation = 1;

  auto operator<=>(const process_key&) const = default;
};

/// "worker rank=3 incarnation=2", for messages.
[[nodiscard]] std::string to_string(const process_key& key);

/// A worker that outlived its control process.
struct living_worker {
  process_key key;
  std::int32_t pid = 0;
  std::uint64_t order_hash = 0; // of its spawn_worker

  bool operator==(const living_worker&) const = default;
};

/// The last incarnation of a rank, living or not.
struct last_incarnation {
  std::int32_t rank = 0;
  std::uint32_t incarnation = 0;

  bool operator==(const last_incarnation&) const = default;
};

struct host_welcome {
  std::int32_t supervisor_pid = 0;
  std::int32_t vault_pid = 0;
  std::uint64_t ledger_bytes = 0;
  std::uint32_t node_starts = 1;      // how many control processes there were, this one included
  std::uint32_t life = 0xffffffff;    // the control process's entry of the board; all ones: none
  std::vector<living_worker> living;  // P-4
  std::vector<last_incarnation> last; // P-4, by rank
  std::uint32_t version = programs_version; // P-6
  std::uint64_t store_bytes = 0;            // of the host store; 0: there is none

  bool operator==(const host_welcome&) const = default;
};

struct spawn_worker {
  process_key key;
  std::vector<std::byte> order; // protocol::worker_order, not looked at
  std::uint64_t order_hash =
      0; // for whoever may adopt the worker: what it was started for; not looked at either
  std::uint64_t spare_hash = 0; // of the prepare_spare whose spare it may be; 0: of none

  bool operator==(const spawn_worker&) const = default;
};

/// A spare that is to wait for the end of the rank's worker, with everything done that can be done before.
struct prepare_spare {
  std::int32_t rank = 0;
  std::vector<std::byte>
      order; // as of spawn_worker, but for the incarnation; empty: no spare is wanted any more
  std::uint64_t order_hash = 0; // names the order; not 0

  bool operator==(const prepare_spare&) const = default;
};

struct spare_ready {
  std::int32_t rank = 0;
  std::int32_t pid = 0;
  std::int64_t at_ns = 0; // monotonic clock of the host

  bool operator==(const spare_ready&) const = default;
};

struct kill_process {
  process_key key;

  bool operator==(const kill_process&) const = default;
};

struct process_started {
  process_key key;
  std::int32_t pid = 0;

  bool operator==(const process_started&) const = default;
};

struct process_ended {
  process_key key;
  std::int32_t pid = 0;    // 0: it could not be started
  std::int32_t signal = 0; // 0: it ended by itself
  std::int32_t exit_code = 0;
  std::string text; // for people: "killed by signal 9 (Killed)"

  bool operator==(const process_ended&) const = default;
};

struct process_dying {
  process_key key;

  bool operator==(const process_dying&) const = default;
};

struct signal_process {
  process_key key;
  std::int32_t signal = 0;

  bool operator==(const signal_process&) const = default;
};

struct host_settings {
  std::int32_t detect_ms = 300; // a process that is stopped or stuck for this long is killed
  std::int32_t standby = 0;     // warm worker processes without an order that are kept ready
  std::int32_t control_stall_ms =
      5000;                     // the vault is killed when one request stands still for so long
  bool prepares_spares = false; // else what was prepared is ended, and prepare_spare is not obeyed

  bool operator==(const host_settings&) const = default;
};

/// Part of what the user is to read on stdout.
struct output {
  std::uint64_t record = 0; // from 0
  std::uint64_t offset = 0; // of these bytes within the record
  std::vector<std::byte> bytes;
  bool is_stream = false; // may go out before the record is complete
  bool is_end = false;    // of the record

  bool operator==(const output&) const = default;
};

/// Its index is the number on the wire: append only.
using host_message = std::variant<host_welcome,
                                  spawn_worker,
                                  kill_process,
                                  process_started,
                                  process_ended,
                                  process_dying,
                                  signal_process,
                                  host_settings,
                                  output,
                                  prepare_spare,
                                  spare_ready>;

/// One byte that says which, then a msgpack array. `out` is cleared first. Decoding error: corrupt.
void encode(const host_message& message, std::vector<std::byte>& out);
[[nodiscard]] result<host_message> decode_host_message(std::span<const std::byte> bytes);

} // namespace vdist::protocol
