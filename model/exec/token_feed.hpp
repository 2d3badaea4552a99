// model/exec/token_feed.hpp — carries sampled tokens into the next step, which was planned before
// they were known (runtime/protocol/step.hpp P-8, P-9). The sampling rank, tensor rank 0 of the
// last stage, knows them; its group is told by one broadcast per step, four bytes per token. Who is
// told what follows from the plan alone, so all ranks of the group make the same call or none (R-3
// of rank_model.hpp). Nothing is allocated after construction. Not thread-safe: one worker owns it.
#pragma once

#include "model/exec/slot_table.hpp"

#include "transport/tensor/communicator.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"

#include "kernels/backend.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vdist::exec {

constexpr std::int32_t sampling_rank = 0; // of the last stage's tensor group

class token_feed {
public:
  /// `group` is null for a rank that is alone in its tensor group; borrowed.
  token_feed(tensor::communicator* group, std::int32_t max_sequences);

  /// Gives `into` the tokens that the step just applied to it sampled under flag_feeds. `sampled`:
  /// all its tokens in plan order on the sampling rank, nothing on the others. Errors: those of the
  /// broadcast.
  [[nodiscard]] result<void>
  share(const protocol::step_plan& plan, std::span<const token_id> sampled, slot_table& into);

  /// A function of what the last share() gave, the same on every rank that got the same.
  [[nodiscard]] std::uint64_t digest() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      sum += kernels::digest_mix(static_cast<std::uint32_t>(tokens_[i]), i);
    }
    return sum;
  }

private:
  tensor::communicator* group_;
  std::vector<token_id> tokens_; // that are fed, in plan order
};

} // namespace vdist::exec
