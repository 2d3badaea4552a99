// runtime/ledger/shared_ledger.hpp — the ledger in memory that outlives its writer: isolation
// "process". The supervisor process makes and holds the region; the control process maps it and
// writes; when that dies, at whatever instruction, a successor opens the region and goes on with
// exactly what was committed. Others look in meanwhile through ledger_reader.hpp.
//
// Why two states and a version. Every operation has the number that follows the published version.
// What changes of an entry is there twice: the state that holds is left alone, the other one is
// written under the new number; new tokens, encoded requests and fixed fields go where no published
// version looks. Then one store of the version publishes all of it, however many requests a step
// has. Dying before leaves garbage that no version refers to, dying after leaves the whole
// operation; there is nothing to undo or to redo, so recovery itself may be killed as often as it
// likes. Process death does not tear memory: stores become visible in program order (release), so
// checksums and flushes, which a log on a disk would need, have nothing to defend here.
//
// L-3 What can be seen is always the state of one published version.
// L-4 Memory that a published version refers to is written again only after a version that does not
//     refer to it was published. A reader that finds the version (list) or the entry (tokens)
//     unchanged after copying has read nothing else. For the same reason an accept that needs the
//     room of finished requests first publishes that they are gone: a death between loses only
//     these, which are kept as long as there is room.
// L-5 Nothing in the region is believed before open_ledger() has checked it; readers check always.
// L-6 One process writes at a time: the supervisor has seen the predecessor's end before it starts
//     a successor.
//
// Threads: as every ledger; its own are serialised by a mutex. Its reads look at the region under
// that mutex.
// Cost: accept O(prompt); commit O(tokens of the batch and their kept alternatives + requests it
// touches), no allocation (a batch with several tokens per request may once grow a list of this
// process, a text that of an encoded request); open O(tokens kept + blocks ever used).
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/ledger/request_index.hpp"
#include "runtime/ledger/shared_blocks.hpp"

#include <memory>
#include <mutex>
#include <unordered_map>

namespace vdist::ledger {

class shared_ledger final : public ledger {
public:
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

  [[nodiscard]] const ledger_limits& limits() const override { return region_.limits(); }

  [[nodiscard]] std::vector<ledger_entry> list(std::size_t max) const override;

  /// Failpoints ledger.accept and ledger.commit: written, not published. Borrowed; null: none. Before the first write.
  void set_failpoints(failpoints* points) { points_ = points; }

private:
  friend class shared_recovery;

  static constexpr std::uint32_t no_slot = request_index::none;

  /// What this process remembers of one entry; the region has the same, or it follows from it.
  /// The first cache line is what a commit of a token touches.
  struct alignas(64) slot_state {
    std::uint64_t version = 0; // of the state that holds
    std::uint64_t end_order = 0;
    time_point finished;
    block_chain tokens;
    std::int32_t committed = 0;
    std::int32_t max_tokens = 0;
    std::uint32_t extra_words = 0;
    protocol::finish_reason reason = protocol::finish_reason::none;
    bool is_used = false;
    std::uint8_t current = 0; // which of the states in the region holds
    std::uint8_t strikes = 0;
    bool comes_with_token = false; // the end

    alignas(64) request_id id;
    std::uint64_t room = 0;
    std::uint64_t client_key = 0;
    std::uint64_t body_hash = 0;
    block_chain request; // empty once finished
    block_chain extras;
    block_chain message;                   // empty until finished
    std::uint32_t next_finished = no_slot; // the request that finished after this one

    [[nodiscard]] request_state state() const { return {committed, reason, strikes, body_hash}; }

    /// What the committed tokens count.
    [[nodiscard]] std::uint64_t words() const {
      return static_cast<std::uint64_t>(committed) * (1 + std::uint64_t{extra_words});
    }
  };

  shared_ledger(const shared_region& region, const clock* time);

  [[nodiscard]] time_point now() const { return time_ != nullptr ? time_->now() : time_point{}; }

  [[nodiscard]] result<void> stage(std::span<const committed_token> tokens,
                                   std::span<const finished_request> finished);
  void unstage(std::size_t tokens);
  void reach(std::string_view point, const failpoint_context& at) const;
  void append(std::uint32_t slot, const committed_token& token);
  void append_extras(std::uint32_t slot, const committed_token& token);
  void end(std::uint32_t slot, const finished_request& how);
  void forget_oldest();
  void make_room(std::uint64_t room);
  [[nodiscard]] std::uint32_t take_slot();
  void write_request(std::uint32_t slot, const protocol::request& request, std::uint64_t body_hash);
  void write_state(std::uint32_t slot);
  void publish();
  void release_unused();
  void append_finished(std::uint32_t slot);
  [[nodiscard]] std::vector<token_id> read_tokens(const slot_state& slot, std::int32_t from) const;
  [[nodiscard]] protocol::request read_request(std::uint32_t slot) const;

  shared_region region_;
  const clock* const time_;
  mutable std::mutex mutex_;
  // All of the following, and the region, are guarded by mutex_.
  std::uint64_t version_ = 0; // published
  shared_blocks blocks_;
  request_index index_;
  std::unordered_map<std::uint64_t, std::uint32_t> keys_; // client key → slot, those that have one
  std::vector<slot_state> slots_;                         // of the entries that were ever used
  std::vector<std::uint32_t> free_slots_;                 // of these
  std::vector<std::uint32_t> touched_;     // by the operation under way, in its order
  std::vector<std::byte> bytes_;           // an encoded request
  std::uint32_t first_finished_ = no_slot; // oldest end
  std::uint32_t last_finished_ = no_slot;
  std::uint32_t finished_ = 0;
  std::uint32_t unfinished_ = 0;
  std::uint64_t end_order_ = 0;         // of the latest end
  std::uint64_t tokens_unfinished_ = 0; // room of the unfinished requests
  std::uint64_t tokens_finished_ = 0;   // words of the finished ones
  std::uint64_t tokens_committed_ = 0;
  request_id highest_id_;
  failpoints* points_ = nullptr;
};

/// Takes over what the region holds: a formatted one, or what a dead writer left (L-6). `region`
/// stays mapped as long as the ledger, `time` outlives it and dates the entries of list(); without
/// one they have no dates, and across processes it must be the machine's clock. Errors, after which
/// the region is no use but to format_ledger(): corrupt, unsupported, invalid_argument.
[[nodiscard]] result<std::unique_ptr<shared_ledger>> open_ledger(std::span<std::byte> region,
                                                                 const clock* time = nullptr);

} // namespace vdist::ledger
