// actors/router/request_table.hpp — the requests that are under way, and which replica runs them. Plain class, no actor:
// it belongs to the system, so that a router that dies loses nothing; its successor goes on with the same table.
//
// Q-1 An id is in the table from acceptance to its terminal event. Q-2 An event is delivered when its position is the
// next one of its request; earlier ones are repetitions and dropped, so a replay may overlap what was delivered; one
// that is further on is not taken, what lies between comes from the ledger first.
// Q-3 Of the usable replicas the one is chosen for which a request is the least work (sched/replica_choice.hpp); one that drains
// only when no other is usable: what a replica's end sends to it is worth more than an operator's wish. A request that only
// some replicas may run is not given to one that drains.
// Q-4 Draining of the whole is final: nothing new comes in, what is in the table goes on. That of a replica can be undone.
// Q-5 A request without a sink is an orphan: its client, or the process that knew it, is gone. It runs to its end as any
// other, its events are counted and reach nobody, until attach() gives it a sink.
// Q-6 A replica that is not usable may still commit until it has ended, which is final; both are told by the router.
// Q-7 Which replicas may run a request, if not all, holds for its acceptance: where they end, it goes on elsewhere (O-6).
// Not thread-safe: one router acts at a time.
#pragma once

#include "actors/router/request_meter.hpp"
#include "actors/router/token_sink.hpp"

#include "runtime/base/ids.hpp"
#include "runtime/protocol/request.hpp"
#include "runtime/sched/replica_choice.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vdist::actors {

/// What became of an event.
enum class delivery : std::uint8_t {
  repeated, // it was delivered before, or its request is over
  taken,
  ended, // taken; it was the end, and the entry is gone
  gap,   // not taken: earlier ones are missing
};

class request_table {
public:
  struct entry {
    std::shared_ptr<const protocol::request> request; // as accepted
    std::shared_ptr<token_sink> sink;                 // null: an orphan
    std::int32_t replica = 0;
    std::int32_t delivered = 0; // positions that the sink has
    bool is_cancelled = false;  // asked for; said again to whoever takes the request over
    std::int64_t prefill = 0;   // tokens to compute before its next one, when given; 0: it decodes
    std::int32_t reached = 0;   // positions that are known, whatever the sink of the moment has
    request_times times;        // of one that is taken over; add() notes when a new one came
  };

  using choice = sched::replica_choice::choice;

  explicit request_table(std::int32_t replicas)
      : request_table(sched::replica_choice({.replicas = replicas}, {})) {}

  explicit request_table(sched::replica_choice choice);

  /// From now on what passes is measured. Before anything is added.
  void measure(request_meter meter) { meter_.emplace(std::move(meter)); }

  /// Why a request was not accepted, for whoever measures.
  void note_refusal(errc why);

  /// The id and arrival of the next request.
  [[nodiscard]] request_id next_id() { return request_id(++last_id_); }

  /// Ids up to this one were given by a predecessor.
  void skip_ids(request_id last) { last_id_ = std::max(last_id_, last.value); }

  /// `among`: the replicas that may run it; empty: all. nullopt when none is usable.
  [[nodiscard]] std::optional<choice> choose_replica(std::span<const token_id> prompt,
                                                     std::span<const std::int32_t> among = {});
  void set_usable(std::int32_t replica, bool is_usable);
  /// It is not usable any more either.
  void set_ended(std::int32_t replica);

  [[nodiscard]] bool is_usable(std::int32_t replica) const {
    return usable_.at(static_cast<std::size_t>(replica));
  }

  [[nodiscard]] bool has_ended(std::int32_t replica) const {
    return ended_.at(static_cast<std::size_t>(replica));
  }

  ///
  void set_draining(std::int32_t replica, bool is_draining) {
    draining_.at(static_cast<std::size_t>(replica)) = is_draining;
  }

  [[nodiscard]] const std::vector<bool>& draining_by_replica() const { return draining_; }

  entry& add(request_id id, entry value);
  [[nodiscard]] entry* find(request_id id);
  /// To another replica, or to the same one again. `prefill`: of entry.
  void move(request_id id, std::int32_t replica, std::int64_t prefill);

  /// From now on this sink gets the request's events, from position 0 on. Returns the one that it
  /// replaces; null: none, or the same one, which goes on where it is. The id is in the table.
  std::shared_ptr<token_sink> attach(request_id id, std::shared_ptr<token_sink> sink);

  /// The time for deliver(), read once for all events of a step; time_point{} when nothing is measured.
  [[nodiscard]] time_point now() const { return meter_ ? meter_->now() : time_point(); }

  ///
  delivery deliver(const protocol::token_event& event, time_point now);

  delivery deliver(const protocol::token_event& event) { return deliver(event, now()); }

  /// Ids of a replica's requests in order of acceptance.
  [[nodiscard]] std::vector<request_id> requests_of(std::int32_t replica) const;

  void start_draining() { is_draining_ = true; }

  [[nodiscard]] bool is_draining() const { return is_draining_; }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// those under way.
  [[nodiscard]] std::uint64_t orphans() const { return orphans_; }

  /// events that reached nobody, since the start.
  [[nodiscard]] std::uint64_t delivered_to_nobody() const { return delivered_to_nobody_; }

  [[nodiscard]] const std::vector<std::uint64_t>& active_by_replica() const {
    return choice_.sequences();
  }

  /// Tokens that a replica's requests without a token yet had to compute there.
  [[nodiscard]] const std::vector<std::int64_t>& prefill_by_replica() const {
    return choice_.prefill();
  }

  [[nodiscard]] std::uint64_t accepted() const { return accepted_; }

  [[nodiscard]] std::uint64_t finished() const { return finished_; }

private:
  std::unordered_map<request_id, entry> entries_;
  sched::replica_choice choice_;           // what each has to do
  std::vector<sched::standing> standings_; // of one choice
  std::vector<bool> usable_;
  std::vector<bool> ended_;
  std::vector<bool> draining_; // by replica
  std::uint64_t last_id_ = 0;
  std::uint64_t accepted_ = 0;
  std::uint64_t finished_ = 0;
  std::uint64_t orphans_ = 0;
  std::uint64_t delivered_to_nobody_ = 0;
  bool is_draining_ = false;
  std::optional<request_meter> meter_;
};

} // namespace vdist::actors
