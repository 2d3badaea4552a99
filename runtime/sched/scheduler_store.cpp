// The host store (S-12): which blocks are copied there with a step, and which ones a request finds there.
#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <utility>

namespace vdist::sched {

void scheduler::use_store(kv::host_store& store, std::int32_t saves_max) {
  VDIST_CHECK(!last_step_ && running_.empty() && saves_max >= 1,
              "S-12: a store comes before the first plan");
  store_ = &store;
  saves_max_ = saves_max;
}

/// Of steps in flight, and of those behind.
std::int32_t scheduler::saves_under_way() const {
  auto sum = unsaved_.size();
  for (std::size_t age = 0; age < window_.size(); ++age) {
    sum += window_.at(age).saves.size();
  }
  return static_cast<std::int32_t>(sum);
}

void scheduler::plan_saves(protocol::step_plan& out) {
  if (store_ == nullptr || out.sequences() == 0) {
    return;
  }
  auto room = saves_max_ - saves_under_way();
  for (auto* member : running_) {
    while (room > 0 && member->blocks_stored < member->computed / config_.block_size) {
      const auto before = out.saves.size();
      if (!save_next(*member, out)) {
        return; // whoever runs pins the whole store
      }
      room -= static_cast<std::int32_t>(out.saves.size() - before);
    }
  }
}

/// One block further; what others have saved, or are saving, need not be saved again. False: there is no slot.
bool scheduler::save_next(sequence& member, protocol::step_plan& out) {
  const auto size = static_cast<std::size_t>(config_.block_size);
  const auto index = static_cast<std::size_t>(member.blocks_stored);
  const auto tokens = std::span<const token_id>(member.tokens).subspan(index * size, size);
  auto entry = store_->find(member.stored, tokens);
  if (entry) {
    if (store_->is_complete(*entry)) {
      store_->touch(*entry);
    }
  } else {
    entry = store_->begin(member.stored, tokens);
    if (!entry) {
      return false;
    }
    const auto block = member.blocks[index];
    out.saves.push_back({block.value, entry->slot});
    pool_.retain({&block, 1});
    window_.youngest().saves.push_back({*entry, block});
  }
  move_stored(member, *entry, member.blocks_stored + 1);
  return true;
}

void scheduler::move_stored(sequence& member, const kv::stored_prefix& to, std::int32_t blocks) {
  store_->pin(to);
  store_->unpin(std::exchange(member.stored, to));
  member.blocks_stored = blocks;
}

/// Of one that is let in, its first `hits` blocks found in the pool: what the store has of it.
void scheduler::find_stored(sequence& head, std::int32_t hits) {
  const auto promised = std::exchange(head.promised, 0);
  if (store_ == nullptr) {
    return;
  }
  const auto size = config_.block_size;
  store_->match(head.tokens, (head.known() - 1) / size, stored_hits_);
  const auto stored = static_cast<std::int32_t>(stored_hits_.size());
  const auto lost = promised - std::max(stored, hits) * size; // evicted since it was promised
  counters_.tokens_computed_again += static_cast<std::uint64_t>(std::max(lost, 0));
  if (stored == 0) {
    return;
  }
  std::for_each(stored_hits_.rbegin(), stored_hits_.rend(), [this](const auto& entry) {
    store_->touch(entry);
  });
  move_stored(head, stored_hits_.back(), stored);
  head.load_slots.clear();
  for (auto i = hits; i < stored; ++i) {
    head.load_slots.push_back(stored_hits_[static_cast<std::size_t>(i)].slot);
  }
  head.loading = std::max(stored - hits, 0) * size;
}

/// P-11: with its first step, in every epoch until one is committed.
void scheduler::emit_loads(const sequence& member, protocol::step_plan& out) const {
  const auto first = static_cast<std::size_t>(member.computed / config_.block_size);
  const auto blocks = static_cast<std::size_t>(member.loading / config_.block_size);
  for (std::size_t i = 0; i < blocks; ++i) {
    out.loads.push_back({member.blocks[first + i].value, member.load_slots[i]});
  }
}

/// Its blocks may be written again; whether they have reached the store is told later (P-10).
void scheduler::commit_saves(const step_record& done) {
  for (const auto& save : done.saves) {
    pool_.release({&save.block, 1});
    unsaved_.push_back({done.step, save.entry});
  }
}

void scheduler::note_saved(step_id step) {
  for (; !unsaved_.empty() && unsaved_.front().step <= step; unsaved_.pop_front()) {
    store_->complete(unsaved_.front().entry);
    ++counters_.blocks_saved;
  }
}

/// Behind a fence nobody knows what has reached the store.
void scheduler::forget_saves() {
  if (store_ == nullptr) {
    return;
  }
  unsaved_.clear();
  for (auto* survivor : running_) {
    if (!store_->is_complete(survivor->stored)) {
      move_stored(*survivor, {}, 0); // it finds what is complete with the next plans
    }
  }
  store_->abandon_begun();
}

void scheduler::leave_store(sequence& leaver) {
  if (store_ == nullptr) {
    return;
  }
  const auto unsaved = leaver.computed / config_.block_size - leaver.blocks_stored;
  counters_.blocks_unsaved += static_cast<std::uint64_t>(std::max(unsaved, 0));
  move_stored(leaver, {}, 0);
}

/// Of `tokens` whose KV was committed and is lost: those that the store does not have.
std::int32_t scheduler::count_lost(sequence& loser, std::int32_t tokens) {
  if (store_ == nullptr) {
    return tokens;
  }
  const auto size = config_.block_size;
  store_->match(loser.tokens, std::min(tokens, loser.known() - 1) / size, stored_hits_);
  loser.promised = static_cast<std::int32_t>(stored_hits_.size()) * size;
  return tokens - loser.promised;
}

} // namespace vdist::sched
