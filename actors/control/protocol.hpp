// actors/control/protocol.hpp — what travels over the control socket: one JSON object asks, one answers.
//
//   {"request": "status"}                        → {"status": {…}}
//   {"request": "ledger"}                        → {"ledger": {…}}
//   {"request": "drain"}                         → {"drain": {"active": 3}}
//   {"request": "drain", "target": "replica 1"}  → the same, of that replica; "resume" takes it back
//   {"request": "restart", "target": "worker 1", "above": [2], "claim": 77} → {"restart": {"is_done": false, "text": "…"}}
//   … with "replica 0", "node"; "none" lets the claim go. The same again until it is done (restart_order)
//   {"request": "kill", "target": "worker 1"}    → {"killed": "worker 1 (pid 4711)"}
//   {"request": "faults", "do": "list"}          → {"faults": {"rules": [{"rule": "worker.load throw", "hits": 0}]}}
//   {"request": "faults", "do": "arm", "rule": "worker.step_begin rank=1 kill9"}   → the same, with it
//   {"request": "faults", "do": "clear"}         → the same, empty
//   anything else                                → {"error": {"code": "invalid_argument", "message": "…"}}
//
// Why JSON and not the project's msgpack: people and scripts read it (`vdist-ctl --json`), and it is off every fast path.
// P-1 Every message that arrives gets exactly one reply; no bytes crash the reader of either side.
// P-2 A reply fits one message (reply_bytes_max): ledgers are cut to their newest lines, anything else that is longer becomes an error.
// Thread-safe: pure functions. No exception leaves them.
#pragma once

#include "actors/control/cluster_status.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::control {

/// Longest reply; what a message socket carries.
inline constexpr std::size_t reply_bytes_max = std::size_t{64} << 10U;
/// Lines of a ledger in one reply at most.
inline constexpr std::size_t ledger_lines_max = 256;

struct control_request {
  enum class kind : std::uint8_t { status, ledger, drain, kill, faults, resume, restart };
  kind what = kind::status;
  kill_target target{};                // of kill
  fault_order order{};                 // of faults
  std::optional<std::int32_t> replica; // of drain and resume; drain without one: the cluster
  restart_order restart{};             // of restart

  bool operator==(const control_request&) const = default;
};

/// "worker <rank>", "node" or "vault". Error: invalid_argument.
[[nodiscard]] result<kill_target> parse_target(std::string_view text);
[[nodiscard]] std::string to_string(const kill_target& target);

/// "replica <number>". Error: invalid_argument.
[[nodiscard]] result<std::int32_t> parse_replica(std::string_view text);

/// What is named: "worker <rank>", "replica <number>", "node", "none"; the rest of the order stays at its defaults. Errors:
/// invalid_argument; unsupported for "vault", says why.
[[nodiscard]] result<restart_order> parse_restart(std::string_view text);
/// The same the other way round.
[[nodiscard]] std::string to_string(const restart_order& order);

/// "arm", "list" or "clear", and the rule of arm. Error: invalid_argument.
[[nodiscard]] result<fault_order> parse_order(std::string_view what, std::string_view rule);

[[nodiscard]] std::string encode(const control_request& request);
/// Error: invalid_argument, names what is legal.
[[nodiscard]] result<control_request> decode_request(std::string_view text);

/// The server's side, whole: request in, reply out.
[[nodiscard]] std::string answer(controllable& cluster, std::string_view request);
[[nodiscard]] std::string encode(const error& cause);

/// The status as one JSON object, however long; as "status" of the reply above. For who answers over something else than
/// this socket.
[[nodiscard]] std::string status_json(const cluster_status& status);

/// The client's side. Errors: what the server said, or corrupt. Control characters of texts become
/// '?', so that a reply is safe to print on a terminal.
[[nodiscard]] result<cluster_status> decode_status(std::string_view reply);
[[nodiscard]] result<ledger_page> decode_ledger(std::string_view reply);
[[nodiscard]] result<drain_progress> decode_drain(std::string_view reply);
[[nodiscard]] result<restart_progress> decode_restart(std::string_view reply);
[[nodiscard]] result<std::string> decode_killed(std::string_view reply);
[[nodiscard]] result<fault_page> decode_faults(std::string_view reply);

} // namespace vdist::control
