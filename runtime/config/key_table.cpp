// The keys themselves: one entry per key, in the order of the file. The default is the initialiser
// in cluster_config.hpp.
#include "runtime/config/keys.hpp"
#include "runtime/config/words.hpp"

#include <type_traits>

namespace vdist::config {

namespace {

/// The field that a chain of member pointers leads to, and its type.
template <auto... Members, class Owner>
auto& field_of(Owner& owner) {
  return (owner.*....*Members);
}

template <class Owner, auto... Members>
using field_type = std::remove_reference_t<decltype(field_of<Members...>(std::declval<Owner&>()))>;

template <class Owner>
struct keys_of {
  template <auto... Members>
  static basic_key<Owner> integer(std::string_view name,
                                  std::string_view unit,
                                  std::int64_t minimum,
                                  std::int64_t maximum,
                                  std::string_view doc) {
    basic_key<Owner> key{.name = name, .type = key_type::integer, .unit = unit, .doc = doc};
    key.minimum = static_cast<double>(minimum);
    key.maximum = static_cast<double>(maximum);
    key.write = [](Owner& owner, const key_value& value) {
      using field = field_type<Owner, Members...>;
      field_of<Members...>(owner) = static_cast<field>(std::get<std::int64_t>(value));
    };
    key.read = [](const Owner& owner) {
      return key_value(static_cast<std::int64_t>(field_of<Members...>(owner)));
    };
    return key;
  }

  /// Fields whose type is that of the value: bool, double, std::string, secret.
  template <auto... Members>
  static basic_key<Owner> plain(std::string_view name, key_type type, std::string_view doc) {
    using field = field_type<Owner, Members...>;
    basic_key<Owner> key{.name = name, .type = type, .doc = doc};
    key.write = [](Owner& owner, const key_value& value) {
      field_of<Members...>(owner) = std::get<field>(value);
    };
    key.read = [](const Owner& owner) {
      return key_value(field_of<Members...>(owner));
    };
    return key;
  }

  template <auto... Members>
  static basic_key<Owner> boolean(std::string_view name, std::string_view doc) {
    return plain<Members...>(name, key_type::boolean, doc);
  }

  template <auto... Members>
  static basic_key<Owner> number(std::string_view name,
                                 std::string_view unit,
                                 double minimum,
                                 double maximum,
                                 std::string_view doc) {
    basic_key<Owner> key = plain<Members...>(name, key_type::number, doc);
    key.unit = unit;
    key.minimum = minimum;
    key.maximum = maximum;
    return key;
  }

  template <auto... Members>
  static basic_key<Owner>
  string(std::string_view name, std::size_t length_max, std::string_view doc) {
    const bool is_secret = std::is_same_v<field_type<Owner, Members...>, secret>;
    basic_key<Owner> key =
        plain<Members...>(name, is_secret ? key_type::secret : key_type::string, doc);
    key.length_max = length_max;
    return key;
  }

  template <auto... Members>
  static basic_key<Owner> word(std::string_view name, std::string_view doc) {
    using field = field_type<Owner, Members...>;
    basic_key<Owner> key{.name = name, .type = key_type::word, .doc = doc};
    key.words = words<field>;
    key.write = [](Owner& owner, const key_value& value) {
      std::size_t index = 0;
      while (words<field>.at(index) != std::get<std::string>(value)) {
        ++index;
      }
      field_of<Members...>(owner) = static_cast<field>(index);
    };
    key.read = [](const Owner& owner) {
      return key_value(std::string(to_string(field_of<Members...>(owner))));
    };
    return key;
  }

  template <auto... Members>
  static basic_key<Owner> integers(std::string_view name,
                                   std::int64_t minimum,
                                   std::int64_t maximum,
                                   std::size_t length_max,
                                   std::string_view doc) {
    basic_key<Owner> key{.name = name, .type = key_type::integers, .doc = doc};
    key.minimum = static_cast<double>(minimum);
    key.maximum = static_cast<double>(maximum);
    key.length_max = length_max;
    key.write = [](Owner& owner, const key_value& value) {
      auto& field = field_of<Members...>(owner);
      field.clear();
      for (const std::int64_t entry : std::get<std::vector<std::int64_t>>(value)) {
        field.push_back(static_cast<std::int32_t>(entry));
      }
    };
    key.read = [](const Owner& owner) {
      const auto& field = field_of<Members...>(owner);
      return key_value(std::vector<std::int64_t>(field.begin(), field.end()));
    };
    return key;
  }
};

constexpr std::int64_t tokens_max = 1 << 24;      // of a sequence, a step or a vocabulary
constexpr std::int64_t size_max = 4096;           // of one parallel dimension
constexpr std::int64_t duration_max = 86'400'000; // a day in ms
constexpr std::int64_t seed_max = (std::int64_t{1} << 53) - 1; // exact in every JSON reader
constexpr std::int64_t memory_max = std::int64_t{1} << 50;
constexpr std::size_t text_max = 4096; // bytes: the length of a path
constexpr std::size_t name_max = 64;   // bytes

using key = keys_of<cluster_config>;
using cc = cluster_config;

void add_model_keys(std::vector<config_key>& keys) {
  using cs = cluster_section;
  using ms = model_section;
  keys.push_back(key::string<&cc::cluster, &cs::name>(
      "cluster.name", name_max, "Name of the cluster; letters, digits, '-', '_' and '.'."));
  keys.push_back(key::word<&cc::cluster, &cs::isolation>(
      "cluster.isolation",
      "Workers are threads of one process, or processes of their own; auto: processes under "
      "vdist-run, threads in a program that embeds the engine."));
  keys.push_back(key::string<&cc::model, &ms::path>(
      "model.path",
      text_max,
      "Folder in Hugging Face layout, a repo id \"org/name\", or \"random:<config folder>\" for "
      "random weights."));
  keys.push_back(key::string<&cc::model, &ms::revision>(
      "model.revision",
      name_max * 4,
      "Branch, tag or commit of a repo id; what the local cache has of it is used without asking "
      "whether there is something newer."));
  keys.push_back(key::boolean<&cc::model, &ms::download>(
      "model.download",
      "Download a repo id that the local Hugging Face cache lacks; HF_ENDPOINT, HF_TOKEN and "
      "HF_HUB_OFFLINE are respected."));
  keys.push_back(key::word<&cc::model, &ms::dtype>(
      "model.dtype", "Type that weights are held in; auto keeps what the model's config says."));
  keys.push_back(key::integer<&cc::model, &ms::max_model_len>(
      "model.max_model_len",
      "tokens",
      0,
      tokens_max,
      "Prompt and generated tokens of one request at most; 0: from the model's config."));
  keys.push_back(key::integer<&cc::model, &ms::seed>(
      "model.seed", "", 0, seed_max, "Seed of the weights of a \"random:\" model."));
  keys.push_back(key::word<&cc::model, &ms::generation_config>(
      "model.generation_config",
      "Sampling defaults: from the model's generation_config.json, or neutral values."));
}

void add_parallel_keys(std::vector<config_key>& keys) {
  using ps = parallel_section;
  keys.push_back(key::integer<&cc::parallel, &ps::data>(
      "parallel.data", "replicas", 1, size_max, "Copies of the model that share the requests."));
  keys.push_back(key::integer<&cc::parallel, &ps::pipeline>(
      "parallel.pipeline", "stages", 1, size_max, "Stages that the layers are split over."));
  keys.push_back(key::integer<&cc::parallel, &ps::prefill_context>(
      "parallel.prefill_context",
      "ranks",
      1,
      size_max,
      "Ranks that share the prefill of a prompt."));
  keys.push_back(key::integer<&cc::parallel, &ps::tensor>(
      "parallel.tensor", "ranks", 1, size_max, "Ranks that share every layer of a stage."));
  keys.push_back(key::integer<&cc::parallel, &ps::decode_context>(
      "parallel.decode_context",
      "ranks",
      1,
      size_max,
      "Tensor ranks that share the KV cache of a sequence; does not enlarge the world."));
  keys.push_back(key::boolean<&cc::parallel, &ps::expert>(
      "parallel.expert",
      "Spread experts over the data, prefill_context and tensor ranks of a stage."));
  keys.push_back(key::integers<&cc::parallel, &ps::pipeline_layers>(
      "parallel.pipeline_layers",
      1,
      tokens_max,
      size_max,
      "Layers of each stage, one entry per stage; empty: an even split by rule."));
}

void add_device_keys(std::vector<config_key>& keys) {
  using ds = device_section;
  keys.push_back(key::word<&cc::device, &ds::kind>(
      "device.kind", "What workers compute on; auto: cuda where a GPU is found, else cpu."));
  config_key memory = key::number<&cc::device, &ds::memory_utilization>(
      "device.memory_utilization", "", 0, 1, "Share of a device's memory that may be used.");
  memory.excludes_minimum = true;
  keys.push_back(memory);
  keys.push_back(key::integer<&cc::device, &ds::kv_cache_bytes>(
      "device.kv_cache_bytes",
      "bytes",
      0,
      memory_max,
      "Memory of the KV cache of one worker; 0: from memory_utilization."));
  keys.push_back(key::integer<&cc::device, &ds::threads>(
      "device.threads",
      "threads",
      0,
      1024,
      "CPU threads of one worker; 0: cores divided by the workers of the host, at least 1."));
  keys.push_back(key::boolean<&cc::device, &ds::shared>(
      "device.shared", "On cuda, workers may share a GPU: to try a topology on fewer GPUs."));
  keys.push_back(key::boolean<&cc::device, &ds::graphs>(
      "device.graphs", "On cuda, record decode steps of one size once and replay them."));
  keys.push_back(key::word<&cc::device, &ds::exchange>(
      "device.exchange",
      "On cuda, how ranks meet: peer, in each other's device memory; host, through the host's; "
      "auto: peer where the devices reach each other and none is shared."));
}

void add_sim_keys(std::vector<config_key>& keys) {
  using ds = device_section;
  using ss = sim_section;
  const auto shape =
      [&keys]<auto Member>(std::string_view name, std::string_view unit, std::string_view doc) {
    keys.push_back(key::integer<&cc::device, &ds::sim, Member>(name, unit, 1, tokens_max, doc));
  };
  shape.operator()<&ss::vocabulary>("device.sim.vocabulary",
                                    "tokens",
                                    "Vocabulary of the simulated model when model.path is empty.");
  shape.operator()<&ss::layers>("device.sim.layers", "layers", "Layers of the simulated model.");
  shape.operator()<&ss::heads>("device.sim.heads", "heads", "Query heads of the simulated model.");
  shape.operator()<&ss::kv_heads>(
      "device.sim.kv_heads", "heads", "Key/value heads of the simulated model; divides heads.");
  shape.operator()<&ss::hidden>(
      "device.sim.hidden", "columns", "Hidden size of the simulated model.");
  shape.operator()<&ss::max_model_len>(
      "device.sim.max_model_len", "tokens", "Context length of the simulated model.");
  keys.push_back(key::number<&cc::device, &ds::sim, &ss::step_us>(
      "device.sim.step_us", "us", 0, 1e9, "Simulated time of a step, whatever its size."));
  keys.push_back(key::number<&cc::device, &ds::sim, &ss::token_us>(
      "device.sim.token_us", "us", 0, 1e9, "Simulated time of each token of a step."));
}

void add_scheduler_keys(std::vector<config_key>& keys) {
  using ss = scheduler_section;
  keys.push_back(key::integer<&cc::scheduler, &ss::max_batch_tokens>(
      "scheduler.max_batch_tokens",
      "tokens",
      1,
      tokens_max,
      "Tokens that one step computes at most."));
  keys.push_back(
      key::integer<&cc::scheduler, &ss::max_sequences>("scheduler.max_sequences",
                                                       "sequences",
                                                       1,
                                                       65536,
                                                       "Sequences of a replica that run at once."));
  keys.push_back(key::integer<&cc::scheduler, &ss::max_waiting>(
      "scheduler.max_waiting",
      "requests",
      1,
      tokens_max,
      "Accepted requests of a replica that wait; more are refused."));
  config_key block = key::integer<&cc::scheduler, &ss::block_size>(
      "scheduler.block_size", "tokens", 1, 1024, "Tokens of one block of the KV cache.");
  block.needs_power_of_two = true;
  keys.push_back(block);
  keys.push_back(key::integer<&cc::scheduler, &ss::prefill_chunk>(
      "scheduler.prefill_chunk",
      "tokens",
      0,
      tokens_max,
      "Tokens of one prompt that a step computes at most; 0: only max_batch_tokens bounds it."));
  keys.push_back(key::boolean<&cc::scheduler, &ss::prefix_cache>(
      "scheduler.prefix_cache",
      "Keep the KV blocks of finished requests for prompts that begin alike."));
  keys.push_back(key::boolean<&cc::scheduler, &ss::async>(
      "scheduler.async", "Plan and send the next step while one runs; never changes a token."));
  keys.push_back(key::word<&cc::scheduler, &ss::policy>(
      "scheduler.policy",
      "Order of waiting requests: by arrival, or by priority and then arrival."));
  keys.push_back(key::word<&cc::scheduler, &ss::routing>(
      "scheduler.routing",
      "How a replica is chosen: by its load, or by its load and what it holds of the prompt."));
  keys.push_back(key::word<&cc::numerics, &numerics_section::mode>(
      "numerics.mode", "invariant: the same bits whatever the batch, the chunking or a recovery."));
}

void add_fault_tolerance_keys(std::vector<config_key>& keys) {
  using fs = fault_tolerance_section;
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::standby>(
      "fault_tolerance.standby", "workers", 0, 16, "Warm spare workers per device."));
  keys.push_back(key::word<&cc::fault_tolerance, &fs::spares>(
      "fault_tolerance.standby_kind",
      "Spares of processes: generic, without an order; prepared, one per rank that has all but the "
      "requests; auto: prepared on GPUs."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::detect_ms>(
      "fault_tolerance.detect_ms",
      "ms",
      1,
      duration_max,
      "Silence after which a worker is suspected."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::max_restarts>(
      "fault_tolerance.max_restarts",
      "restarts",
      0,
      10000,
      "Restarts of one worker within restart_window_s; beyond it is given up."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::restart_window_s>(
      "fault_tolerance.restart_window_s", "s", 1, 86400, "Time over which restarts are counted."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::restart_backoff_ms>(
      "fault_tolerance.restart_backoff_ms",
      "ms",
      0,
      duration_max,
      "Wait before the second restart in the window; doubled for each further one."));
  keys.push_back(key::boolean<&cc::fault_tolerance, &fs::shrink>(
      "fault_tolerance.shrink",
      "Go on with fewer workers when one of the last replica's cannot come back (processes)."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::load_deadline_s>(
      "fault_tolerance.load_deadline_s",
      "s",
      1,
      86400,
      "A worker may load this long; beyond it counts as dead."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::poison_strikes>(
      "fault_tolerance.poison_strikes",
      "deaths",
      0,
      100,
      "A request fails when so many steps in a row died with it, the last alone; 0: never."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::collective_deadline_ms>(
      "fault_tolerance.collective_deadline_ms",
      "ms",
      1,
      duration_max,
      "A rank waits this long for its peers; at most step_deadline_ms."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::step_deadline_ms>(
      "fault_tolerance.step_deadline_ms", "ms", 1, duration_max, "A step may take this long."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::load_stall_ms>(
      "fault_tolerance.load_stall_ms",
      "ms",
      1,
      duration_max,
      "A worker that makes no progress for this long while it loads is given up."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::control_stall_ms>(
      "fault_tolerance.control_stall_ms",
      "ms",
      1,
      duration_max,
      "A control process, or vault, that gets on with nothing for this long is given up."));
  keys.push_back(key::integer<&cc::fault_tolerance, &fs::kv_host_bytes>(
      "fault_tolerance.kv_host_bytes",
      "bytes",
      0,
      memory_max,
      "Host memory for copies of KV blocks: what is there is not computed again; 0: none."));
}

void add_server_access_keys(std::vector<config_key>& keys) {
  using ss = server_section;
  keys.push_back(key::string<&cc::server, &ss::api_key_file>(
      "server.api_key_file", text_max, "File of further keys, one per line; # begins a comment."));
  keys.push_back(key::boolean<&cc::server, &ss::insecure>(
      "server.insecure", "Serve other machines without asking for a key."));
  keys.push_back(key::string<&cc::server, &ss::tls_certificate>(
      "server.tls_certificate", text_max, "PEM file of the certificate chain; empty: no TLS."));
  keys.push_back(key::string<&cc::server, &ss::tls_key>(
      "server.tls_key", text_max, "PEM file of the certificate's private key."));
  keys.push_back(key::string<&cc::server, &ss::cors_origins>(
      "server.cors_origins",
      text_max,
      "Origins whose pages may use the API, separated by commas; \"*\": all; empty: none."));
}

void add_server_keys(std::vector<config_key>& keys) {
  using ss = server_section;
  keys.push_back(key::string<&cc::server, &ss::host>(
      "server.host", 255, "Address that the HTTP server listens on."));
  keys.push_back(key::integer<&cc::server, &ss::port>(
      "server.port", "", 0, 65535, "Port of the HTTP server; 0: the system chooses."));
  keys.push_back(key::word<&cc::server, &ss::balancing>(
      "server.balancing",
      "Who chooses a replica: vdist, the client (port + i is replica i), both (a port per node)."));
  keys.push_back(key::string<&cc::server, &ss::model_name>(
      "server.model_name", 255, "Name of the model in the API; empty: last part of model.path."));
  keys.push_back(key::string<&cc::server, &ss::api_key>(
      "server.api_key", text_max, "Clients must send this key; empty: no key is asked for."));
  keys.push_back(key::integer<&cc::server, &ss::max_body_bytes>(
      "server.max_body_bytes", "bytes", 1024, 1 << 30, "Body of one HTTP request at most."));
  keys.push_back(key::integer<&cc::server, &ss::drain_s>(
      "server.drain_s", "s", 0, 86400, "Time that running requests get after SIGTERM."));
  add_server_access_keys(keys);
  keys.push_back(key::integer<&cc::server, &ss::connections_max>(
      "server.connections_max",
      "connections",
      1,
      1 << 20,
      "Connections of a port at once; more are refused."));
  keys.push_back(key::integer<&cc::server, &ss::io_threads>(
      "server.io_threads",
      "threads",
      1,
      256,
      "Threads of a port that read requests and write answers."));
  keys.push_back(key::integer<&cc::server, &ss::submit_threads>(
      "server.submit_threads", "threads", 1, 256, "Threads that turn requests into tokens."));
  keys.push_back(key::integer<&cc::server, &ss::submit_queue_max>(
      "server.submit_queue_max",
      "requests",
      1,
      1 << 20,
      "Requests that wait for one of submit_threads; more are refused."));
  keys.push_back(key::integer<&cc::server, &ss::resume_s>(
      "server.resume_s",
      "s",
      0,
      86400,
      "A request with an Idempotency-Key goes on this long when its client has gone."));
  keys.push_back(key::string<&cc::run, &run_section::prompt>(
      "run.prompt",
      text_max,
      "What vdist-run continues when its command line names neither --prompt nor --input; "
      "empty: it serves HTTP."));
  keys.push_back(key::integer<&cc::run, &run_section::max_tokens>(
      "run.max_tokens",
      "tokens",
      0,
      tokens_max,
      "Generated tokens of run.prompt; 0: what the model's generation_config.json says."));
  keys.push_back(key::word<&cc::log, &log_section::level>(
      "log.level", "Least severe lines that are logged to stderr."));
}

std::vector<config_key> make_config_keys() {
  std::vector<config_key> keys;
  add_model_keys(keys);
  add_parallel_keys(keys);
  add_device_keys(keys);
  add_sim_keys(keys);
  add_scheduler_keys(keys);
  add_fault_tolerance_keys(keys);
  add_server_keys(keys);
  return keys;
}

std::vector<node_key> make_node_keys() {
  using node = keys_of<node_section>;
  return {
      node::string<&node_section::name>("name", name_max, "Name of the host, for --node; unique."),
      node::string<&node_section::host>("host", 255, "Address that the other hosts reach it by."),
      node::integers<&node_section::devices>(
          "devices", 0, 1023, 1024, "Device numbers to use; empty: as many as are needed."),
  };
}

} // namespace

std::span<const config_key> config_keys() {
  static const std::vector<config_key> keys = make_config_keys();
  return keys;
}

std::span<const node_key> node_keys() {
  static const std::vector<node_key> keys = make_node_keys();
  return keys;
}

} // namespace vdist::config
