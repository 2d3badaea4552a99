// model/exec/sim_runner.hpp — the sim device: a step_runner that does the bookkeeping of a model and none of its maths.
// The next token is a hash of the prompt, the earlier tokens, the KV entries that all ranks of all stages wrote for them,
// the seed and the position. Every tensor rank contributes an additive share, every stage hashes what the stage before
// sent. So a missing, stale, doubled or mixed-up message, block or token changes every later token of the sequence, and
// hundreds of workers fit one small machine.
//
//   per token t at position p, on tensor rank r of stage s:
//     kv[p]  = mix(hidden(t), p, s, r)                      written to the block table's slot of p
//     seen   = sum over j <= p of mix(kv[j], j)             read back through the block table
//     hidden = mix(sum over ranks r of share(seen, r))      four numbers below 2^20: exact in float32
//   token = mix(hidden, seed, generated position) mod vocabulary
// Cost: O(position) per token, a few ns each; plus the configured step time, slept.
#pragma once

#include "model/exec/rank_model.hpp"
#include "model/exec/slot_table.hpp"
#include "model/exec/step_runner.hpp"

#include "transport/vault/vault.hpp"

#include "runtime/topology/parallel.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace vdist::exec {

struct sim_runner_config {
  topology::shard place;
  rank_id rank; // global
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
  [[nodiscard]] result<void> execute(const protocol::step_plan& plan, protocol::step_result& out) override;

private:
  void embed();
  void attend(std::size_t sequence);
  void advance_hidden();
  void sample(const protocol::step_plan& plan, protocol::step_result& out);
  [[nodiscard]] std::uint64_t& kv_entry(std::size_t sequence, std::int32_t position);

  sim_runner_config config_;
  peers links_;
  vault::vault& vault_;
  slot_table slots_;
  std::uint64_t* kv_ = nullptr; // [blocks, block_size], in the vault
  std::vector<float> hidden_;   // [tokens, hidden_numbers], whole numbers below 2^20
};

} // namespace vdist::exec
