#include "runtime/config/rules.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace vdist::config {

namespace {

/// Workers of a cluster at most; runtime/topology has the same bound.
constexpr std::int64_t world_max = 4096;

error broken(const assembler& made, std::string_view key, std::string_view text) {
  return fail(errc::bad_configuration, fmt::format("{}: {}: {}", made.where(key), key, text));
}

/// Names become parts of file names and of shared-memory names.
bool is_name(std::string_view text) {
  return !text.empty() && text.front() != '.' && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '_' || c == '.';
  });
}

constexpr std::string_view name_rule =
    "must be made of letters, digits, '-', '_' and '.', and not begin with '.'";

result<void> check_model(const assembler& made) {
  const cluster_config& c = made.config();
  if (c.model.path.empty() && c.device.kind != device_kind::sim) {
    return broken(made,
                  "model.path",
                  "is required; legal: a folder, \"org/name\" or \"random:<config folder>\"");
  }
  if (c.device.sim.heads % c.device.sim.kv_heads != 0) {
    return broken(made,
                  "device.sim.kv_heads",
                  fmt::format("must divide device.sim.heads (heads={}, kv_heads={})",
                              c.device.sim.heads,
                              c.device.sim.kv_heads));
  }
  return {};
}

result<void> check_parallel(const assembler& made) {
  const parallel_section& p = made.config().parallel;
  // Each factor is at most 4096 and there are four: the product fits 64 bits.
  if (p.world() > world_max) {
    return broken(made,
                  "parallel",
                  fmt::format("asks for {} workers; legal: a product of at most {} (data={}, "
                              "pipeline={}, prefill_context={}, tensor={})",
                              p.world(),
                              world_max,
                              p.data,
                              p.pipeline,
                              p.prefill_context,
                              p.tensor));
  }
  if (!p.pipeline_layers.empty()
      && p.pipeline_layers.size() != static_cast<std::size_t>(p.pipeline)) {
    return broken(made,
                  "parallel.pipeline_layers",
                  fmt::format("needs one entry per stage (entries={}, parallel.pipeline={})",
                              p.pipeline_layers.size(),
                              p.pipeline));
  }
  return {};
}

result<void> check_ports(const assembler& made) {
  constexpr std::int32_t port_max = 65535;
  const server_section& server = made.config().server;
  const std::int32_t data = made.config().parallel.data;
  if (server.balancing == balancing_kind::external && server.port != 0
      && server.port + data - 1 > port_max) {
    return broken(made,
                  "server.port",
                  fmt::format("is the first of one per replica, the last of which would be {}; "
                              "legal: 0 or 1..{} (port={}, parallel.data={})",
                              server.port + data - 1,
                              port_max + 1 - data,
                              server.port,
                              data));
  }
  return {};
}

result<void> check_limits(const assembler& made) {
  const cluster_config& c = made.config();
  if (c.scheduler.prefill_chunk > c.scheduler.max_batch_tokens) {
    return broken(made,
                  "scheduler.prefill_chunk",
                  fmt::format("must be at most scheduler.max_batch_tokens (prefill_chunk={}, "
                              "max_batch_tokens={})",
                              c.scheduler.prefill_chunk,
                              c.scheduler.max_batch_tokens));
  }
  const fault_tolerance_section& f = c.fault_tolerance;
  if (f.collective_deadline_ms > f.step_deadline_ms) {
    return broken(made,
                  "fault_tolerance.collective_deadline_ms",
                  fmt::format("must be at most fault_tolerance.step_deadline_ms "
                              "(collective_deadline_ms={}, step_deadline_ms={})",
                              f.collective_deadline_ms,
                              f.step_deadline_ms));
  }
  if (f.poison_strikes == 1) {
    return broken(made,
                  "fault_tolerance.poison_strikes",
                  "must be 0 or at least 2: after one death nobody knows which request it was");
  }
  if (c.server.host.empty()) {
    return broken(made, "server.host", "must not be empty; legal: an address or a host name");
  }
  if (c.server.tls_certificate.empty() != c.server.tls_key.empty()) {
    return broken(made, "server.tls_key", "goes with server.tls_certificate: set both or none");
  }
  return {};
}

result<void> check_nodes(const assembler& made) {
  std::set<std::string_view> names;
  std::size_t with_devices = 0;
  const std::vector<node_section>& nodes = made.config().nodes;
  for (const node_section& node : nodes) {
    if (!is_name(node.name)) {
      return broken(made, "node", fmt::format("name {} (name=\"{}\")", name_rule, node.name));
    }
    if (!names.insert(node.name).second) {
      return broken(made, "node", fmt::format("name must be unique (name=\"{}\")", node.name));
    }
    if (node.host.empty()) {
      return broken(made, "node", fmt::format("host must not be empty (name=\"{}\")", node.name));
    }
    if (std::set<std::int32_t>(node.devices.begin(), node.devices.end()).size()
        != node.devices.size()) {
      return broken(
          made, "node", fmt::format("devices must be different (name=\"{}\")", node.name));
    }
    with_devices += node.devices.empty() ? 0 : 1;
  }
  if (with_devices != 0 && with_devices != nodes.size()) {
    return broken(made, "node", "either all nodes list devices or none does");
  }
  return {};
}

} // namespace

result<void> check_rules(const assembler& made) {
  if (!is_name(made.config().cluster.name)) {
    return broken(made,
                  "cluster.name",
                  fmt::format("{} (name=\"{}\")", name_rule, made.config().cluster.name));
  }
  VDIST_TRY(check_model(made));
  VDIST_TRY(check_parallel(made));
  VDIST_TRY(check_limits(made));
  VDIST_TRY(check_ports(made));
  return check_nodes(made);
}

} // namespace vdist::config
