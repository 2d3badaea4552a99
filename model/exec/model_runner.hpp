// model/exec/model_runner.hpp — the step_runner with real maths: one rank's share of a model on a
// kernels::backend. load() builds the rank's network, maps its weights and KV cache from the vault
// and reads the checkpoint, unless an earlier incarnation of the rank has filled the same region
// already (M-1). start_epoch() resets the communicators. The vault's regions of weights and KV are memory of the backend's
// device.
// M-1 A weight region is taken over only if its content hash names the same plan of the same source.
// M-2 Between an error of execute() and the next start_epoch() every call fails with aborted (step_runner.hpp E-4).
// M-3 No result comes from weights that were taken over and are not what was loaded (weight_seal.hpp). load() finds out,
//     and loads them anew; a KV cache that lay beside damaged weights is not used either.
// M-4 A standby shares weights and KV cache with the worker that it may replace: it only takes them over, and never
//     writes them. In its first epoch the weights are checked again, before its first result: the one before may have
//     damaged them in its end. It then fails, and they are ready no more, so that its successor loads them.
// Not thread-safe: one worker owns it; everything borrowed outlives it.
#pragma once

#include "model/exec/block_copies.hpp"
#include "model/exec/host_wait.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/exec/peer_links.hpp"
#include "model/exec/rank_model.hpp"
#include "model/exec/step_runner.hpp"
#include "model/exec/weight_seal.hpp"
#include "model/weights/model_config.hpp"
#include "model/weights/model_folder.hpp"

#include "transport/vault/vault.hpp"

#include "runtime/topology/parallel.hpp"

#include "kernels/backend.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace vdist::exec {

/// Makes the device's backend; called once by load(), which knows the sizes. Errors: resource_missing, resource_exhausted.
using backend_factory =
    std::function<result<std::unique_ptr<kernels::backend>>(const backend_needs&)>;

struct model_runner_config {
  weights::model_config model;
  weights::model_folder source;
  kernels::dtype type = kernels::dtype::float32; // of matrices and KV; the checkpoint is converted
  topology::shard place;
  rank_id rank; // global; names the regions in the vault
  runner_limits limits;
  std::int32_t load_threads = 1;
  /// Of a worker that may be using the same weights and KV cache now (M-4).
  bool is_standby = false;
  std::uint64_t random_seed = 0;                    // of generated weights
  std::chrono::milliseconds device_deadline{30000}; // for one step, and for one copy while loading
  /// Ranks meet in device memory; else in the memory of the links that are given, through the host. On a device only.
  std::optional<peer_link_settings> peer_exchange;
  logits_observer observer;         // may be empty
  layer_tap* tap = nullptr;         // borrowed; may be null
  std::optional<store_slots> store; // blocks are copied there and back; unset: there is none
};

class model_runner final : public step_runner {
public:
  /// `links` move host memory; with peer_exchange the group alone is needed, for tokens.
  model_runner(model_runner_config config,
               peers links,
               vault::vault& memory,
               backend_factory make_backend);

  /// For a standby also not_found (nothing to take over) and corrupt (it is damaged).
  [[nodiscard]] result<void> load(const load_progress& progress) override;
  [[nodiscard]] result<void> rehearse() override;
  [[nodiscard]] result<void> settle() override;
  [[nodiscard]] result<void> start_epoch(epoch now) override;
  [[nodiscard]] std::int32_t flights_max() const noexcept override;
  [[nodiscard]] result<void> launch(const protocol::step_plan& plan) override;
  [[nodiscard]] bool is_ready() noexcept override;
  [[nodiscard]] result<void> finish(protocol::step_result& out) override;
  void observe_waits(wait_observer* by) override;
  [[nodiscard]] device_waits waits() const noexcept override;
  [[nodiscard]] result<void> disturb(disturbance what) override;

private:
  [[nodiscard]] result<void> check_limits() const;
  [[nodiscard]] result<void> check_present(std::uint64_t content) const;
  [[nodiscard]] result<void> prepare_links();
  [[nodiscard]] result<peers> start_links(epoch now);
  [[nodiscard]] result<void> load_parts(arch::network network, const load_progress& progress);
  [[nodiscard]] result<void> settle_weights(const weights::weight_plan& plan,
                                            std::span<std::byte> region,
                                            const load_progress& progress);
  [[nodiscard]] result<void> fill_weights(const weights::weight_plan& plan,
                                          std::span<std::byte> region,
                                          const load_progress& progress);
  void make_model(arch::network network,
                  layers::rope_table rope,
                  std::span<std::byte> weights,
                  std::span<std::byte> kv);
  [[nodiscard]] bool may_take_room_later() const;
  [[nodiscard]] result<bool> has_damage();
  [[nodiscard]] result<void> judge_weights();
  [[nodiscard]] vault::region_key weights_key() const;
  [[nodiscard]] std::unique_ptr<block_copies> make_copies(const arch::network& network,
                                                          std::span<std::byte> kv);
  [[nodiscard]] result<void> check_epoch(const protocol::step_plan& plan) const;

  model_runner_config config_;
  peers links_;
  vault::vault& vault_;
  backend_factory make_backend_;
  // After load(). What is below ends first.
  std::unique_ptr<kernels::backend> backend_;
  std::optional<host_wait> wait_;
  std::optional<weight_seal> seal_;
  std::unique_ptr<rank_model> model_;
  // Between a device and links in host memory; null where the backend computes there, too.
  std::unique_ptr<tensor::communicator> staged_group_;
  std::unique_ptr<tensor::pipe> staged_from_previous_;
  std::unique_ptr<tensor::pipe> staged_to_next_;
  std::unique_ptr<peer_links> peer_links_; // with peer_exchange
  epoch epoch_;
  bool is_running_ = false;  // between start_epoch() and an error
  bool is_unproven_ = false; // M-4: before the first epoch of a standby
};

} // namespace vdist::exec
