// runtime/protocol/worker.hpp — between the control process and one worker process.
//
//   control ──worker_order──▶ worker        once, in a file that the worker inherits: who it is
//   control ──worker_command──▶ worker      load, then prepare and begin for every epoch
//   worker ──worker_event──▶ control        what happened; load_progress while it loads
//
// P-1 The order is all that a worker knows: it reads no configuration file and no environment.
// P-2 A worker starts in no epoch. It obeys commands in order and answers `load` with loaded or
//     failed, `prepare` with quiesced; `begin` has no answer, the results of its steps are one.
// P-3 Commands and events belong to one incarnation: each has channels of its own.
// P-4 `end` has no answer but the end of the process: it is for a worker that is replaced as planned and has left its epoch.
//     Else a worker that is not wanted any more is killed.
// P-5 Both sides are of one version (runtime/protocol/version.hpp): an order of another one is refused, and says so.
// P-6 `nothing` is obeyed by doing nothing. Frames of a channel are counted, so it shows whether one before it was lost; a worker
//     that lost one ends, because it does not know what it was told.
// The same events are messages between actors, in both isolations (actors/interfaces.hpp).
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/version.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vdist::protocol {

inline constexpr std::uint16_t worker_protocol = 2;
inline constexpr std::uint16_t worker_version = 1;
inline constexpr std::uint16_t worker_command_kind = 1;
inline constexpr std::uint16_t worker_event_kind = 2;
inline constexpr std::uint16_t load_progress_kind = 3;

/// What a worker computes with.
enum class worker_device : std::uint8_t { cpu = 0, sim = 1, cuda = 2 };

struct worker_order {
  // Who it is.
  std::uint64_t cluster = 0;
  std::int32_t replica = 0;
  std::int32_t first_rank = 0; // global rank of the replica's slot 0
  std::int32_t slot = 0;       // rank within the replica
  std::uint32_t incarnation = 0;
  std::vector<std::int32_t> stage_of_slot;

  // Its part of the model: layers [first, last) of stage `stage`, rank `tensor_rank` of its group.
  std::int32_t tensor_rank = 0;
  std::int32_t tensor_size = 1;
  std::int32_t stages = 1;
  std::int32_t first_layer = 0;
  std::int32_t last_layer = 0;

  // Bounds.
  std::int32_t max_batch_tokens = 0;
  std::int32_t max_sequences = 0;
  std::int32_t max_positions = 0;
  std::int32_t blocks = 0;
  std::int32_t block_size = 0;
  std::int32_t vocabulary = 0;

  // How it works and waits.
  worker_device device = worker_device::cpu;
  std::int32_t threads = 1;
  std::int32_t collective_deadline_ms = 0;
  std::int32_t spin_us = 0;
  std::int32_t sleep_slice_ms = 0;
  std::string log_level;

  // cpu, cuda: where the model is. A worker of the sim device has none.
  std::string model_folder;
  std::string model_name;
  bool has_random_weights = false;
  std::uint64_t random_seed = 0;
  std::uint8_t weight_type = 0; // kernels::dtype

  // sim.
  double step_us = 0;
  double token_us = 0;

  // cuda.
  std::int32_t device_index = 0;
  bool device_graphs = true;
  std::int32_t step_deadline_ms = 30000; // of the device, for one step
  /// By slot, if ranks meet in each other's device memory; empty: they meet in host memory.
  std::vector<std::int32_t> peer_devices;

  // How it is watched over.
  std::int32_t detect_ms = 300;       // host_settings::detect_ms
  std::int32_t load_stall_ms = 60000; // longest time without progress while it loads

  std::uint32_t version = programs_version; // P-5; of who wrote it

  // The replica's part of the host store (runtime/kv/host_store.hpp), in the memory that the worker inherits with its order.
  std::int32_t store_slots = 0;   // 0: there is none
  std::int32_t store_saves = 0;   // blocks on their way there at a time, >= 1
  std::uint64_t store_first = 0;  // bytes before slot 0
  std::uint64_t store_stride = 0; // bytes from one slot to the next

  [[nodiscard]] std::int32_t rank() const { return first_rank + slot; }

  [[nodiscard]] std::int32_t stage() const {
    return stage_of_slot.at(static_cast<std::size_t>(slot));
  }

  bool operator==(const worker_order&) const = default;
};

struct worker_command {
  enum class kind : std::uint8_t { load = 1, prepare = 2, begin = 3, end = 4, nothing = 5 };
  kind what = kind::load;
  std::uint32_t now = 0; // epoch of prepare and begin

  bool operator==(const worker_command&) const = default;
};

/// What happened to a worker; worker → stage → supervisor.
struct worker_event {
  enum class kind : std::uint8_t {
    loaded = 1,     // its thread waits for an epoch
    quiesced = 2,   // its thread left the epochs below `now`
    failed = 3,     // it could not load, or its step failed by its own fault; it dies next
    peer_late = 4,  // its step could not go on because of a peer; nobody is known to be dead
    died = 5,       // its actor ended
    gone = 6,       // the thread or process of the dead incarnation has ended
    kill_actor = 7, // a failpoint of its process asks for the end of its actor
    halted =
        8, // its process begins nothing any more; what it had begun may still write until it has gone
  };
  kind what = kind::loaded;
  std::int32_t slot = 0;
  incarnation worker;
  epoch now;
  errc status = errc::ok; // of failed and peer_late; of halted if it had failed
  std::string text;

  bool operator==(const worker_event&) const = default;
};

/// Bytes of weights that are in place, and that will be.
struct load_progress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;

  bool operator==(const load_progress&) const = default;
};

/// msgpack arrays, fields in the order above; a missing tail keeps its defaults, an unknown one is
/// skipped. `out` is cleared first. Decoding errors: corrupt; of an order also unsupported (P-5).
void encode(const worker_order& order, std::vector<std::byte>& out);
void encode(const worker_command& command, std::vector<std::byte>& out);
void encode(const worker_event& event, std::vector<std::byte>& out);
void encode(const load_progress& progress, std::vector<std::byte>& out);
[[nodiscard]] result<void> decode(std::span<const std::byte> bytes, worker_order& out);
[[nodiscard]] result<void> decode(std::span<const std::byte> bytes, worker_command& out);
[[nodiscard]] result<void> decode(std::span<const std::byte> bytes, worker_event& out);
[[nodiscard]] result<void> decode(std::span<const std::byte> bytes, load_progress& out);

} // namespace vdist::protocol
