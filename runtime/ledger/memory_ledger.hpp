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
  /// `time` dates the entries of list(); it outlives the ledger. Without one they have no dates.
  explicit memory_ledger(const ledger_limits& limits = {}, const clock* time = nullptr)
      : limits_(limits), time_(time) {}

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
  [[nodiscard]] std::vector<ledger_entry> list(std::size_t max) const override;

private:
  struct entry {
    protocol::request request; // generated: the committed tokens; the rest is dropped at the end
    protocol::finish_reason reason = protocol::finish_reason::none;
    std::int32_t prompt_tokens = 0;
    time_point accepted;
    time_point finished;

    [[nodiscard]] request_state state() const {
      return {static_cast<std::int32_t>(request.generated.size()), reason};
    }
  };

  [[nodiscard]] time_point now() const { return time_ != nullptr ? time_->now() : time_point{}; }

  [[nodiscard]] result<void> append(const committed_token& token);
  [[nodiscard]] result<void> check_ends(std::span<const finished_request> finished) const;
  void end(const finished_request& end);
  void forget_oldest();

  const ledger_limits limits_;
  const clock* const time_;
  mutable std::mutex mutex_;
  // All of the following are guarded by mutex_.
  std::unordered_map<request_id, entry> entries_;
  std::deque<request_id> finished_; // oldest end first
  std::uint32_t unfinished_ = 0;
  std::uint64_t tokens_unfinished_ = 0; // room_of the unfinished requests
  std::uint64_t tokens_finished_ = 0;   // committed tokens of the finished ones
  std::uint64_t tokens_committed_ = 0;
};

} // namespace vdist::ledger
