// runtime/ledger/memory_ledger.hpp — the ledger in plain memory of this process: isolation "thread"
// and tests. Lives as long as its owner; actors that die and come back find it there.
// One mutex guards everything; no call blocks on anything else.
// Cost: accept O(prompt), commit O(tokens of the batch), unfinished O(all tokens kept).
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <deque>
#include <mutex>
#include <unordered_map>

namespace vdist::ledger {

class memory_ledger final : public ledger {
public:
  explicit memory_ledger(const ledger_limits& limits = {}) : limits_(limits) {}

  using ledger::commit;

  [[nodiscard]] result<void> accept(const protocol::request& request) override;
  [[nodiscard]] result<void> commit(std::span<const committed_token> tokens,
                                    std::span<const finished_request> finished) override;
  [[nodiscard]] result<void> finish(request_id id, protocol::finish_reason reason) override;
  [[nodiscard]] std::vector<protocol::request> unfinished() const override;
  [[nodiscard]] result<std::vector<token_id>> tokens(request_id id,
                                                     std::int32_t from = 0) const override;
  [[nodiscard]] result<request_state> state(request_id id) const override;
  [[nodiscard]] ledger_stats stats() const override;

private:
  struct entry {
    protocol::request request; // generated: the committed tokens; the rest is dropped at the end
    protocol::finish_reason reason = protocol::finish_reason::none;
    std::uint64_t tokens_reserved = 0;
  };

  [[nodiscard]] result<void> append(const committed_token& token);
  [[nodiscard]] result<void> check_end(const finished_request& end) const;
  void end(const finished_request& end);
  bool forget_oldest();

  const ledger_limits limits_;
  mutable std::mutex mutex_;
  // All of the following are guarded by mutex_.
  std::unordered_map<request_id, entry> entries_;
  std::deque<request_id> finished_; // oldest end first
  std::uint32_t unfinished_ = 0;
  std::uint64_t tokens_reserved_ = 0;
  std::uint64_t tokens_committed_ = 0;
};

} // namespace vdist::ledger
