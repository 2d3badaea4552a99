// runtime/ledger/memory_ledger.hpp — the ledger in plain memory of this process: isolation "thread"
// and tests. Lives as long as its owner; actors that die and come back find it there.
// One mutex guards everything; no call blocks on anything else.
// Cost: accept O(prompt), commit O(tokens of the batch), unfinished O(all tokens kept).
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <deque>
#include <mutex>
#include <string>
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
  [[nodiscard]] result<void>
  finish(request_id id, protocol::finish_reason reason, std::string_view message = {}) override;
  void strike(std::span<const request_id> ids) override;
  [[nodiscard]] std::vector<protocol::request> unfinished() const override;
  [[nodiscard]] result<std::vector<token_id>> tokens(request_id id,
                                                     std::int32_t from = 0) const override;
  [[nodiscard]] result<std::vector<protocol::token_event>>
  replay(request_id id, std::int32_t from = 0) const override;
  [[nodiscard]] std::optional<request_id> find(std::uint64_t client_key) const override;
  [[nodiscard]] request_id highest_id() const override;
  [[nodiscard]] result<request_state> state(request_id id) const override;
  [[nodiscard]] ledger_stats stats() const override;

  [[nodiscard]] const ledger_limits& limits() const override { return limits_; }

  [[nodiscard]] std::vector<ledger_entry> list(std::size_t max) const override;

private:
  /// What a request that asked for log probabilities keeps of each token.
  struct token_extras {
    float logprob = 0;
    std::vector<protocol::token_logprob> top;
  };

  struct entry {
    protocol::request request; // generated: the committed tokens; the rest is dropped at the end
    std::vector<token_extras> extras; // as many as generated, or none
    std::uint64_t extra_words = 0;    // extra_words_of the request
    std::uint64_t body_hash = 0;      // kept_body_hash of the request
    protocol::finish_reason reason = protocol::finish_reason::none;
    bool comes_with_token = false; // the end
    std::uint8_t strikes = 0;
    std::size_t struck_at = 0; // tokens that there were: with one more the strikes are void
    std::string message;       // of the end
    std::int32_t prompt_tokens = 0;
    time_point accepted;
    time_point finished;

    [[nodiscard]] request_state state() const {
      const auto committed = request.generated.size();
      return {static_cast<std::int32_t>(committed),
              reason,
              committed == struck_at ? strikes : std::uint8_t{0},
              body_hash};
    }

    /// What the committed tokens count.
    [[nodiscard]] std::uint64_t words() const {
      return request.generated.size() * (1 + extra_words);
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
  std::unordered_map<std::uint64_t, request_id> keys_; // by client key, those that have one
  std::deque<request_id> finished_;                    // oldest end first
  std::uint32_t unfinished_ = 0;
  std::uint64_t tokens_unfinished_ = 0; // room_of the unfinished requests
  std::uint64_t tokens_finished_ = 0;   // words of the finished ones
  std::uint64_t tokens_committed_ = 0;
  request_id highest_id_;
};

} // namespace vdist::ledger
