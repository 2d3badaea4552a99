// runtime/protocol/host.hpp — between the host supervisor, which is the parent of every process of a
// host, and the control process, which decides who lives.
//
//   supervisor ──host_welcome──▶ control     first; carries two descriptors: vault client, ledger
//   control ──spawn_worker──▶ supervisor     process_started or process_ended follows
//   control ──kill_process──▶ supervisor     SIGKILL; process_ended follows
//   supervisor ──process_started, process_ended──▶ control
//
// P-1 A process is known by (role, rank, incarnation); no key is used twice.
// P-2 Every spawn_worker is answered by exactly one process_ended in the end, also when the process
//     could not be started. After it nothing of that process runs any more.
// P-3 Messages travel over one message socket; when it closes, the other side has gone.
#pragma once

#include "runtime/base/result.hpp"

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

struct host_welcome {
  std::int32_t supervisor_pid = 0;
  std::int32_t vault_pid = 0;
  std::uint64_t ledger_bytes = 0;

  bool operator==(const host_welcome&) const = default;
};

struct spawn_worker {
  process_key key;
  std::vector<std::byte> order; // protocol::worker_order, not looked at

  bool operator==(const spawn_worker&) const = default;
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

using host_message =
    std::variant<host_welcome, spawn_worker, kill_process, process_started, process_ended>;

/// One byte that says which, then a msgpack array. `out` is cleared first. Decoding error: corrupt.
void encode(const host_message& message, std::vector<std::byte>& out);
[[nodiscard]] result<host_message> decode_host_message(std::span<const std::byte> bytes);

} // namespace vdist::protocol
