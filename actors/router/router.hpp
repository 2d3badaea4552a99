// actors/router/router.hpp — accepts requests, gives each to a replica, hands its tokens to its stream.
//
// O-1 A request is written to the ledger before it is called accepted (I1), and its tokens are committed before they
//     come here (I2); the router never invents or drops one.
// O-2 When a replica's scheduler starts anew, its requests are handed over again with the tokens of the ledger; what the
//     stream missed is delivered first. When a replica is given up, its requests move to another one.
// O-3 The router's state is the request table and the ledger; both outlive it.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/router/request_table.hpp"

#include "runtime/ledger/ledger.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <vector>

namespace vdist::actors {

struct router_config {
  std::size_t max_active =
      4096; // requests under way in the cluster; more are refused with queue_full
  request_table* table = nullptr;
  ledger::ledger* journal = nullptr;
  std::vector<scheduler_actor> schedulers; // by replica
};

struct router_state {
  router_config config;
  const char* name = "router";
};

using router_pointer = router_actor::stateful_pointer<router_state>;

router_actor::behavior_type make_router(router_pointer self, router_config config);

} // namespace vdist::actors
