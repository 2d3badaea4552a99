// model/exec/sim_runner.hpp — the sim device: a step_runner that does the bookkeeping of a model and none of its maths.
// The next token is a hash of the prompt, the earlier tokens, the KV entries that all ranks of all stages wrote for them,
// the seed and the position. Every rank holds an additive share of every entry and every stage adds its layers' part, so a
// missing, stale, doubled or mixed-up message, block or token changes every later token of the sequence, while the tokens
// themselves are the same for every tensor, pipeline and data size. Hundreds of workers fit one small machine.
//
// Numbers are vectors of four, modulo 2^16: sums over up to 256 ranks are whole numbers below 2^24, exact in float32.
//   x(t)      = lanes(mix(token id, position))                    made by the first stage, passed on unchanged
//   entry(t)  = sum over the stage's layers l of lanes(mix(x(t), l)), split into one share per tensor rank
//   kv[p]     = this rank's share of entry(t)                     written to the block table's place of p
//   seen(t)   = sum over j <= p of kv[j] * odd(j)                 read back through the block table; linear, so the
//                                                                 ranks' sums add up to that of the whole entries
//   total(t) += sum over ranks of seen(t)                         passed from stage to stage
//   token     = mix(total, seed, generated position) mod vocabulary
// Cost: O(position) per token, a few ns each. A step lasts that long, or the configured time where that is longer: the rest is
// slept.
#pragma once

#include "model/exec/rank_model.hpp"
#include "model/exec/slot_table.hpp"
#include "model/exec/step_runner.hpp"
#include "model/exec/token_feed.hpp"

#include "transport/vault/vault.hpp"

#include "runtime/topology/parallel.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace vdist::exec {

struct sim_runner_config {
  topology::shard place; // layers count: each adds its part
  rank_id rank;          // global
  std::int32_t vocabulary = 32000;
  runner_limits limits;
  std::chrono::duration<double, std::micro> step_time{0};
  std::chrono::duration<double, std::micro> token_time{0};
};

class sim_runner final : public step_runner {
public:
  sim_runner(const sim_runner_config& config, peers links, vault::vault& memory);

  [[nodiscard]] result<void> load(const load_progress& progress) override;
  [[nodiscard]] result<void> start_epoch(epoch now) override;
  [[nodiscard]] result<void> launch(const protocol::step_plan& plan) override;
  [[nodiscard]] result<void> finish(protocol::step_result& out) override;
  [[nodiscard]] result<void> disturb(disturbance what) override; // flip_bit

private:
  void embed();
  void attend(std::size_t sequence);
  void add_shares();
  void sample(const protocol::step_plan& plan, protocol::step_result& out);
  [[nodiscard]] std::uint64_t entry_share(const float* x) const;
  [[nodiscard]] std::uint64_t& kv_entry(std::size_t sequence, std::int32_t position);
  [[nodiscard]] float* x_of(std::int32_t token);
  [[nodiscard]] float* total_of(std::int32_t token);

  sim_runner_config config_;
  peers links_;
  vault::vault& vault_;
  slot_table slots_;
  token_feed feed_;
  std::uint64_t* kv_ = nullptr;  // [blocks, block_size], four lanes of 16 bits each, in the vault
  std::vector<float> hidden_;    // [tokens, 8]: x, then total; what travels between stages
  protocol::step_result result_; // of the launched step
  std::vector<float> shares_;    // [tokens, 4]: this rank's seen(t), then the sum over ranks
  bool flips_bit_ = false;       // in the next step
};

} // namespace vdist::exec
