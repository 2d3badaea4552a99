// tests/actors/router/router_world.hpp — a router among everything that it speaks to, for deaths of it and of its process
// at any moment: replicas that commit and publish as the step lane does, clients that come back with their key and a new
// sink, a ledger in memory that outlives them all. What a request generates follows from its key alone.
#pragma once

#include "tests/actors/router/recording_sink.hpp"
#include "tests/support/actor_fixture.hpp"

#include "actors/router/router.hpp"

#include "runtime/ledger/shared_ledger.hpp"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace vdist::testing {

/// All fields of an event, bit for bit.
[[nodiscard]] std::string text_of(const protocol::token_event& event);

class router_world : public actor_fixture {
public:
  static constexpr std::int32_t replicas = 2;

  router_world();
  ~router_world();

  router_world(const router_world&) = delete;
  router_world& operator=(const router_world&) = delete;

  /// The client of this key submits, with a new sink; if no answer comes, it does so again at its
  /// next return.
  void submit(std::uint64_t key);
  void cancel(std::uint64_t key);
  /// The replica commits one token of each of its requests, and the ends of cancelled ones.
  void compute(std::int32_t replica);
  /// … and sends what it has committed.
  void publish(std::int32_t replica);
  /// The step lane is replaced; `is_crash`: what it had not sent yet is lost.
  void restart(std::int32_t replica, bool is_crash);
  /// The replica is given up; its lane goes on until it is ended.
  void fail(std::int32_t replica);
  /// … and commits nothing more; what it has committed is sent.
  void end_lane(std::int32_t replica);

  /// Everything that is sent to the router from now on is lost.
  void kill_router();
  /// A successor, as its guardian starts it.
  void respawn_router();
  /// Router, schedulers, lanes, table, streams: all gone; the next process starts from the ledger.
  void restart_process();

  /// From now on the next process finds KV of all that was running.
  void keep_kv() { keeps_kv_ = true; }

  /// Clients without a living stream come back; whoever has none says so before.
  void clients_return();
  /// Runs everything to its end; all clients have come back.
  void finish();

  /// Every client has got exactly what the ledger has of its request, which is what follows from
  /// the key, once and in order. Otherwise the text says what is wrong.
  [[nodiscard]] std::string verdict() const;

  [[nodiscard]] const ledger::ledger& journal() const { return *journal_; }

  [[nodiscard]] const actors::request_table& table() const { return *table_; }

  /// What the routers of all processes have counted; empty: it is what the ledger has, or, when processes have died, at
  /// most that. Behind finish().
  [[nodiscard]] std::string verdict_of_metrics() const;

private:
  struct running_request {
    std::uint64_t key = 0;
    std::int32_t generated = 0;
    std::int32_t max_tokens = 0;
    bool is_cancelled = false;
  };

  /// What a replica's step lane knows.
  struct lane {
    std::map<request_id, running_request> running;
    actors::token_events outgoing;
    bool has_failed = false;
    bool has_ended = false;
  };

  struct client {
    std::shared_ptr<recording_sink> sink;
    request_id id; // 0: no answer yet
    bool is_cancelled = false;
  };

  void spawn_all();
  void end_all();
  void take(lane& into, const protocol::request& request);
  void send(const actors::replica_changed& message);
  void tell_state_of(std::int32_t replica);

  struct alignas(64) cache_line {
    std::array<std::byte, 64> bytes{};
  };

  std::vector<cache_line> memory_;
  std::unique_ptr<ledger::ledger> journal_;
  std::unique_ptr<actors::request_table> table_;
  std::vector<lane> lanes_;
  std::vector<actors::route<actors::scheduler_actor>> schedulers_;
  actors::router_actor router_;

  /// Of one process.
  struct process_metrics {
    std::array<metrics::request_metrics, replicas> requests{metrics::request_metrics(64),
                                                            metrics::request_metrics(64)};
    metrics::refusal_metrics refusals{};
  };

  system_clock time_;
  std::vector<std::unique_ptr<process_metrics>> measured_; // by process
  bool keeps_kv_ = false;
  std::unordered_map<request_id, std::int32_t> kept_by_;
  std::map<std::uint64_t, client> clients_;
  std::map<std::uint64_t, std::set<std::uint64_t>> ids_; // by key: all that were accepted
};

} // namespace vdist::testing
