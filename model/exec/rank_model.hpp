// model/exec/rank_model.hpp — one rank's forward pass: a validated plan in, a result out. Owns the
// activations and the slot table; weights and KV memory are lent to it and outlive it
// (model_runner.hpp maps them). R-1 Its result is a function of the plans since clear(), the
// weights and the KV content (step_runner.hpp E-1). R-2 KV of a step's tokens is written before it
// is read, and always read back from the cache: chunks change no bit. R-3 All ranks of a stage make
// the same calls to their links for the same plan. R-4 On a device, launch() returns before the step is
// done, and the next one may be launched behind it: sampled tokens go from step to step on the device.
// A step of which the host has to choose a token, or whose ranks meet in host memory, is done when launch()
// returns, and so are those before it. R-5 Whether the device or the host samples a row follows from what its request asks
// for, not from its company; whether the host waits for a step follows from the plans alone: all ranks of a stage do the
// same. R-6 A rehearsal has rows of padding only: kernels read and write nothing of anybody for them. Not thread-safe: one
// worker owns it.
#pragma once

#include "model/arch/registry.hpp"
#include "model/exec/block_copies.hpp"
#include "model/exec/host_wait.hpp"
#include "model/exec/layer_tap.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/exec/slot_table.hpp"
#include "model/exec/step_inputs.hpp"
#include "model/exec/step_runner.hpp"
#include "model/exec/token_feed.hpp"
#include "model/exec/workspace.hpp"
#include "model/layers/context.hpp"
#include "model/layers/rope.hpp"
#include "model/sampling/sampler.hpp"

#include "transport/tensor/communicator.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/topology/parallel.hpp"

#include "kernels/backend.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace vdist::exec {

/// Sees the logits of every sampled position before the sampler does: request, position of the
/// sampled token, logits. For tests and for measuring; runs on the sampling rank's thread, and makes the host
/// sample every row. All ranks of the last stage have one or none has.
using logits_observer = std::function<void(std::uint64_t, std::int32_t, std::span<const float>)>;

/// How the rank reaches the others; each is null where there is nobody. They move device memory of the backend.
struct peers {
  tensor::communicator* group = nullptr; // the tensor group
  tensor::pipe* from_previous = nullptr; // the same tensor rank of the stage before
  tensor::pipe* to_next = nullptr;       // and of the stage behind
  bool are_enqueued =
      false; // they only enqueue (device_links.hpp): the host need not wait for them

  [[nodiscard]] bool are_none() const {
    return group == nullptr && from_previous == nullptr && to_next == nullptr;
  }

  /// What became of all that has run.
  [[nodiscard]] result<void> status() const;
};

/// Everything that a rank_model is made of; what is borrowed outlives it.
struct rank_model_parts {
  arch::network network;
  topology::shard place;
  runner_limits limits;
  layers::rope_table rope;              // of network.decoder.rope; empty without
  kernels::backend* backend = nullptr;  // borrowed
  host_wait* wait = nullptr;            // for its queue; borrowed
  tensor::communicator* feed = nullptr; // the tensor group in host memory, for tokens; borrowed
  std::span<std::byte> weights;         // filled as network.plan says; device memory; borrowed
  std::span<std::byte> kv;              // kv_bytes(); device memory; borrowed
  logits_observer observer;             // may be empty
  layer_tap* tap = nullptr;             // borrowed; may be null
  std::unique_ptr<block_copies> copies; // to and from the host store; null: there is none
};

/// The links of a rank that rehearses.
struct rehearsal_links {
  peers recorded;            // calls are recorded, none is run; none: they are not there yet
  bool are_enqueued = false; // as theirs will be
};

class rank_model {
public:
  /// Takes memory for steps of limits.first_step_tokens(). Throws std::bad_alloc.
  explicit rank_model(rank_model_parts parts);
  /// Waits for what was launched.
  ~rank_model();
  rank_model(const rank_model&) = delete;
  rank_model& operator=(const rank_model&) = delete;

  /// Takes memory for the largest steps, once; without it launch() takes it when such a step comes, and waits for it for a
  /// while. False: there is not as much.
  [[nodiscard]] bool make_room();

  /// As step_runner. Before the first connect().
  [[nodiscard]] result<void> rehearse(const rehearsal_links& links);

  /// Forgets every sequence and every launched step; KV content stays.
  void clear();

  /// Before the first step, and when nothing is under way. `links` are borrowed.
  void connect(const peers& links);

  /// As step_runner. After an error call clear().
  [[nodiscard]] std::int32_t flights_max() const noexcept;
  [[nodiscard]] result<void> launch(const protocol::step_plan& plan);
  [[nodiscard]] bool is_ready() noexcept;
  [[nodiscard]] result<void> finish(protocol::step_result& out);
  [[nodiscard]] result<void> settle();

  [[nodiscard]] result<void> disturb(disturbance what);

private:
  /// A sequence that samples.
  struct sampled_sequence {
    std::uint32_t slot;
    std::uint64_t request_id;
    std::int32_t position; // of the token
  };

  /// A step between launch() and finish().
  struct flight {
    protocol::step_result result; // complete if is_done
    bool is_done = false;
    kernels::queue_mark mark = 0;
    std::chrono::steady_clock::time_point deadline; // for the device
    std::vector<sampled_sequence> sampled; // that the host has yet to hear of, in plan order
    device_memory outputs;                 // staging: digest, then a token per sample
  };

  /// Of the rows of a step that sample.
  struct row_range {
    std::int32_t first;
    std::int32_t count;
  };

  /// outputs_ and flight::outputs.
  [[nodiscard]] static std::size_t output_bytes(std::int64_t samples) {
    return sizeof(std::uint64_t) + static_cast<std::size_t>(samples) * sizeof(token_id);
  }

  [[nodiscard]] static token_id* tokens_behind_digest(const device_memory& outputs) {
    return reinterpret_cast<token_id*>(outputs.data() + sizeof(std::uint64_t));
  }

  // rehearsal.cpp
  [[nodiscard]] result<void> run_rehearsal(const peers& silent, const rehearsal_links& links);
  [[nodiscard]] result<void> rehearse_step(const step_shape& shape, bool on_device);
  [[nodiscard]] result<void> rehearse_large_step(bool on_device);
  [[nodiscard]] result<void> record_ahead(const step_shape& shape, bool on_device);
  [[nodiscard]] result<step_arrays> place_padding(const step_shape& shape);
  [[nodiscard]] std::vector<bool> ways_to_sample() const;

  // step_sampling.cpp
  [[nodiscard]] bool device_can_sample() const noexcept;
  [[nodiscard]] bool share_out_rows();
  [[nodiscard]] result<float*>
  head_logits(const layers::context& in, const step_arrays& arrays, const row_range& rows);
  void sample_rows(const layers::context& in,
                   const step_arrays& arrays,
                   const float* logits,
                   const row_range& rows,
                   token_id* fed);
  [[nodiscard]] result<void>
  sample_on_device(const layers::context& in, const step_arrays& arrays, const step_shape& shape);
  void remember_sampled(const protocol::step_plan& plan, flight& mine);
  [[nodiscard]] result<void> take_over_sampled(flight& done);
  [[nodiscard]] result<void> sample_and_share(const step_arrays& arrays,
                                              const step_shape& shape,
                                              const protocol::step_plan& plan,
                                              flight& mine);
  [[nodiscard]] result<void> sample_together(const layers::context& in,
                                             const step_arrays& arrays,
                                             float* logits,
                                             const row_range& rows,
                                             const protocol::step_plan& plan,
                                             flight& mine);
  [[nodiscard]] result<float*> in_host_memory(const layers::context& in,
                                              float* logits,
                                              const row_range& rows,
                                              std::span<const kernels::sampling_row> wanted,
                                              std::uint64_t step);
  [[nodiscard]] result<void>
  sample_one(std::uint32_t slot, std::span<float> logits, protocol::step_result& out);

  [[nodiscard]] static std::uint64_t recording_key(const step_shape& shape, bool on_device);
  [[nodiscard]] step_shape padded_shape(std::int32_t bucket) const;
  [[nodiscard]] result<void> ensure_room(std::int32_t tokens);
  [[nodiscard]] const workspace& space_for(std::int32_t tokens) const;
  void place_rope_tables(const layers::rope_table& table);
  [[nodiscard]] layers::context make_context(const step_arrays& arrays,
                                             const step_shape& shape) const;
  [[nodiscard]] bool is_asynchronous() const noexcept;
  [[nodiscard]] step_shape choose_shape() const;
  [[nodiscard]] result<void>
  run(const step_arrays& arrays, const step_shape& shape, bool on_device);
  [[nodiscard]] result<void>
  run_recorded(const step_arrays& arrays, const step_shape& shape, bool on_device);
  [[nodiscard]] result<void> forward(const layers::context& in);
  [[nodiscard]] result<void> run_layers(const layers::context& in);
  [[nodiscard]] result<void> hand_over_rows(const protocol::step_plan& plan);
  void send_off(flight& mine, std::size_t bytes);
  [[nodiscard]] result<void> wait_in_step(std::uint64_t step,
                                          kernels::queue_mark mark,
                                          std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] result<void> complete(flight& done);
  [[nodiscard]] result<void> copy_blocks(const protocol::step_plan& plan);
  [[nodiscard]] result<void> complete_earlier();
  [[nodiscard]] std::int32_t flight_number(std::int32_t index) const;
  [[nodiscard]] flight& flight_at(std::int32_t index);

  arch::network network_;
  topology::shard place_;
  runner_limits limits_;
  host_wait& wait_;
  kernels::backend* const backend_;
  kernels::device_queue& queue_;
  peers links_;
  std::vector<const void*> weights_; // by weight_ref
  std::vector<kernels::paged_kv> kv_;
  device_memory rope_; // cosines, then sines
  activation_form form_;
  workspace space_;                        // of steps of up to space_.tokens()
  std::unique_ptr<workspace> large_space_; // of the others; null until make_room()
  head_space head_space_;
  std::size_t layers_run_; // by a step: all, but while it rehearses
  slot_table slots_;
  step_inputs inputs_;
  token_feed feed_;
  device_memory fed_;     // [slots], tokens that the next step may ask for
  device_memory outputs_; // digest, then a token per sample
  device_memory logits_;  // staging: rows of the host that a device computed
  std::size_t logits_bytes_ = 0;
  std::optional<sampling::sampler> sampler_;         // on the sampling rank
  std::vector<kernels::sampling_row> sampling_rows_; // of the step at hand; none: the host's
  logits_observer observer_;
  layer_copy watched_;        // of the step that is being launched
  bool is_disturbed_ = false; // the next step is, on purpose
  bool flips_bit_ = false;
  const std::unique_ptr<block_copies> copies_; // null: there is no host store

  std::vector<flight> flights_; // a ring
  std::int32_t first_flight_ = 0;
  std::int32_t flights_under_way_ = 0;
};

} // namespace vdist::exec
