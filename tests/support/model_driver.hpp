// tests/support/model_driver.hpp — a model on tensor × pipeline ranks of this process, driven by
// hand: sequences in, plans made from them, every rank's execute() on its own thread, logits and
// tokens out. Checks on every step what the executor relies on: equal digests within a stage
// (step.hpp P-6), results in plan order. Throws std::runtime_error when something fails that a test
// did not ask about.
#pragma once

#include "model/exec/model_runner.hpp"

#include "transport/tensor/communicator.hpp"
#include "transport/tensor/shared_pipe.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/protocol/step.hpp"
#include "runtime/topology/parallel.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vdist::testing {

/// Whether models run on a GPU: VDIST_TEST_DEVICE=cuda.
[[nodiscard]] bool wants_gpu();

struct driver_config {
  std::filesystem::path folder;
  weights::weight_origin origin = weights::weight_origin::checkpoint;
  std::optional<kernels::dtype> type; // default: the checkpoint's
  std::int32_t tensor = 1;
  std::vector<std::int32_t> stage_layers; // default: one stage with all layers
  exec::runner_limits limits{.max_batch_tokens = 256,
                             .max_sequences = 8,
                             .max_positions = 128,
                             .blocks = 96,
                             .block_size = 16};
  std::int32_t backend_threads = 1; // per rank
  bool is_on_gpu = wants_gpu();
  std::int32_t gpus = 1;    // ranks go round them
  bool use_graphs = true;   // on a GPU
  bool meets_peers = false; // on GPUs, ranks meet in their memory; a GPU each, then
  bool observes = true;     // keeps the logits; on a GPU the host then chooses the tokens
  /// Sees what rank 0 passes on to the next stage, on its thread: [tokens, hidden] of each step. May be empty.
  std::function<void(std::span<const float>)> on_passed;
  exec::layer_tap* tap = nullptr; // of rank 0; borrowed; may be null
  bool is_standby = false;        // of weights that are in the vault already
  bool rehearses = false;         // before the first epoch
  /// Behind that. May be empty.
  std::function<void()> on_rehearsed;
};

/// One sequence as a scheduler would keep it.
struct driven_sequence {
  std::uint64_t id = 0;
  std::uint32_t slot = 0;
  std::vector<token_id> tokens;
  std::int32_t computed = 0; // tokens whose KV exists
  std::vector<std::int32_t> blocks;
  std::int32_t blocks_sent = 0; // of this epoch
  bool is_announced = false;    // in this epoch
  protocol::sampling_record record;
  std::vector<token_id> sampled;          // in order
  std::vector<std::vector<float>> logits; // of every sampled position, in order
};

/// A part of a step: the next `count` tokens of a sequence.
struct chunk {
  driven_sequence* sequence;
  std::int32_t count;
};

class model_driver {
public:
  explicit model_driver(const driver_config& config);
  /// A second incarnation: the same vault, so weights and KV are taken over.
  model_driver(const driver_config& config,
               std::shared_ptr<vault::vault> memory,
               std::uint32_t last_epoch = 0);
  ~model_driver();

  /// Starts the next epoch on all ranks; sequences must be announced again.
  void start_epoch();

  /// Gives the sequence a slot; `prompt` is not empty.
  [[nodiscard]] driven_sequence add(std::vector<token_id> prompt);

  /// The plan of one step; samples where a chunk reaches the end of the known tokens. Marks the
  /// sequences as computed.
  [[nodiscard]] protocol::step_plan make_plan(std::span<const chunk> chunks);

  /// Runs a plan on all ranks. The sampling rank's result, or the first error of any rank.
  [[nodiscard]] result<protocol::step_result> execute(const protocol::step_plan& plan);

  /// make_plan + execute; appends what was sampled to the sequences' `sampled` and `logits`, not to
  /// `tokens`.
  void step(std::span<const chunk> chunks);

  /// Prefills each sequence in chunks of at most `chunk_tokens` (0: whole), all in one batch, then
  /// decodes greedily until each has `steps` sampled tokens. With `forced`, those tokens are fed
  /// instead of the sampled ones.
  void generate(std::span<driven_sequence* const> sequences,
                std::int32_t steps,
                std::int32_t chunk_tokens = 0,
                const std::vector<std::vector<token_id>>& forced = {});

  [[nodiscard]] const weights::model_config& model() const { return model_; }

  [[nodiscard]] std::shared_ptr<vault::vault> memory() const { return vault_; }

  [[nodiscard]] const std::vector<protocol::step_result>& results() const {
    return results_;
  } // of the last step

  /// Progress reports of all ranks while loading; one per rank when the weights were taken over.
  [[nodiscard]] std::uint64_t load_reports() const { return load_reports_; }

  [[nodiscard]] std::size_t ranks() const { return ranks_.size(); }

  [[nodiscard]] std::uint32_t current_epoch() const { return epoch_; }

private:
  struct rank;

  void make_ranks(const driver_config& config);
  void rehearse(const driver_config& config);
  void add_rank(const driver_config& config, const topology::shard& place);
  void on_all_ranks(const std::function<void(rank&)>& work);
  std::span<std::byte> exchange_region(std::uint32_t index, std::size_t bytes);
  std::unique_ptr<tensor::communicator> join_group(const topology::shard& place);
  std::unique_ptr<tensor::pipe> join_pipe(const topology::shard& place, tensor::pipe_end end);
  void let_listen(const driver_config& config, rank& made) const;
  exec::model_runner_config runner_config(const driver_config& config,
                                          const topology::shard& place);
  void record(const protocol::step_plan& plan,
              const protocol::step_result& out,
              std::span<const chunk> chunks);

  weights::model_config model_;
  exec::runner_limits limits_;
  std::shared_ptr<vault::vault> vault_;      // shared with the next incarnation of a test
  std::vector<std::unique_ptr<rank>> ranks_; // stages in order, tensor ranks fastest
  std::int32_t tensor_ = 1;
  bool observes_ = true;
  bool is_on_gpu_ = false;
  std::int32_t gpus_ = 1;
  std::vector<protocol::step_result> results_;
  std::map<std::uint64_t, std::vector<float>> observed_; // logits of the step, by request
  std::uint32_t epoch_ = 0;
  std::uint64_t step_ = 0;
  std::uint64_t next_id_ = 1;
  std::int32_t next_block_ = 0;
  std::uint64_t load_reports_ = 0;
};

/// Norm of the difference over the norm of `expected`, over all rows.
[[nodiscard]] double relative_error(const std::vector<std::vector<float>>& got,
                                    const std::vector<std::vector<float>>& expected);

} // namespace vdist::testing
