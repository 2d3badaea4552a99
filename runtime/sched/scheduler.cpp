#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <string_view>
#include <utility>

namespace vdist::sched {

namespace {

constexpr std::int32_t setting_max = 1 << 30; // keeps sums of two settings within 32 bits

result<void> check_setting(std::string_view key, std::int64_t value, std::int64_t least) {
  if (value < least || value > setting_max) {
    return fail(errc::bad_configuration,
                fmt::format("scheduler: value out of range (key={} value={} legal={}..{})",
                            key,
                            value,
                            least,
                            setting_max));
  }
  return {};
}

error refuse(const protocol::request& request, std::string_view cause) {
  return fail(errc::invalid_argument,
              fmt::format("add request: {} (request={})", cause, request.id.value));
}

/// Whether all ids are in [0, vocabulary); without a known vocabulary only the sign is checked.
bool are_in_vocabulary(const std::vector<token_id>& ids, std::int32_t vocabulary) {
  return std::all_of(ids.begin(), ids.end(), [vocabulary](token_id id) {
    return id >= 0 && (vocabulary == 0 || id < vocabulary);
  });
}

bool is_bias_valid(const protocol::request& request, std::int32_t vocabulary) {
  return std::all_of(
      request.logit_bias.begin(), request.logit_bias.end(), [vocabulary](const auto& bias) {
        return bias.first >= 0 && (vocabulary == 0 || bias.first < vocabulary)
               && std::isfinite(bias.second);
      });
}

std::int32_t blocks_for(std::int64_t tokens, std::int32_t block_size) {
  return static_cast<std::int32_t>((tokens + block_size - 1) / block_size);
}

kv_table* checked(kv_table* table, const scheduler_config& config) {
  VDIST_CHECK(table == nullptr || table->config() == table_config_of(config),
              "scheduler: the table is of another configuration");
  return table;
}

const scheduler_config& checked(const scheduler_config& config) {
  VDIST_CHECK(validate(config).has_value(), "scheduler: the configuration must be validated");
  return config;
}

scheduler_config with_defaults(scheduler_config config) {
  constexpr std::int32_t watermark_divisor = 100;
  if (config.watermark_blocks < 0) {
    config.watermark_blocks = config.blocks / watermark_divisor;
  }
  return config;
}

} // namespace

overlap overlap_of(std::int32_t stages, bool is_async) {
  if (stages > 1) {
    return {.steps_in_flight = stages, .feeds_tokens = false};
  }
  return {.steps_in_flight = is_async ? 2 : 1, .feeds_tokens = is_async};
}

result<void> validate(const scheduler_config& config) {
  VDIST_TRY(check_setting("max_batch_tokens", config.max_batch_tokens, 1));
  VDIST_TRY(check_setting("max_sequences", config.max_sequences, 1));
  VDIST_TRY(check_setting("max_waiting", config.max_waiting, 1));
  VDIST_TRY(check_setting("max_model_len", config.max_model_len, 2));
  VDIST_TRY(check_setting("max_prefill_chunk", config.max_prefill_chunk, 0));
  VDIST_TRY(check_setting("max_steps_in_flight", config.max_steps_in_flight, 1));
  VDIST_TRY(check_setting("blocks", config.blocks, 1));
  VDIST_TRY(check_setting("block_size", config.block_size, 1));
  VDIST_TRY(check_setting("watermark_blocks", config.watermark_blocks, -1));
  VDIST_TRY(check_setting("vocabulary", config.vocabulary, 0));
  VDIST_TRY(check_setting("promote_every", config.promote_every, 1));
  return {};
}

kv_table_config table_config_of(const scheduler_config& config) {
  return {.max_sequences = config.max_sequences,
          .blocks = config.blocks,
          .block_size = config.block_size,
          .blocks_per_sequence = blocks_for(config.max_model_len, config.block_size),
          .shares_blocks = config.prefix_cache};
}

scheduler::scheduler(const scheduler_config& config, kv_table* table)
    : config_(with_defaults(checked(config))),
      running_max_(std::min(config.max_sequences, config.max_batch_tokens)),
      pool_({config.blocks, config.block_size, config.prefix_cache, config.prefix_salt}),
      waiting_(config.policy == admission_policy::priority),
      window_(static_cast<std::size_t>(config.max_steps_in_flight)),
      table_(checked(table, config)) {
  free_slots_.resize(static_cast<std::size_t>(config.max_sequences));
  std::iota(free_slots_.begin(), free_slots_.end(), 0U);
  running_.reserve(static_cast<std::size_t>(running_max_));
  visit_.reserve(static_cast<std::size_t>(running_max_));
  stale_records_.reserve(table != nullptr ? free_slots_.size() : 0);
}

result<void> scheduler::check_request(const protocol::request& request) const {
  if (sequences_.contains(request.id)) {
    return refuse(request, "the id is in use");
  }
  if (request.prompt.empty()) {
    return refuse(request, "the prompt is empty, at least one token is needed");
  }
  const auto known = request.prompt.size() + request.generated.size();
  if (request.prompt.size() >= static_cast<std::size_t>(config_.max_model_len)
      || known > static_cast<std::size_t>(config_.max_model_len)) {
    return refuse(request,
                  fmt::format("too long, prompt plus one token must be at most max_model_len "
                              "(prompt={} generated={} max_model_len={})",
                              request.prompt.size(),
                              request.generated.size(),
                              config_.max_model_len));
  }
  if (request.max_tokens < 1 || request.sampling.min_tokens < 0) {
    return refuse(request,
                  fmt::format("max_tokens must be at least 1 and min_tokens at least 0 "
                              "(max_tokens={} min_tokens={})",
                              request.max_tokens,
                              request.sampling.min_tokens));
  }
  if (!are_in_vocabulary(request.prompt, config_.vocabulary)
      || !are_in_vocabulary(request.generated, config_.vocabulary)
      || !is_bias_valid(request, config_.vocabulary)) {
    return refuse(request,
                  fmt::format("a token id is outside the vocabulary, or a logit bias is not finite "
                              "(vocabulary={})",
                              config_.vocabulary));
  }
  // The last token is never written to the cache.
  const auto stored =
      std::min<std::int64_t>(static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens,
                             config_.max_model_len)
      - 1;
  const auto blocks = blocks_for(stored, config_.block_size);
  if (blocks > config_.blocks) {
    return fail(errc::resource_exhausted,
                fmt::format("add request: it can never fit the KV pool, shorten the prompt or "
                            "max_tokens (request={} blocks={} pool={} block_size={})",
                            request.id.value,
                            blocks,
                            config_.blocks,
                            config_.block_size));
  }
  if (waiting_.size() >= static_cast<std::size_t>(config_.max_waiting)) {
    return fail(
        errc::queue_full,
        fmt::format("add request: too many requests are waiting (request={} max_waiting={})",
                    request.id.value,
                    config_.max_waiting));
  }
  return {};
}

result<void> scheduler::add(protocol::request request) {
  if (auto legal = check_request(request); !legal) {
    if (const auto kept = kept_.find(request.id); kept != kept_.end()) {
      give_up(kept);
    }
    return legal;
  }
  auto added = std::make_unique<sequence>(
      make_sequence(std::move(request), config_.policy, config_.max_model_len, config_.vocabulary));
  auto& entrant = *added;
  sequences_.emplace(entrant.id, std::move(added));
  waiting_.insert(entrant);
  if (entrant.generated() > 0) {
    // Its last token may have been committed just before the end could be written down.
    const auto reason = entrant.stop_reason();
    if (reason != protocol::finish_reason::none) {
      if (const auto kept = kept_.find(entrant.id); kept != kept_.end()) {
        release_kept(kept->second);
        kept_.erase(kept);
      }
      finish(entrant, reason, {});
      return {};
    }
  }
  if (!restore(entrant)) {
    const bool is_counted = excused_.erase(entrant.id) != 0;
    if (!is_counted && entrant.generated() > 0) { // what was sampled proves what was computed
      note_loss(entrant.id, count_lost(entrant, entrant.known() - 1));
    }
  }
  return {};
}

bool scheduler::cancel(request_id id) {
  return end_early(id, protocol::finish_reason::cancelled, {});
}

bool scheduler::fail_request(request_id id, std::string message) {
  return end_early(id, protocol::finish_reason::failed, std::move(message));
}

bool scheduler::suspect(request_id id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second->state == sequence_state::over) {
    return false;
  }
  if (!std::exchange(found->second->is_suspect, true)) {
    ++suspects_;
  }
  return true;
}

void scheduler::acquit(sequence& member) {
  if (std::exchange(member.is_suspect, false)) {
    --suspects_;
  }
}

bool scheduler::end_early(request_id id, protocol::finish_reason reason, std::string message) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second->state == sequence_state::over) {
    return false;
  }
  finish(*found->second, reason, std::move(message));
  return true;
}

void scheduler::finish(sequence& ended, protocol::finish_reason reason, std::string message) {
  auto& event = pending_events_.emplace_back();
  event.id = ended.id;
  event.position = ended.generated();
  event.reason = reason;
  if (reason == protocol::finish_reason::stop) {
    event.stop_token = ended.tokens.back();
  }
  event.message = std::move(message);
  end(ended);
}

/// Its terminal event is made. What steps in flight compute keeps slot and blocks until then (K-3).
void scheduler::end(sequence& ended) {
  ++counters_.finished;
  acquit(ended);
  if (ended.state == sequence_state::waiting) {
    waiting_.erase(ended);
    sequences_.erase(ended.id);
    return;
  }
  leave_running(ended);
  ended.state = sequence_state::over;
  if (!ended.is_in_flight()) {
    remove(ended);
  }
}

void scheduler::remove(sequence& ended) {
  give_up_memory(ended);
  sequences_.erase(ended.id);
}

void scheduler::enter_running(sequence& entrant, std::uint32_t slot) {
  entrant.state = sequence_state::running;
  entrant.plans_missed = 0;
  entrant.is_announced = false;
  entrant.slot = slot;
  const auto place = std::upper_bound(
      running_.begin(), running_.end(), &entrant, [](const sequence* a, const sequence* b) {
        return a->key < b->key;
      });
  running_.insert(place, &entrant);
}

void scheduler::leave_running(sequence& leaver) {
  VDIST_CHECK(leaver.state == sequence_state::running, "S-3: only a running sequence leaves");
  running_.erase(std::find(running_.begin(), running_.end(), &leaver));
  cannot_repeat_ = cannot_repeat_ || has_to_repeat(); // S-13, whoever it is
}

void scheduler::give_up_memory(sequence& leaver) {
  VDIST_CHECK(!leaver.is_in_flight(), "S-1: a step computes this sequence");
  if (leaver.is_announced) {
    retired_slots_.push_back(leaver.slot);
  }
  if (leaver.blocks_recorded > 0) {
    stale_records_.push_back(leaver.slot);
  }
  free_slots_.push_back(leaver.slot);
  leave_store(leaver);
  pool_.release(leaver.blocks);
  leaver.slot = sequence::no_slot;
  leaver.is_announced = false;
  leaver.blocks.clear();
  leaver.blocks_recorded = 0;
  leaver.blocks_published = 0;
  leaver.node = {};
  leaver.computed = 0;
  leaver.loading = 0;
  leaver.planned = 0;
}

void scheduler::requeue(sequence& victim) {
  leave_running(victim);
  give_up_memory(victim);
  if (table_ != nullptr) {
    table_->note_without(victim.id);
  }
  victim.state = sequence_state::waiting;
  victim.hits_seen = -1;
  waiting_.insert(victim);
}

void scheduler::promote(sequence& passed_over) {
  if (passed_over.key.tier == 0) {
    return;
  }
  ++counters_.promotions;
  const auto raise = [&passed_over] {
    passed_over.key.tier = 0;
    passed_over.key.priority = 0;
  };
  if (passed_over.state == sequence_state::waiting) {
    waiting_.erase(passed_over);
    raise();
    waiting_.insert(passed_over);
    return;
  }
  raise();
  std::sort(running_.begin(), running_.end(), [](const sequence* a, const sequence* b) {
    return a->key < b->key;
  });
}

void scheduler::flush(std::vector<protocol::token_event>& out) {
  std::move(pending_events_.begin(), pending_events_.end(), std::back_inserter(out));
  pending_events_.clear();
}

void scheduler::start_epoch(epoch next, bool has_late_writers) {
  VDIST_CHECK(!has_epoch_ || next > epoch_, "P-1: an epoch must rise");
  epoch_ = next;
  has_epoch_ = true;
  has_late_writers_ = has_late_writers;
  if (has_late_writers) {
    expose_steps_in_flight();
    note_repetition();
  } else {
    pool_.lift();
    forget_repetition();
  }
  for (; window_.size() > 0; window_.close_oldest()) {
    for (const auto& save : window_.oldest().saves) {
      pool_.release({&save.block, 1});
    }
    for (const auto& entry : window_.oldest().entries) {
      auto& fenced = *entry.owner;
      --fenced.steps_in_flight;
      if (fenced.state == sequence_state::over && !fenced.is_in_flight()) {
        remove(fenced);
      }
    }
  }
  for (auto* survivor : running_) {
    survivor->rewind();
    survivor->is_announced = false;
  }
  retired_slots_.clear();
  forget_saves();
}

/// S-11. Of those that are over, too: they give their blocks up next.
void scheduler::expose_steps_in_flight() {
  for (std::size_t age = 0; age < window_.size(); ++age) {
    for (const auto& entry : window_.at(age).entries) {
      const auto& writer = *entry.owner;
      const auto first = static_cast<std::size_t>(writer.computed / config_.block_size);
      const auto end = static_cast<std::size_t>((writer.planned - 1) / config_.block_size) + 1;
      pool_.expose(std::span(writer.blocks).subspan(first, end - first));
    }
  }
}

/// S-13. What an earlier fence asked for and was not committed since stays: its late writers may be left, too.
void scheduler::note_repetition() {
  repeated_ = 0;
  if (!config_.feeds_tokens) {
    return;
  }
  for (auto age = to_repeat_.size(); age + 1 < window_.size(); ++age) {
    to_repeat_.push_back(window_.at(age).entries);
  }
  for (const auto& step : to_repeat_) {
    cannot_repeat_ =
        cannot_repeat_ || std::any_of(step.begin(), step.end(), [](const step_entry& entry) {
          return entry.owner->state != sequence_state::running;
        });
  }
  if (cannot_repeat_) {
    to_repeat_.clear();
  }
}

void scheduler::forget_repetition() {
  to_repeat_.clear();
  repeated_ = 0;
  cannot_repeat_ = false;
}

void scheduler::lift(epoch of) {
  if (has_epoch_ && of == epoch_) {
    has_late_writers_ = false;
    pool_.lift();
    forget_repetition();
  }
}

void scheduler::lose_kv() {
  VDIST_CHECK(window_.size() == 0, "lose_kv: no step may be in flight, start an epoch first");
  while (!running_.empty()) {
    auto& loser = *running_.back();
    counters_.tokens_computed_again +=
        static_cast<std::uint64_t>(count_lost(loser, loser.computed));
    requeue(loser);
  }
  forget_repetition(); // nobody has the blocks any more that were written to
  give_up_kept();
  clear_records();
  pool_.forget_content();
}

scheduler_stats scheduler::stats() const {
  auto now = counters_;
  now.running = static_cast<std::int32_t>(running_.size());
  now.waiting = static_cast<std::int32_t>(waiting_.size());
  now.steps_in_flight = static_cast<std::int32_t>(window_.size());
  now.blocks_free = pool_.free_count();
  now.blocks_cached = pool_.cached_count();
  now.blocks_owned = pool_.owned_count();
  return now;
}

} // namespace vdist::sched
