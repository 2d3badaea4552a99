// Opening a shared ledger: what a dead writer left becomes the state of its successor.
#include "runtime/ledger/ledger_rules.hpp"
#include "runtime/ledger/shared_ledger.hpp"
#include "runtime/protocol/request_codec.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::ledger {

using protocol::finish_reason;

/// Fills a new ledger from its region. Writes to the region only what no published version refers
/// to, so that it may die, or fail, anywhere and be repeated.
class shared_recovery {
public:
  [[nodiscard]] static result<std::unique_ptr<shared_ledger>> run(std::span<std::byte> bytes,
                                                                  const clock* time) {
    VDIST_ASSIGN(const auto region, shared_region::open(bytes));
    std::unique_ptr<shared_ledger> made(new shared_ledger(region, time));
    shared_recovery recovery(*made);
    recovery.drop_unpublished();
    const auto used = region.header().entries_used.get();
    made->slots_.resize(used);
    for (auto slot = used; slot > 0; --slot) { // the first ones are used first
      VDIST_TRY(recovery.take_over(slot - 1));
    }
    recovery.order_ends();
    VDIST_TRY(recovery.check_sums());
    made->blocks_.free_unclaimed();
    return made;
  }

private:
  explicit shared_recovery(shared_ledger& into) : to_(into) {}

  /// The next operation has the number of the one that was not finished: nothing that was written
  /// under it may be left, or the next store of the version would publish that too.
  void drop_unpublished() {
    auto& header = to_.region_.header();
    to_.version_ = header.published.get();
    const auto totals_now = copy_totals(header, to_.version_);
    to_.tokens_committed_ = totals_now.tokens_committed;
    to_.highest_id_ = totals_now.highest_id;
    for (auto& totals : header.totals) {
      if (totals.version.get() > to_.version_) {
        totals.version.set(0);
      }
    }
    const auto used = header.entries_used.get();
    for (std::uint32_t slot = 0; slot < used; ++slot) {
      for (auto& state : to_.region_.entry(slot).states) {
        if (state.version.get() > to_.version_) {
          state.version.set(0);
        }
      }
    }
  }

  [[nodiscard]] result<void> take_over(std::uint32_t slot) {
    const auto copy = copy_entry(to_.region_.entry(slot), to_.version_);
    auto& state = to_.slots_[slot];
    state.current = static_cast<std::uint8_t>(copy.current);
    if (!copy.is_used) {
      to_.free_slots_.push_back(slot);
      return {};
    }
    VDIST_TRY(check_entry(copy, to_.region_));
    if (to_.index_.find(copy.id) != shared_ledger::no_slot) {
      return damaged("the same request is there twice", copy.id);
    }
    if (copy.client_key != 0 && !to_.keys_.emplace(copy.client_key, slot).second) {
      return damaged("two requests have one client key", copy.id);
    }
    if (copy.id > to_.highest_id_) {
      return damaged("its id is beyond the highest one", copy.id);
    }
    to_.index_.insert(copy.id, slot);
    state.id = copy.id;
    state.client_key = copy.client_key;
    state.body_hash = copy.body_hash;
    state.extra_words = copy.extra_words;
    state.strikes = copy.strikes;
    state.comes_with_token = copy.comes_with_token;
    state.room = copy.room;
    state.end_order = copy.end_order;
    state.finished = time_point(duration(copy.finished));
    state.committed = copy.committed;
    state.max_tokens = copy.max_tokens;
    state.reason = copy.reason;
    state.is_used = true;
    VDIST_ASSIGN(state.tokens,
                 to_.blocks_.claim(copy.tokens_head, static_cast<std::uint64_t>(copy.committed)));
    VDIST_ASSIGN(state.extras, to_.blocks_.claim(copy.extras_head, copy.extras()));
    VDIST_ASSIGN(state.message, to_.blocks_.claim(copy.message_head, words_of(copy.message_bytes)));
    if (copy.reason != finish_reason::none) {
      ends_.push_back(slot);
      to_.tokens_finished_ += copy.words();
      return {};
    }
    ++to_.unfinished_;
    to_.tokens_unfinished_ += copy.room;
    return take_over_request(copy, state);
  }

  /// The encoded request is read once here, so that unfinished() cannot fail later.
  [[nodiscard]] result<void> take_over_request(const entry_copy& copy,
                                               shared_ledger::slot_state& state) {
    std::vector<std::int32_t> words(words_of(copy.request_bytes));
    VDIST_ASSIGN(state.request, to_.blocks_.claim(copy.request_head, words.size()));
    if (!read_chain(to_.region_, copy.request_head, 0, words)) {
      return damaged("its chain leaves the region", copy.id);
    }
    VDIST_ASSIGN(
        const auto request,
        protocol::decode_request(std::as_bytes(std::span(words)).first(copy.request_bytes)));
    if (request.id != copy.id || request.arrival != copy.arrival || !request.generated.empty()
        || request.max_tokens != copy.max_tokens || request.client_key != copy.client_key
        || kept_body_hash(request) != copy.body_hash || extra_words_of(request) != copy.extra_words
        || room_of(request) != copy.room) {
      return damaged("entry and request disagree", copy.id);
    }
    return {};
  }

  void order_ends() {
    std::sort(ends_.begin(), ends_.end(), [this](std::uint32_t a, std::uint32_t b) {
      return to_.slots_[a].end_order < to_.slots_[b].end_order;
    });
    for (const auto slot : ends_) {
      to_.append_finished(slot);
      to_.end_order_ = to_.slots_[slot].end_order;
    }
  }

  /// L-1: from here on the counts are what promises room.
  [[nodiscard]] result<void> check_sums() const {
    const auto& limits = to_.region_.limits();
    if (to_.unfinished_ > limits.requests_max || to_.finished_ > limits.finished_max
        || to_.tokens_unfinished_ + to_.tokens_finished_ > limits.tokens_max) {
      return fail(errc::corrupt,
                  fmt::format("open ledger: it holds more than its limits (unfinished={} "
                              "finished={} tokens={})",
                              to_.unfinished_,
                              to_.finished_,
                              to_.tokens_unfinished_ + to_.tokens_finished_));
    }
    return {};
  }

  [[nodiscard]] static error damaged(std::string_view cause, request_id id) {
    return fail(errc::corrupt, fmt::format("open ledger: {} (request={})", cause, id.value));
  }

  shared_ledger& to_;
  std::vector<std::uint32_t> ends_;
};

shared_ledger::shared_ledger(const shared_region& region, const clock* time)
    : region_(region), time_(time), blocks_(region), index_(region.layout().entries) {
  // Reserved, not touched: nothing grows in a commit of one token and one end per request.
  const auto entries = static_cast<std::size_t>(region.layout().entries);
  slots_.reserve(entries);
  free_slots_.reserve(entries);
  touched_.reserve(2 * std::size_t{region.limits().requests_max} + entries);
}

result<std::unique_ptr<shared_ledger>> open_ledger(std::span<std::byte> region, const clock* time) {
  return shared_recovery::run(region, time);
}

} // namespace vdist::ledger
