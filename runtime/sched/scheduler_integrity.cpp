// The scheduler's view of itself, compared from several sides; no part of the step path.
#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::sched {

namespace {

error broken(std::string_view rule, std::uint64_t request) {
  return fail(errc::internal, fmt::format("scheduler: {} (request={})", rule, request));
}

bool is_in_order(const std::vector<sequence*>& running) {
  return std::adjacent_find(running.begin(),
                            running.end(),
                            [](const sequence* a, const sequence* b) { return a->key >= b->key; })
         == running.end();
}

} // namespace

/// Slots and blocks belong to those that run, and to those that are over and still computed.
result<void> scheduler::check_holders() const {
  std::vector<std::int32_t> holders(static_cast<std::size_t>(config_.blocks), 0);
  std::vector<std::uint8_t> slots(static_cast<std::size_t>(config_.max_sequences), 0);
  for (const auto slot : free_slots_) {
    ++slots[slot];
  }
  for (const auto& [id, member] : sequences_) {
    if (member->state == sequence_state::waiting) {
      continue;
    }
    if (member->slot >= slots.size()) {
      return broken("a running sequence has no slot", id.value);
    }
    ++slots[member->slot];
    for (const auto block : member->blocks) {
      ++holders[static_cast<std::size_t>(block.value)];
    }
  }
  for (const auto& [id, kept] : kept_) {
    if (sequences_.contains(id)) {
      return broken("S-9: KV is kept for a request that is here", id.value);
    }
    ++slots[kept.slot];
    for (const auto block : kept.blocks) {
      ++holders[static_cast<std::size_t>(block.value)];
    }
  }
  for (std::size_t age = 0; age < window_.size(); ++age) {
    for (const auto& save : window_.at(age).saves) {
      ++holders[static_cast<std::size_t>(save.block.value)];
    }
  }
  for (std::int32_t b = 0; b < config_.blocks; ++b) {
    if (holders[static_cast<std::size_t>(b)] != pool_.refs(block_id(b))) {
      return fail(errc::internal,
                  fmt::format("scheduler: K-2: holders and references differ (block={})", b));
    }
  }
  if (std::any_of(slots.begin(), slots.end(), [](std::uint8_t uses) { return uses != 1; })) {
    return broken("a slot is lost or used twice", 0);
  }
  return {};
}

result<void> scheduler::check_running() const {
  for (const auto* member : running_) {
    const auto id = member->id.value;
    if (member->state != sequence_state::running) {
      return broken("a sequence runs and waits, or is over", id);
    }
    if (member->computed < 0 || member->known() <= member->computed || member->remaining() < 1) {
      return broken("computed tokens are out of range", id);
    }
    if (member->planned >= member->tokens_max) {
      return broken("S-8: a step computes behind the last token", id);
    }
    if (static_cast<std::int64_t>(member->blocks.size()) * config_.block_size < member->planned) {
      return broken("computed tokens have no blocks", id);
    }
    if (config_.prefix_cache && member->blocks_published != member->computed / config_.block_size) {
      return broken("full blocks are not published", id);
    }
  }
  if (!is_in_order(running_) || running_.size() > static_cast<std::size_t>(running_max_)) {
    return broken("running sequences are out of order or too many", 0);
  }
  return {};
}

/// Takes the steps in flight away from what each sequence says of itself: nothing may be left.
result<void> scheduler::check_steps_in_flight() const {
  struct ahead {
    std::int32_t steps = 0;
    std::int32_t tokens = 0;
    std::int32_t samples = 0;
  };

  std::unordered_map<const sequence*, ahead> found;
  for (std::size_t age = 0; age < window_.size(); ++age) {
    for (const auto& entry : window_.at(age).entries) {
      auto& sum = found[entry.owner];
      ++sum.steps;
      sum.tokens += entry.count;
      sum.samples += entry.samples ? 1 : 0;
    }
  }
  for (const auto& [id, member] : sequences_) {
    const auto sum = found[member.get()];
    if (member->steps_in_flight != sum.steps) {
      return broken("S-1: steps in flight are miscounted", id.value);
    }
    if (member->state == sequence_state::over) {
      if (!member->is_in_flight()) {
        return broken("S-1: a request is over and keeps its memory for nothing", id.value);
      }
    } else if (member->planned - member->computed - member->loading != sum.tokens
               || member->samples_ahead != sum.samples) {
      return broken("S-1: steps in flight do not follow each other", id.value);
    }
  }
  return {};
}

/// S-12: as many saves are on their way as the store has begun entries, and every cursor is there.
result<void> scheduler::check_store() const {
  if (store_ == nullptr) {
    return {};
  }
  VDIST_TRY(store_->check_integrity());
  if (saves_under_way() != store_->begun_count()) {
    return broken("S-12: saves are miscounted", 0);
  }
  for (const auto& [id, member] : sequences_) {
    const bool has_loads =
        std::ssize(member->load_slots) * config_.block_size == std::int64_t{member->loading};
    const auto held = (member->computed + member->loading) / config_.block_size;
    if (!store_->contains(member->stored) || (member->loading > 0 && !has_loads)
        || (member->loading > 0 && member->blocks_stored != held)) {
      return broken("S-12: what a request has in the store is not there", id.value);
    }
  }
  return {};
}

result<void> scheduler::check_integrity() const {
  VDIST_TRY(pool_.check_integrity());
  VDIST_TRY(check_holders());
  VDIST_TRY(check_running());
  VDIST_TRY(check_steps_in_flight());
  VDIST_TRY(check_store());
  const auto over = std::count_if(sequences_.begin(), sequences_.end(), [](const auto& entry) {
    return entry.second->state == sequence_state::over;
  });
  const auto suspects = std::count_if(sequences_.begin(), sequences_.end(), [](const auto& entry) {
    return entry.second->is_suspect;
  });
  if (suspects != suspects_) {
    return broken("S-10: suspects are miscounted", 0);
  }
  if (running_.size() + waiting_.size() + static_cast<std::size_t>(over) != sequences_.size()) {
    return broken("S-3: a sequence is lost", 0);
  }
  return {};
}

} // namespace vdist::sched
