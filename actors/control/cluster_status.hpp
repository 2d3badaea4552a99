// actors/control/cluster_status.hpp — what an operator may know of a running cluster and do to it, as plain values and one
// interface: no actor, no handle, no socket.
// Why apart from the engine: server, client and pictures need the words, not the engine behind them.
// The header is all there is. Sums are since the start of the cluster; nothing here is kept anywhere.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vdist::control {

struct worker_details {
  std::int32_t rank = 0; // of the cluster
  std::int32_t stage = 0;
  std::int32_t tensor = 0; // rank within its tensor group
  std::string state;       // loading, idle, running, quiescing, retiring, dying
  std::uint32_t incarnation = 0;
  std::int32_t pid = 0; // 0: a thread of the control process, or not started yet

  bool operator==(const worker_details&) const = default;
};

/// How much is there of what was configured.
struct capacity_details {
  std::int32_t workers = 0; // of replicas that were not given up
  std::int32_t configured = 0;
  double since_s = 0; // there have been fewer for so long
  std::string reason; // of that; empty: there are not fewer

  bool operator==(const capacity_details&) const = default;
};

struct replica_details {
  std::int32_t replica = 0;
  std::string state; // loading, running, recovering, failed
  bool is_draining = false;
  std::uint64_t active = 0; // accepted requests of it without an end
  std::uint32_t epoch = 0;
  std::uint64_t restarts = 0; // of workers
  std::int32_t running = 0;   // requests
  std::int32_t waiting = 0;   // requests
  std::int32_t kv_used = 0;   // blocks that requests hold
  std::int32_t kv_cached = 0; // blocks that hold a prefix and can be had
  std::int32_t kv_total = 0;  // blocks
  std::uint64_t steps = 0;
  std::uint64_t tokens = 0;       // computed, prompts included
  double control_us_per_step = 0; // what a step costs beyond the work of its slowest worker
  capacity_details capacity;
  std::vector<worker_details> workers; // by slot

  bool operator==(const replica_details&) const = default;
};

/// Layers [first, last).
struct stage_details {
  std::int32_t first = 0;
  std::int32_t last = 0;

  bool operator==(const stage_details&) const = default;
};

/// A process that is not a worker.
struct process_details {
  std::string role; // run, vault, node
  std::int32_t pid = 0;
  std::uint32_t incarnation = 0; // of the node; else 0

  bool operator==(const process_details&) const = default;
};

/// A worker process that waits to take the place of another.
struct spare_details {
  std::int32_t pid = 0;
  std::int32_t rank = -1; // whose place it is prepared to take; -1: anybody's
  bool is_ready = false;  // has done all that can be done before

  bool operator==(const spare_details&) const = default;
};

/// A port of the HTTP server.
struct port_details {
  std::int32_t port = 0;
  std::vector<std::int32_t> replicas; // that run what comes to it; empty: all

  bool operator==(const port_details&) const = default;
};

struct cluster_status {
  std::string name;
  std::string isolation; // thread, process
  std::string model;
  std::string device;
  double uptime_s = 0;
  bool is_draining = false;
  std::uint64_t active = 0;   // accepted requests without an end
  std::uint64_t accepted = 0; // requests
  std::uint64_t finished = 0; // requests
  std::int32_t data = 1;
  std::int32_t pipeline = 1;
  std::int32_t tensor = 1;
  capacity_details capacity; // of all replicas; time and reason of the latest loss
  std::vector<stage_details> stages;
  std::vector<replica_details> replicas;
  std::vector<process_details> processes;
  std::vector<spare_details> spares;
  std::vector<port_details> ports; // empty: it does not serve

  bool operator==(const cluster_status&) const = default;
};

/// One request of the ledger.
struct ledger_line {
  std::uint64_t id = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;
  std::int32_t committed = 0; // generated tokens
  std::string reason;         // why it ended; "none": it goes on
  double age_s = 0;           // since it was accepted

  bool operator==(const ledger_line&) const = default;
};

struct ledger_page {
  std::uint64_t unfinished = 0;   // requests held
  std::uint64_t finished = 0;     // requests held
  std::vector<ledger_line> lines; // the newest, in order of arrival

  bool operator==(const ledger_page&) const = default;
};

struct drain_progress {
  std::uint64_t active = 0; // requests that are still to end

  bool operator==(const drain_progress&) const = default;
};

struct kill_target {
  enum class kind : std::uint8_t { worker, node, vault };
  kind what = kind::worker;
  std::int32_t rank = 0; // of a worker

  bool operator==(const kill_target&) const = default;
};

/// A part of the cluster that is to be replaced as planned. It says what is to be left behind, not what is to be done: the
/// same order may come again and again, until it is fulfilled, and whoever replaces nobody twice by it.
struct restart_order {
  enum class kind : std::uint8_t {
    worker,
    replica,
    node,
    none, // lets the claim go
  };
  kind what = kind::none;
  std::int32_t index = 0;           // rank of a worker, number of a replica
  std::vector<std::uint32_t> above; // incarnations left behind: one; of a replica by slot
  std::uint64_t claim = 0;          // drawn by who replaces one part after the other; never 0

  bool operator==(const restart_order&) const = default;
};

struct restart_progress {
  bool is_done = false;
  std::string text; // who is there now, or what is waited for

  bool operator==(const restart_progress&) const = default;
};

/// What is to be done with fault rules while the cluster runs.
struct fault_order {
  enum class kind : std::uint8_t { arm, list, clear };
  kind what = kind::list;
  std::string rule; // of arm: "worker.step_begin rank=1 step=40 kill9"

  bool operator==(const fault_order&) const = default;
};

/// An armed rule.
struct fault_line {
  std::string rule;
  std::uint64_t hits = 0;

  bool operator==(const fault_line&) const = default;
};

struct fault_page {
  std::vector<fault_line> rules; // in the order of arming

  bool operator==(const fault_page&) const = default;
};

/// What the control socket steers; the engine is one. Called by the server's thread, one call at a
/// time; every call returns within seconds.
class controllable {
public:
  virtual ~controllable() = default;

  [[nodiscard]] virtual cluster_status details() const = 0;
  /// At most `max` lines.
  [[nodiscard]] virtual ledger_page ledger(std::size_t max) const = 0;
  /// Accepts no more requests, for ever; what was accepted goes on. Errors: timed_out.
  [[nodiscard]] virtual result<drain_progress> drain() = 0;
  /// Gives this replica nothing new, or again; the progress is its own. Errors: invalid_argument (no such replica, or the
  /// last one that takes requests), timed_out.
  [[nodiscard]] virtual result<drain_progress> drain_replica(std::int32_t replica, bool is_on) = 0;
  /// Begins to fulfil the order if nothing is in its way, or says how far it is. A node that is to be replaced ends before
  /// it has answered. Errors: invalid_argument (no such part), unsupported (it cannot be replaced here, or its program is
  /// of another version), queue_full (somebody else replaces parts), aborted (it was given up).
  [[nodiscard]] virtual result<restart_progress> restart(const restart_order& order) = 0;
  /// Returns what was killed, for people. Errors: invalid_argument (no such target; names the legal
  /// ones), not_found (a worker that is being replaced).
  [[nodiscard]] virtual result<std::string> kill(const kill_target& target) = 0;
  /// Returns what is armed afterwards. Errors: invalid_argument (no such rule; names what is legal),
  /// resource_exhausted (too many are armed).
  [[nodiscard]] virtual result<fault_page> faults(const fault_order& order) = 0;
};

} // namespace vdist::control
