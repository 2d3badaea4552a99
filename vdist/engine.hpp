// vdist/engine.hpp — vdist inside a program of your own: a whole cluster as one object, text in and text out. The standard
// library is all that these headers need.
//
//   auto engine = vdist::engine::from_file("cluster.toml");
//   if (!engine) { … engine.error().message … }
//   auto stream = engine->generate({.prompt = "Once upon a time", .sampling = {.max_tokens = 60}});
//   for (auto& event : *stream) { std::fputs(event.text.c_str(), stdout); }
//   if (auto read = stream->status(); !read) { … read.error().message … }
//
// Workers are threads of this process unless the configuration says isolation = "process"; then they are processes of
// vdist-run's making, whose death costs a stall and no token. Errors are values (expected.hpp); nothing here throws but
// std::bad_alloc.
//
// G-1 Every accepted request ends: with its last tokens, or for a reason that is told.
// G-2 Every wait has a deadline. The destructor returns within engine_options::close_deadline (and what it takes to say so),
//     whatever workers do: what is stuck then is left behind on threads of its own, which free the rest when they get on. A
//     program that ends before they do ends by std::_Exit or std::quick_exit.
// G-3 Several engines in one process do not know of each other, but for the level of the log (that of the first one).
//
// Threads: per function. The object itself is moved and destroyed by one thread while no other uses it; streams outlive it
// (T-2 in stream.hpp).
// Fork: do not, once an engine has been made (posix_spawn and exec are fine).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vdist/expected.hpp"
#include "vdist/inspection.hpp"
#include "vdist/request.hpp"
#include "vdist/stream.hpp"

namespace vdist {
inline namespace v0 {

/// The version of the library, as "0.1.0". Any thread.
[[nodiscard]] std::string_view version() noexcept;

/// A configuration without a file: what embedders change most. nullopt: the default of cluster.toml(5). Everything else goes
/// into `settings`, and is checked like a file.
struct engine_config {
  std::string model = {}; // model.path: folder, "random:<config folder>" or a repo id
  std::optional<std::string> dtype = {};             // auto | float32 | bfloat16 | float16
  std::optional<std::int32_t> max_model_len = {};    // tokens of prompt and output
  std::optional<std::string> device = {};            // auto | cuda | cpu | sim
  std::optional<double> memory_utilization = {};     // (0, 1]: share of a device's memory
  std::optional<std::int64_t> kv_cache_bytes = {};   // per worker
  std::optional<std::int32_t> threads = {};          // CPU threads per worker
  std::optional<std::int32_t> data = {};             // copies of the model
  std::optional<std::int32_t> pipeline = {};         // stages
  std::optional<std::int32_t> tensor = {};           // ranks that share every layer
  std::optional<std::int32_t> max_sequences = {};    // that run at once, per copy
  std::optional<std::int32_t> max_batch_tokens = {}; // that one step computes
  bool uses_processes = false;            // workers as processes: faults in them are survived
  std::vector<std::string> settings = {}; // "full.key=value" of cluster.toml(5); these win
};

/// What does not belong into a configuration.
struct engine_options {
  /// "full.key=value", over those of the file; as --set of vdist-run.
  std::vector<std::string> settings = {};
  /// Folder of vdist-run and its programs, for isolation = "process". Empty: VDIST_PROGRAMS, then beside the library, then
  /// beside this program.
  std::filesystem::path programs = {};
  /// False: from_file() and its like return as soon as the configuration is good, and the model is loaded behind them: see
  /// wait_until_ready(). Until then generate() answers not_ready.
  bool waits_until_ready = true;
  std::chrono::nanoseconds ready_deadline = std::chrono::minutes(30); // of from_file() and its like
  std::chrono::nanoseconds close_deadline = std::chrono::seconds(10); // of the destructor (G-2)
  /// Told what is done while the engine starts: a phase and what came of it; bytes of weights over all workers. On threads of
  /// the engine, one at a time, never after the start has ended. Must not throw, and must not call the engine.
  std::function<void(std::string_view phase, std::string_view outcome)> on_phase = {};
  std::function<void(std::uint64_t done, std::uint64_t total)> on_load = {};
};

enum class engine_state : std::uint8_t {
  loading,  // generate() answers not_ready
  running,  // it can take requests
  draining, // drain() was called: what is under way goes on, nothing new is taken
  failed,   // no worker is left, or it could not start; `reason` says why. Only to be closed
  closed,   // close() was called
};

[[nodiscard]] std::string_view to_string(engine_state state) noexcept;

struct engine_health {
  engine_state state = engine_state::loading;
  std::string reason = {};             // of failed
  std::int32_t workers = 0;            // of copies of the model that were not given up
  std::int32_t workers_configured = 0; // of all copies
};

/// Sums over all copies of the model, since the engine was made.
struct engine_stats {
  std::uint64_t active_requests = 0; // sequences without an end: n of them per request
  std::uint64_t finished_requests = 0;
  std::uint64_t steps = 0;
  std::uint64_t computed_tokens = 0; // of prompts and outputs
  std::uint64_t prefix_tokens = 0;   // of prompts, found in the KV cache
  std::uint64_t preemptions = 0;
  std::uint64_t worker_restarts = 0;
  std::uint64_t actor_restarts = 0; // of the control plane
  double control_us_per_step = 0;   // microseconds that a step costs beyond its slowest worker
  std::vector<std::uint32_t> epochs = {}; // by copy; each recovery begins a new one
};

class engine {
public:
  /// Starts a cluster and returns when it runs (or see engine_options::waits_until_ready). A relative model.path is looked
  /// for below the current folder, then below that of the file. Any thread. Errors: bad_configuration, not_found, corrupt,
  /// unsupported, resource_exhausted, io_failed; timed_out (ready_deadline).
  [[nodiscard]] static expected<engine> from_file(const std::filesystem::path& file,
                                                  engine_options options = {});
  /// The same from the text of a cluster.toml; model.path is relative to the current folder.
  [[nodiscard]] static expected<engine> from_text(std::string_view toml,
                                                  engine_options options = {});
  [[nodiscard]] static expected<engine> from_config(const engine_config& config,
                                                    engine_options options = {});

  /// The moved-from engine may be destroyed or assigned to; its calls answer `closed`. Assigning begins as the destructor.
  engine(engine&&) noexcept;
  engine& operator=(engine&&) noexcept;
  /// As close(engine_options::close_deadline).
  ~engine();

  /// Returns when the model is loaded and every worker runs. Any thread. Errors: those of from_file(); timed_out.
  [[nodiscard]] expected<void> wait_until_ready(std::chrono::nanoseconds timeout) const;

  /// Tokenizes, checks, accepts; waits for no token. Any thread, any number at a time. Errors: invalid_argument (empty or too
  /// long prompt, a parameter out of range), queue_full (the bound is scheduler.max_waiting and max_sequences), not_ready,
  /// closed; timed_out (the control plane did not answer for 30 s).
  [[nodiscard]] expected<stream> generate(const generate_request& request);

  /// Offline batch: all of them, as many at once as the engine takes; results in the order of requests. One that is refused
  /// costs the others nothing. What is not done after `timeout` is cancelled and is `timed_out`. Blocks. Any thread.
  [[nodiscard]] std::vector<expected<generation>>
  generate_all(std::span<const generate_request> requests, std::chrono::nanoseconds timeout);

  /// What runs at the moment, and whether it can go on. Any thread; cheap, never blocks.
  [[nodiscard]] engine_health health() const;

  /// Any thread; asks every copy of the model, up to 2 s each. Errors: not_ready, closed.
  [[nodiscard]] expected<engine_stats> stats() const;

  /// What the engine computes with: architecture, layers, and each parameter with what every rank holds of it (I-1, I-2 in
  /// inspection.hpp). Reads no file and asks nobody; computed anew by each call. Any thread. Errors: not_ready, closed.
  [[nodiscard]] expected<model_description> model() const;

  /// The output of one layer on one rank from now on, a row per token (I-3 to I-7). A rank has one watch at a time, a copy of
  /// the model up to 8. Any thread. Errors: invalid_argument (no such rank, a layer that it does not have, rows_max, a rank
  /// that is watched already), unsupported (the sim device computes none), resource_exhausted, not_ready, closed.
  [[nodiscard]] expected<layer_watch> watch_layer(const layer_watch_request& request);

  /// From now on nothing new is taken (`closed`); returns when all that was accepted has ended, whether it was read or not.
  /// Any thread, any number of times. Error: timed_out, which names how many are left; they go on.
  [[nodiscard]] expected<void> drain(std::chrono::nanoseconds timeout);

  /// Ends the engine and what it has under way; streams end with `closed`. Any thread but the engine's own, also while others
  /// wait in calls of this engine, which come back with `closed`; any number of times. Success: everything that belonged to
  /// it is freed. Error: timed_out (G-2).
  expected<void> close(std::chrono::nanoseconds timeout) noexcept;

private:
  friend class embedding::engine_core;
  explicit engine(std::shared_ptr<embedding::engine_core> core) noexcept;

  std::shared_ptr<embedding::engine_core> core_; // null: moved from
};

} // namespace v0
} // namespace vdist
