// actors/router/router.hpp — accepts requests, gives each to a replica, hands its tokens to its stream.
//
// O-1 A request is written to the ledger before it is called accepted (I1), and its tokens are committed before they
//     come here (I2); the router never invents or drops one.
// O-2 When a replica's scheduler starts anew, its requests are handed over again with the tokens of the ledger; what the
//     stream missed is delivered first, as it would have been sent. When a replica is given up, its requests move to
//     another one (O-6). A gap in the events of a request is filled from the ledger in the same way.
// O-3 The router's state is the request table and the ledger; both outlive it. It starts by taking over: ids go on behind
//     the ledger's highest, streams get what died in a predecessor's mailbox, unfinished requests that the table lacks
//     (all of them, when the process of the predecessor has died) become orphans and run on, where their KV is. Of
//     replica_changed the successor has to be told again: `restarted` for every replica, after its handle is known to all who send.
// O-4 A request with a client key that the ledger knows is not accepted a second time: its sink becomes that of the first
//     one and gets all events from position 0 on, also while the router drains or is full, also if the request has ended
//     and is still kept. A sink is submitted once: whoever repeats a submit brings a new one; the one it replaces, if
//     the table has it, is ended as failed. The key stands for the whole request: with another body (protocol::body_hash) it is
//     refused with invalid_argument, and the stream of the first one stays.
// O-6 A request moves, or fails for want of a replica, only when the one that has it has ended: between the tokens that it is
//     handed over with and its new replica nobody commits another one.
// O-7 A cancel is kept with the request, and by the sink beyond the router: whenever the request is handed over it is said
//     again, and after every death that could lose a message of it the request is handed over (O-2, O-3).
// O-5 Failpoints: router.submit, when the request is in the ledger and nowhere else; router.tokens, before any is delivered.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/route.hpp"
#include "actors/router/request_table.hpp"

#include "runtime/base/failpoint.hpp"
#include "runtime/ledger/ledger.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <unordered_map>
#include <vector>

namespace vdist::actors {

struct router_config {
  std::size_t max_active =
      4096; // requests under way in the cluster; more are refused with queue_full
  request_table* table = nullptr;
  ledger::ledger* journal = nullptr;
  std::vector<route<scheduler_actor>> schedulers;       // by replica
  failpoints* points = nullptr;                         // may be null
  std::unordered_map<request_id, std::int32_t> kept_by; // the replica that holds a request's KV
};

struct router_state {
  router_config config;
  const char* name = "router";
};

using router_pointer = router_actor::stateful_pointer<router_state>;

router_actor::behavior_type make_router(router_pointer self, router_config config);

} // namespace vdist::actors
