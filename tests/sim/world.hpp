// tests/sim/world.hpp — a whole cluster in one thread: real actors on CAF's deterministic scheduler, real step lanes taken
// turn by turn, sim workers and channels, clients that come back, and virtual time. What is ready is picked by chance of the
// schedule's seed, so actors, lanes and workers run in any order that threads could.
//
// Invariants checked after every event (the others: sim_host.hpp, sim_channel.hpp, model_worker):
// I1 who is told that a request is accepted finds it in the ledger.   I2 what a stream gets is in the ledger before.
// I3 positions of a stream are contiguous, each once; one end.   I4 tokens are committed in the epoch that runs.
// I7 tokens, log probabilities and reasons are those of the request, whatever happened; only a cluster that has given up a
// replica may fail one, or one that is poisonous.   I8 everything has ended within `patience` after the last event, and nothing is left over.
#pragma once

#include "tests/runtime/sched/model_worker.hpp"
#include "tests/sim/sim_node.hpp"

#include "actors/router/token_sink.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include <array>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace vdist::testing {

/// What a run has done.
struct sim_counts {
  std::uint64_t events = 0;         // messages, turns and moments
  std::uint64_t steps = 0;          // of workers
  std::uint64_t tokens = 0;         // that reached a client
  std::uint64_t failed = 0;         // requests of replicas that were given up, or poisonous ones
  std::uint64_t given_up = 0;       // replicas
  std::uint64_t restored = 0;       // tokens whose KV a new scheduler found
  std::uint64_t computed_again = 0; // … did not find
  std::uint64_t late_writes = 0;    // of dead workers
  std::array<std::uint64_t, sim_event_kinds> suffered{};

  void add(const sim_counts& other);
};

class sim_world {
public:
  explicit sim_world(const sim_schedule& schedule);
  ~sim_world();

  sim_world(const sim_world&) = delete;
  sim_world& operator=(const sim_world&) = delete;

  /// To the end of the schedule and of everything that follows, or to the first breach.
  void run();

  /// What is not over, for people.
  [[nodiscard]] std::string leftovers() const;

  /// Empty: every invariant held.
  [[nodiscard]] const std::string& breach() const { return checks_.breach(); }

  [[nodiscard]] sim_counts counts() const;

private:
  class client_sink;

  struct client {
    protocol::request request;
    expected_stream expected;
    std::shared_ptr<client_sink> sink; // shared with the router
    request_id id;                     // 0: no reply yet
    std::uint64_t attempt = 0;
    bool is_cancelled = false;
    bool is_poisonous = false;
    bool is_over = false;
  };

  void settle();
  void start_node();
  void kill_node();
  void restart_node();
  void apply(const sim_event& event);
  bool do_one();
  bool run_a_job();
  void advance();
  [[nodiscard]] bool is_over() const;

  void add_client(std::uint64_t seed);
  void submit(std::size_t index);
  void on_reply(std::size_t index, std::uint64_t attempt, const actors::submit_reply& reply);
  void retry(std::size_t index, std::uint64_t attempt);
  void cancel(std::size_t index);
  void poison(std::size_t index);
  void on_event(std::size_t index, const client_sink& from, const protocol::token_event& event);
  void check_token(const client& mine, const client_sink& from, const protocol::token_event& event);
  void check_end(const client& mine, const client_sink& from, const protocol::token_event& event);
  void check_commit(std::span<const ledger::committed_token> tokens);

  struct alignas(64) cache_line {
    std::array<std::byte, 64> bytes{};
  };

  const sim_schedule& schedule_;
  dice chance_;
  timeline line_;
  verdict checks_;
  sim_counts counts_;
  std::vector<cache_line> ledger_memory_;
  std::vector<std::unique_ptr<sim_group>> groups_;
  std::vector<client> clients_;
  std::set<std::size_t> poisonous_; // clients
  std::set<std::uint64_t> poison_;  // ids of their requests
  time_point start_;
  time_point last_event_; // of the schedule
  bool has_failed_replica_ = false;
  bool has_to_restart_ = false;
  caf::actor_system_config settings_;
  std::unique_ptr<caf::actor_system> actors_;
  caf::scheduler::test_coordinator* coordinator_ = nullptr;
  caf::actor_id starved_ = 0;      // the actor that others go before at present
  std::size_t starved_source_ = 0; // the same of do_one()'s sources
  std::shared_ptr<sim_node> node_; // shared with its actors; null: the next one is not there yet
};

} // namespace vdist::testing
