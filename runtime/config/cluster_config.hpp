// runtime/config/cluster_config.hpp — cluster.toml as plain values, one struct per section.
// Read once by load.hpp, then handed down by const reference: nobody changes a configuration. The
// default of a key is the initialiser below and is written nowhere else; ranges, units and texts of
// the keys are in keys.cpp.
#pragma once

#include "runtime/config/secret.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::config {

/// Where workers live: threads of this process, or processes of their own. `automatic`: processes
/// when vdist-run launches the cluster, threads when a program embeds it.
enum class isolation_kind : std::uint8_t { automatic, thread, process };
/// Type that weights are converted to when loaded; `automatic` keeps what the model's config says.
enum class weight_dtype : std::uint8_t { automatic, float32, bfloat16, float16 };
/// Where sampling defaults come from: the model's generation_config.json, or neutral values.
enum class generation_source : std::uint8_t { automatic, neutral };
enum class device_kind : std::uint8_t { automatic, cuda, cpu, sim };
enum class exchange_choice : std::uint8_t { automatic, peer, host };
enum class standby_kind : std::uint8_t { automatic, generic, prepared };
enum class scheduling_policy : std::uint8_t { fcfs, priority };
/// What a replica is chosen by: the work that a request is for each, without or with what it holds of the prompt.
enum class routing_rule : std::uint8_t { load, prefix };
/// Which replicas run what comes to a port of the server: all, or one each, or those of a node.
enum class balancing_kind : std::uint8_t { internal, external, hybrid };
enum class numerics_mode : std::uint8_t { fast, invariant };
enum class log_level : std::uint8_t { trace, debug, info, warn, error, off };

/// The word that the configuration file uses for the value.
[[nodiscard]] std::string_view to_string(isolation_kind value) noexcept;
[[nodiscard]] std::string_view to_string(weight_dtype value) noexcept;
[[nodiscard]] std::string_view to_string(generation_source value) noexcept;
[[nodiscard]] std::string_view to_string(device_kind value) noexcept;
[[nodiscard]] std::string_view to_string(exchange_choice value) noexcept;
[[nodiscard]] std::string_view to_string(standby_kind value) noexcept;
[[nodiscard]] std::string_view to_string(scheduling_policy value) noexcept;
[[nodiscard]] std::string_view to_string(routing_rule value) noexcept;
[[nodiscard]] std::string_view to_string(balancing_kind value) noexcept;
[[nodiscard]] std::string_view to_string(numerics_mode value) noexcept;
[[nodiscard]] std::string_view to_string(log_level value) noexcept;

struct cluster_section {
  std::string name = "vdist";
  isolation_kind isolation = isolation_kind::automatic;
};

struct model_section {
  std::string path; // folder, "random:<config folder>" or a repo id "org/name"; may be empty only
                    // on the sim device
  std::string revision = "main"; // branch, tag or commit of a repo id
  bool download = true;          // fetch a repo id that the local cache lacks
  weight_dtype dtype = weight_dtype::automatic;
  std::int32_t max_model_len = 0; // tokens; 0: from the model's config
  std::int64_t seed = 0;          // of the weights of a "random:" model
  generation_source generation_config = generation_source::automatic;
};

struct parallel_section {
  std::int32_t data = 1;
  std::int32_t pipeline = 1;
  std::int32_t prefill_context = 1;
  std::int32_t tensor = 1;
  std::int32_t decode_context = 1; // re-uses tensor ranks, does not enlarge the world
  bool expert = false;
  std::vector<std::int32_t> pipeline_layers; // layers of each stage; empty: split by rule

  /// Number of workers of the cluster.
  [[nodiscard]] std::int64_t world() const {
    return std::int64_t{data} * pipeline * prefill_context * tensor;
  }
};

/// The sim device: no maths, a step lasts step_us + tokens * token_us. The shape is used when
/// model.path is empty.
struct sim_section {
  std::int32_t vocabulary = 32000;
  std::int32_t layers = 32;
  std::int32_t heads = 32;
  std::int32_t kv_heads = 8;
  std::int32_t hidden = 4096;
  std::int32_t max_model_len = 8192; // tokens
  double step_us = 0;
  double token_us = 0;
};

struct device_section {
  device_kind kind = device_kind::automatic;
  double memory_utilization = 0.92; // share of a device's memory that may be used
  std::int64_t kv_cache_bytes = 0;  // per worker; 0: from memory_utilization
  std::int32_t threads =
      0;               // CPU threads per worker; 0: cores / local workers (threads_per_worker())
  bool shared = false; // cuda: workers may share a GPU, in turns
  bool graphs = true;  // cuda: steps of the same shape are recorded once and replayed
  exchange_choice exchange = exchange_choice::automatic; // cuda: how ranks meet
  sim_section sim;
};

struct scheduler_section {
  std::int32_t max_batch_tokens = 8192; // tokens that one step may compute
  std::int32_t max_sequences = 1024;    // sequences that run at the same time, per replica
  std::int32_t max_waiting = 4096; // accepted requests that wait, per replica; more are refused
  std::int32_t block_size = 16;    // tokens of one KV block
  std::int32_t prefill_chunk =
      0; // tokens of one prompt in one step at most; 0: only max_batch_tokens bounds it
  bool prefix_cache = true;
  bool async = true; // the next step is planned and sent while one runs
  scheduling_policy policy = scheduling_policy::fcfs;
  routing_rule routing = routing_rule::prefix;
};

struct numerics_section {
  numerics_mode mode = numerics_mode::fast;
};

struct fault_tolerance_section {
  std::int32_t standby = 0; // warm spare workers per device; prepared ones: at most one per rank
  standby_kind spares = standby_kind::automatic; // automatic: prepared on GPUs, generic elsewhere
  std::int32_t detect_ms = 300;                  // silence after which a worker is suspected
  std::int32_t max_restarts = 5; // of one worker within restart_window_s; beyond it is given up
  std::int32_t restart_window_s = 60; //
  std::int32_t restart_backoff_ms =
      50;             // wait before the second restart, doubled for each further one
  bool shrink = true; // go on with fewer workers when one of the last replica's cannot come back
  std::int32_t load_deadline_s = 1800; // a worker may load this long
  std::int32_t poison_strikes = 3;     // a request fails when steps died so often with it; 0: never
  std::int32_t collective_deadline_ms = 5000; // a rank waits this long for its peers
  std::int32_t step_deadline_ms = 30000;      // the executor waits this long for a step
  std::int32_t load_stall_ms = 60000;         // a worker may load this long without progress
  std::int32_t control_stall_ms = 5000; // the control process and the vault may be silent this long
  std::int64_t kv_host_bytes =
      0; // host memory for copies of full KV blocks, of all replicas; 0: none
};

struct server_section {
  std::string host = "127.0.0.1";
  std::int32_t port = 8000; // 0: the system chooses
  balancing_kind balancing = balancing_kind::internal;
  std::string model_name; // name in /v1/models; empty: last part of model.path
  secret api_key;         // empty: no key is asked for
  std::int32_t max_body_bytes = 8 << 20;
  std::int32_t drain_s = 30;   // after SIGTERM, running requests may take this long
  std::string api_key_file;    // a key per line, beside api_key; empty: none
  bool insecure = false;       // whoever reaches the port may use it, also from other machines
  std::string tls_certificate; // PEM files, both or none
  std::string tls_key;
  std::string cors_origins; // separated by commas; "*": all
  std::int32_t connections_max = 16384;
  std::int32_t io_threads = 2;
  std::int32_t submit_threads = 4;
  std::int32_t submit_queue_max = 1024; // requests that wait for a submit thread
  std::int32_t resume_s = 30; // a client that named its request may come back to it this long
};

/// What vdist-run does when its command line names neither --prompt nor --input.
struct run_section {
  std::string prompt;          // empty: it serves
  std::int32_t max_tokens = 0; // of that prompt; 0: what the model's generation_config.json says
};

struct log_section {
  log_level level = log_level::info;
};

/// One host of the cluster.
struct node_section {
  std::string name;
  std::string host = "127.0.0.1";
  std::vector<std::int32_t> devices; // empty: all devices of the host
};

/// The whole file.
struct cluster_config {
  cluster_section cluster;
  model_section model;
  parallel_section parallel;
  device_section device;
  scheduler_section scheduler;
  numerics_section numerics;
  fault_tolerance_section fault_tolerance;
  server_section server;
  run_section run;
  log_section log;
  std::vector<node_section> nodes; // [[node]]; empty: this host, all its devices

  std::string source; // the file that was read, for messages; not a key
};

/// CPU threads that one of `local_workers` workers of a host with `cores` cores uses:
/// device.threads, or an even share of the cores, at least 1.
[[nodiscard]] std::int32_t
threads_per_worker(const device_section& device, std::int32_t cores, std::int32_t local_workers);

} // namespace vdist::config
