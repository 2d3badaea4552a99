// runtime/topology/placement.hpp — which host and device each rank runs on.
// Ranks fill the nodes in the order of the configuration, so that a tensor group stays on one host
// whenever it fits.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vdist::topology {

/// One host, as the configuration lists it.
struct node_spec {
  std::string name = "local";
  std::string host = "127.0.0.1";
  std::vector<std::int32_t> devices; // device numbers; empty: as many as are needed, from 0
};

/// Where one rank runs.
struct place {
  std::int32_t node = 0;        // index in the list of nodes
  std::int32_t local_index = 0; // among the workers of that node
  std::int32_t device = 0;      // device number on that node
};

/// One place per rank. `nodes` must not be empty. Nodes that list devices are filled in order;
/// nodes that list none get equal shares. Errors: bad_configuration when there are fewer devices
/// than workers, when the shares are not equal, or when only some nodes list devices.
[[nodiscard]] result<std::vector<place>> place_ranks(std::int32_t world,
                                                     std::span<const node_spec> nodes);

} // namespace vdist::topology
