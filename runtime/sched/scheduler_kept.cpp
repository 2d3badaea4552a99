// KV that outlives the scheduler: what it writes into the table, and what it takes over from a predecessor (S-9).
#include "runtime/sched/scheduler.hpp"

#include <algorithm>

namespace vdist::sched {

/// T-3: before `computed` is published.
void scheduler::record_blocks(sequence& written) {
  if (written.blocks_recorded == 0) {
    table_->claim(written.slot, written.id);
  }
  for (; std::int64_t{written.blocks_recorded} * config_.block_size < written.computed;
       ++written.blocks_recorded) {
    table_->set_block(written.slot,
                      written.blocks_recorded,
                      written.blocks[static_cast<std::size_t>(written.blocks_recorded)]);
  }
}

void scheduler::clear_records() {
  for (const auto slot : stale_records_) {
    table_->clear(slot);
  }
  stale_records_.clear();
}

void scheduler::keep(std::vector<kept_kv> records) {
  VDIST_CHECK(table_ != nullptr && sequences_.empty() && kept_.empty() && !last_step_,
              "S-9: a new scheduler keeps KV, and before anything else");
  std::vector<std::uint8_t> is_held(static_cast<std::size_t>(config_.max_sequences), 0);
  std::vector<block_id> blocks;
  for (auto& record : records) {
    if (kept_.size() == static_cast<std::size_t>(running_max_)) {
      break;
    }
    is_held[record.slot] = 1;
    blocks.insert(blocks.end(), record.blocks.begin(), record.blocks.end());
    kept_.emplace(record.id, std::move(record));
  }
  pool_.adopt(blocks);
  std::erase_if(free_slots_, [&is_held](std::uint32_t slot) { return is_held[slot] != 0; });
  const auto without = table_->without();
  excused_.insert(without.begin(), without.end());
  for (const auto slot : free_slots_) {
    table_->clear(slot);
  }
}

/// It was waiting; with its KV it runs on. False: there is none, or none that fits; it waits.
bool scheduler::restore(sequence& entrant) {
  const auto found = kept_.find(entrant.id);
  if (found == kept_.end()) {
    return false;
  }
  auto kept = std::move(found->second);
  kept_.erase(found);
  const auto computed = std::min(kept.computed, entrant.known() - 1); // T-4
  if (!fits(kept, entrant, computed) || !reserve_rest(kept, entrant, computed)) {
    note_loss(entrant.id, count_lost(entrant, std::max(computed, 0)));
    excused_.insert(entrant.id);
    release_kept(kept);
    return false;
  }
  run_with(std::move(kept), entrant, computed);
  return true;
}

/// T-5. Blocks that others have too must be full and hold the same tokens for all, as far as the prefix index knows.
bool scheduler::fits(const kept_kv& kept, const sequence& entrant, std::int32_t computed) {
  if (computed < 1 || kept.computed > entrant.known()) {
    return false;
  }
  const auto full = computed / config_.block_size;
  (void)pool_.match(entrant.tokens, full, hits_);
  for (std::size_t i = 0; i < kept.blocks.size(); ++i) {
    const auto block = kept.blocks[i];
    const bool is_written = static_cast<std::int32_t>(i) >= full;
    const bool is_hit = i < hits_.size() && hits_[i] == block;
    if ((pool_.is_published(block) && !is_hit) || (is_written && pool_.refs(block) != 1)) {
      return false;
    }
  }
  return true;
}

/// S-6: a prompt has the blocks of all its tokens from the start; one that decodes grows. KV of those that have not come gives
/// way, the newest first.
bool scheduler::reserve_rest(kept_kv& kept, const sequence& entrant, std::int32_t computed) {
  const auto known = entrant.known();
  const auto needed = known - computed == 1 ? 0 : (known - 1) / config_.block_size + 1;
  const auto missing = needed - static_cast<std::int32_t>(kept.blocks.size());
  if (missing <= 0) {
    return true;
  }
  while (!pool_.can_reserve(missing) && !kept_.empty()) {
    give_up_newest_kept();
  }
  if (!pool_.can_reserve(missing)) {
    return false;
  }
  pool_.reserve(missing, kept.blocks);
  return true;
}

void scheduler::run_with(kept_kv kept, sequence& entrant, std::int32_t computed) {
  waiting_.erase(entrant);
  const auto blocks_max =
      static_cast<std::size_t>((entrant.tokens_max - 1) / config_.block_size) + 1;
  entrant.blocks.reserve(std::max(blocks_max, kept.blocks.size()));
  entrant.blocks.assign(kept.blocks.begin(), kept.blocks.end());
  entrant.computed = computed;
  entrant.planned = computed;
  entrant.blocks_recorded = (computed - 1) / config_.block_size + 1;
  table_->publish(kept.slot, computed);
  enter_running(entrant, kept.slot);
  publish_blocks(entrant);
  counters_.tokens_restored += static_cast<std::uint64_t>(computed);
}

/// T-7: a successor does not count it again.
void scheduler::note_loss(request_id id, std::int32_t tokens) {
  counters_.tokens_computed_again += static_cast<std::uint64_t>(tokens);
  if (table_ != nullptr) {
    table_->note_without(id);
  }
}

/// The record is cleared before anybody can get the blocks (T-2).
void scheduler::release_kept(const kept_kv& kept) {
  pool_.release(kept.blocks);
  free_slots_.push_back(kept.slot);
  stale_records_.push_back(kept.slot);
}

void scheduler::give_up(kept_map::const_iterator kept) {
  note_loss(kept->first, kept->second.computed);
  excused_.insert(kept->first);
  release_kept(kept->second);
  kept_.erase(kept);
}

void scheduler::give_up_newest_kept() {
  give_up(std::max_element(
      kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.first < b.first; }));
}

void scheduler::give_up_kept() {
  while (!kept_.empty()) {
    give_up(kept_.begin());
  }
}

} // namespace vdist::sched
