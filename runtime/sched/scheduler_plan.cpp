#include "runtime/sched/scheduler.hpp"

#include <algorithm>

namespace vdist::sched {

namespace {

/// How many plans a head that did not fit goes without a new search of the prefix cache while
/// nothing suggests that it fits: the search costs O(prompt), and only others' blocks help it.
constexpr std::int32_t search_every = 16;

} // namespace

bool scheduler::plan(step_id step, epoch current, protocol::step_plan& out) {
  out.clear();
  if (!has_epoch_) {
    epoch_ = current;
    has_epoch_ = true;
  }
  VDIST_CHECK(current == epoch_, "P-1: plans are made in the epoch of start_epoch()");
  VDIST_CHECK(!last_step_ || step > *last_step_, "P-2: a step number must rise");
  if (has_late_writers_ && (!last_step_ || cannot_repeat_)) { // S-11, S-13
    return false;
  }
  auto* alone = find_suspect();
  const bool has_to_wait = alone != nullptr && (window_.size() > 0 || has_to_repeat());
  if (window_.is_full() || has_to_wait) {
    return false;
  }
  window_.open(step);
  ++plans_;
  budget_ = config_.max_batch_tokens;
  is_short_of_blocks_ = false;
  while (alone != nullptr && !plan_alone(*alone, out)) {
    alone = find_suspect();
  }
  if (has_to_repeat()) {
    plan_again(out);
  } else if (alone == nullptr) {
    plan_decodes(out);
    plan_prefills(out);
    // Whoever waits must not take what a running sequence was just denied or deprived of.
    if (!is_short_of_blocks_) {
      plan_admissions(out);
    }
    plan_saves(out);
  }
  clear_records(); // T-2: before the plan leaves, and with it blocks that were others'
  if (out.sequences() == 0) {
    window_.abandon();
    return false;
  }
  out.step = step.value;
  out.epoch = current.value;
  out.retired_slots.swap(retired_slots_);
  last_step_ = step;
  return true;
}

/// S-10: the one whose turn it is. One that waits is only let in when it fits.
sequence* scheduler::find_suspect() {
  if (suspects_ == 0) {
    return nullptr;
  }
  const auto found = std::find_if(
      running_.begin(), running_.end(), [](const sequence* member) { return member->is_suspect; });
  if (found != running_.end()) {
    return *found;
  }
  const bool is_its_turn = kept_.empty() && !waiting_.empty() && waiting_.head().is_suspect
                           && has_place() && (running_.empty() || !is_short_of_blocks_);
  return is_its_turn && find_room(waiting_.head()) ? &waiting_.head() : nullptr;
}

/// Nothing is in flight. False: there is no block for it, and it waits now. If there will be one when the late writers have
/// gone, it stays, and the step is empty (S-11).
bool scheduler::plan_alone(sequence& suspect, protocol::step_plan& out) {
  if (suspect.state == sequence_state::waiting) {
    return admit(suspect, out);
  }
  if (suspect.remaining() > 1) {
    emit(suspect, chunk_of(suspect), out);
    return true;
  }
  if (!grow(suspect)) {
    if (waits_for_lift()) {
      return true;
    }
    ++counters_.preemptions;
    requeue(suspect);
    return false;
  }
  emit(suspect, 1, out);
  return true;
}

void scheduler::plan_decodes(protocol::step_plan& out) {
  visit_.clear();
  auto first = running_.begin();
  auto share = static_cast<std::int32_t>(running_.size());
  if (config_.max_steps_in_flight > 1 && !config_.feeds_tokens) {
    first = std::lower_bound(
        running_.begin(),
        running_.end(),
        turn_,
        [](const sequence* member, const sequence_key& key) { return member->key < key; });
    const auto decoding = static_cast<std::int32_t>(
        std::count_if(running_.begin(), running_.end(), [](const sequence* member) {
          return member->remaining() == 1;
        }));
    share = (decoding + config_.max_steps_in_flight - 1) / config_.max_steps_in_flight;
  }
  visit_.insert(visit_.end(), first, running_.end());
  visit_.insert(visit_.end(), running_.begin(), first);
  const sequence* starved = nullptr; // first by policy of those that got no block
  for (auto* member : visit_) {
    // A victim of this plan is still in visit_, but waits.
    if (member->state != sequence_state::running || member->remaining() != 1
        || !can_go_on(*member)) {
      continue;
    }
    if (share == 0) {
      turn_ = member->key;
      break;
    }
    if (!grow(*member)) {
      starved = starved == nullptr || member->key < starved->key ? member : starved;
      continue;
    }
    emit(*member, 1, out);
    --share;
  }
  if (starved != nullptr) {
    turn_ = starved->key; // it chooses first as soon as a step has retired
  }
}

/// Whether another step may follow those in flight. A length is known ahead, so nothing is computed
/// behind the last token of a sequence; a stop id is not, so there a step may turn out to be
/// surplus.
bool scheduler::can_go_on(const sequence& member) const {
  if (member.held_in == plans_) {
    return false;
  }
  return member.samples_ahead == 0
         || (config_.feeds_tokens && member.expected() < member.tokens_max);
}

bool scheduler::grow(sequence& writer) {
  const auto blocks_needed = static_cast<std::size_t>(writer.planned / config_.block_size) + 1;
  if (writer.blocks.size() >= blocks_needed) {
    return true;
  }
  while (!pool_.can_reserve(1)) {
    if (waits_for_lift()) {
      is_short_of_blocks_ = true;
      return false;
    }
    if (!kept_.empty()) {
      give_up_newest_kept();
      continue;
    }
    is_short_of_blocks_ = true;
    auto* victim = find_victim(writer);
    if (victim == nullptr) {
      hold_back(writer);
      return false;
    }
    ++counters_.preemptions;
    requeue(*victim);
  }
  pool_.reserve(1, writer.blocks);
  return true;
}

/// S-11: who needs a block gets one of the exposed ones, later.
bool scheduler::waits_for_lift() const {
  return !pool_.can_reserve(1) && pool_.held_count() > 0;
}

/// S-13. Its blocks are there still.
void scheduler::plan_again(protocol::step_plan& out) {
  for (const auto& entry : to_repeat_[repeated_]) {
    emit(*entry.owner, entry.count, out);
  }
  ++repeated_;
}

sequence* scheduler::find_victim(const sequence& needy) {
  for (auto i = running_.size(); i > 0 && running_[i - 1]->key > needy.key; --i) {
    // K-3: what a step computes keeps its blocks, also when that step is the one being planned.
    if (!running_[i - 1]->is_in_flight()) {
      return running_[i - 1];
    }
  }
  return nullptr;
}

/// Everybody who could give way is in flight, and might be so for ever: the last by policy goes
/// without this step, so that it can give way once those in flight have retired.
void scheduler::hold_back(const sequence& needy) {
  for (auto i = running_.size(); i > 0 && running_[i - 1]->key > needy.key; --i) {
    if (running_[i - 1]->held_in != plans_) {
      running_[i - 1]->held_in = plans_;
      return;
    }
  }
}

std::int32_t scheduler::chunk_of(const sequence& prefill) const {
  const auto cap = config_.max_prefill_chunk > 0 ? config_.max_prefill_chunk : budget_;
  return std::min({prefill.remaining(), budget_, cap});
}

void scheduler::plan_prefills(protocol::step_plan& out) {
  sequence* passed_over = nullptr;
  for (auto* member : running_) {
    if (member->remaining() == 1 || !can_go_on(*member)) {
      continue;
    }
    if (budget_ > 0) {
      member->plans_missed = 0;
      emit(*member, chunk_of(*member), out); // its blocks were reserved at admission
    } else if (++member->plans_missed >= config_.promote_every && passed_over == nullptr) {
      passed_over = member;
    }
  }
  if (passed_over != nullptr && config_.policy == admission_policy::priority) {
    promote(*passed_over);
  }
}

void scheduler::plan_admissions(protocol::step_plan& out) {
  while (kept_.empty() && budget_ > 0 && !waiting_.empty() && has_place()) {
    if (waiting_.head().is_suspect || !admit(waiting_.head(), out)) {
      return; // S-6: whoever is behind waits with it
    }
    if (config_.policy == admission_policy::priority
        && ++admissions_in_turn_ >= config_.promote_every && !waiting_.empty()) {
      admissions_in_turn_ = 0;
      promote(waiting_.oldest());
    }
  }
}

bool scheduler::has_place() const {
  return running_.size() < static_cast<std::size_t>(running_max_) && !free_slots_.empty();
}

/// Blocks for the whole of it; then `hits_` are those that it shares with others. Nothing is reserved.
std::optional<kv::prefix_node> scheduler::find_room(sequence& head) {
  const auto size = config_.block_size;
  const auto blocks_needed = (head.known() + size - 1) / size;
  // The margin leaves room for those that decode; without them nothing may keep the head out.
  const auto margin = running_.empty() ? 0 : config_.watermark_blocks;
  if (head.hits_seen >= 0 && blocks_needed - head.hits_seen + margin > pool_.available_count()
      && ++head.tries_skipped < search_every) {
    return std::nullopt;
  }
  // At least one token is computed, or there would be nothing to sample from.
  const auto node = pool_.match(head.tokens, (head.known() - 1) / size, hits_);
  const auto hits = static_cast<std::int32_t>(hits_.size());
  if (!pool_.can_reserve(blocks_needed - hits + margin, hits_)) {
    head.hits_seen = hits;
    head.tries_skipped = 0;
    return std::nullopt;
  }
  return node;
}

bool scheduler::admit(sequence& head, protocol::step_plan& out) {
  const auto node = find_room(head);
  if (!node) {
    return false;
  }
  const auto size = config_.block_size;
  const auto hits = static_cast<std::int32_t>(hits_.size());
  const auto blocks_needed = (head.known() + size - 1) / size;
  waiting_.erase(head);
  pool_.retain(hits_);
  // Room for all that it can ever hold, so that growing block by block allocates nothing.
  head.blocks.reserve(static_cast<std::size_t>((head.tokens_max - 1) / size) + 1);
  head.blocks.assign(hits_.begin(), hits_.end());
  pool_.reserve(blocks_needed - hits, head.blocks);
  head.blocks_published = hits;
  head.node = *node;
  head.computed = hits * size;
  find_stored(head, hits);
  head.planned = head.computed + head.loading;
  enter_running(head, free_slots_.front());
  free_slots_.pop_front();
  ++counters_.admissions;
  counters_.prefix_tokens += static_cast<std::uint64_t>(head.known());
  counters_.prefix_hits += static_cast<std::uint64_t>(head.computed);
  emit(head, chunk_of(head), out);
  return true;
}

void scheduler::emit(sequence& member, std::int32_t count, protocol::step_plan& out) {
  const bool samples = count == member.remaining();
  const bool feeds = samples && config_.feeds_tokens && member.expected() + 1 < member.tokens_max;
  const bool is_new = !member.is_announced;
  const auto first_block = is_new ? 0 : member.blocks_announced;
  out.slots.push_back(member.slot);
  out.request_ids.push_back(member.id.value);
  out.flags.push_back(static_cast<std::uint8_t>((is_new ? protocol::flag_new : 0)
                                                | (samples ? protocol::flag_samples : 0)
                                                | (feeds ? protocol::flag_feeds : 0)));
  out.first_position.push_back(member.planned);
  out.token_counts.push_back(count);
  out.block_counts.push_back(static_cast<std::int32_t>(member.blocks.size() - first_block));
  for (auto i = first_block; i < member.blocks.size(); ++i) {
    out.new_blocks.push_back(member.blocks[i].value);
  }
  if (member.planned < member.known()) {
    const auto tokens = member.tokens.begin();
    out.tokens.insert(
        out.tokens.end(), tokens + (is_new ? 0 : member.planned), tokens + member.planned + count);
  } else {
    out.tokens.push_back(protocol::fed_token); // P-8: a step in flight samples it
  }
  if (is_new) {
    emit_sampling(member, out);
    emit_loads(member, out);
  }
  member.is_announced = true;
  member.blocks_announced = member.blocks.size();
  member.planned += count;
  member.samples_ahead += samples ? 1 : 0;
  ++member.steps_in_flight;
  auto& record = window_.youngest();
  record.entries.push_back({&member, count, samples});
  record.samples += samples ? 1 : 0;
  budget_ -= count;
  counters_.tokens_planned += static_cast<std::uint64_t>(count);
}

void scheduler::emit_sampling(const sequence& member, protocol::step_plan& out) {
  out.sampling.push_back(member.sampling);
  for (const auto& [token, value] : member.logit_bias) {
    out.bias_ids.push_back(token);
    out.bias_values.push_back(value);
  }
  if (member.sampling.suppressed_count > 0) {
    out.suppressed_ids.insert(
        out.suppressed_ids.end(), member.stop_ids.begin(), member.stop_ids.end());
  }
}

} // namespace vdist::sched
