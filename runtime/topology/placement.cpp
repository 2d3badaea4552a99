#include "runtime/topology/placement.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::topology {

namespace {

std::vector<place> fill_devices(std::int32_t world, std::span<const node_spec> nodes) {
  std::vector<place> places;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    for (std::size_t i = 0; i < nodes[node].devices.size(); ++i) {
      if (static_cast<std::int32_t>(places.size()) == world) {
        return places;
      }
      places.push_back(
          {static_cast<std::int32_t>(node), static_cast<std::int32_t>(i), nodes[node].devices[i]});
    }
  }
  return places;
}

} // namespace

result<std::vector<place>> place_ranks(std::int32_t world, std::span<const node_spec> nodes) {
  VDIST_CHECK(world >= 1 && !nodes.empty(), "topology: placement needs workers and nodes");
  const auto lists_devices = [](const node_spec& n) {
    return !n.devices.empty();
  };
  const auto with_lists = std::count_if(nodes.begin(), nodes.end(), lists_devices);
  if (with_lists == static_cast<std::ptrdiff_t>(nodes.size())) {
    std::vector<place> places = fill_devices(world, nodes);
    if (static_cast<std::int32_t>(places.size()) < world) {
      return fail(
          errc::bad_configuration,
          fmt::format("place ranks: fewer devices than workers (workers={}, devices={}, "
                      "nodes={}); list more devices in [[node]] or lower the [parallel] sizes",
                      world,
                      places.size(),
                      nodes.size()));
    }
    return places;
  }
  if (with_lists != 0) {
    const auto empty = std::find_if_not(nodes.begin(), nodes.end(), lists_devices);
    return fail(
        errc::bad_configuration,
        fmt::format("place ranks: some nodes list devices and others do not (node.name={}); "
                    "legal: all of them or none",
                    empty->name));
  }
  const auto count = static_cast<std::int32_t>(nodes.size());
  if (world % count != 0) {
    return fail(errc::bad_configuration,
                fmt::format("place ranks: workers do not divide evenly among nodes that list no "
                            "devices (workers={}, nodes={}); set node.devices",
                            world,
                            count));
  }
  const std::int32_t share = world / count;
  std::vector<place> places;
  for (std::int32_t r = 0; r < world; ++r) {
    places.push_back({r / share, r % share, r % share});
  }
  return places;
}

} // namespace vdist::topology
