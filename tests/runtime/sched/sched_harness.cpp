#include "tests/runtime/sched/sched_harness.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace vdist::testing {

namespace {

protocol::plan_limits limits_of(const sched::scheduler_config& config, const store_shape& store) {
  return {.slots = static_cast<std::uint32_t>(config.max_sequences),
          .blocks = config.blocks,
          .vocabulary = config.vocabulary,
          .max_positions = config.max_model_len,
          .block_size = config.block_size,
          .store_slots = store.slots,
          .saves_max = store.saves_max};
}

/// The model worker has the slots' contents.
kv::host_store_config store_config_of(const sched::scheduler_config& config) {
  return {.block_size = config.block_size, .block_bytes = 1, .content = 1};
}

std::size_t store_bytes(const sched::scheduler_config& config, std::int32_t slots) {
  std::size_t bytes = 0;
  while (kv::host_store::layout_of(bytes, store_config_of(config)).slots < slots) {
    bytes += 64;
  }
  return bytes;
}

void require_ok(const result<void>& outcome) {
  require(outcome.has_value(), outcome ? "" : outcome.error().context);
}

} // namespace

sched::scheduler_config
small_config(std::int32_t blocks, std::int32_t block_size, std::int32_t max_model_len) {
  sched::scheduler_config config;
  config.blocks = blocks;
  config.block_size = block_size;
  config.max_model_len = max_model_len;
  config.vocabulary = 13;
  config.watermark_blocks = 0;
  return config;
}

protocol::request
make_request(std::uint64_t id, std::vector<token_id> prompt, std::int32_t max_tokens) {
  protocol::request request;
  request.id = request_id(id);
  request.arrival = id;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

protocol::step_result result_of(const protocol::step_plan& plan, token_id token) {
  protocol::step_result result;
  result.step = plan.step;
  result.epoch = plan.epoch;
  for (std::size_t i = 0; i < plan.sequences(); ++i) {
    if ((plan.flags[i] & protocol::flag_samples) != 0) {
      result.slots.push_back(plan.slots[i]);
      result.tokens.push_back(token);
    }
  }
  return result;
}

sched_harness::sched_harness(const sched::scheduler_config& config,
                             const store_shape& store,
                             std::uint64_t tie_every)
    : config_(config),
      has_ties_(tie_every > 0),
      table_memory_(sched::table_config_of(config)),
      table_(std::in_place, table_memory_.span(), sched::table_config_of(config)),
      store_shape_(store),
      store_memory_(store_bytes(config, store.slots) / sizeof(std::uint64_t) + 16),
      worker_(limits_of(config, store), tie_every) {
  make_scheduler();
}

/// The new one sees what the one before it left in the table and in the store.
void sched_harness::make_scheduler() {
  scheduler_ = std::make_unique<sched::scheduler>(config_, &*table_);
  if (store_shape_.slots == 0) {
    return;
  }
  const auto bytes = store_bytes(config_, store_shape_.slots);
  void* place = store_memory_.data();
  auto room = store_memory_.size() * sizeof(std::uint64_t);
  place = std::align(64, bytes, place, room);
  store_ = std::make_unique<kv::host_store>(std::span(static_cast<std::byte*>(place), bytes),
                                            store_config_of(config_));
  scheduler_->use_store(*store_, store_shape_.saves_max);
}

std::uint64_t sched_harness::preemptions() const {
  return preemptions_before_ + scheduler_->stats().preemptions;
}

std::uint64_t sched_harness::tokens_dropped() const {
  return dropped_before_ + scheduler_->stats().tokens_dropped;
}

std::uint64_t sched_harness::tokens_computed_again() const {
  return again_before_ + scheduler_->stats().tokens_computed_again;
}

std::uint64_t sched_harness::tokens_loaded() const {
  return loaded_before_ + scheduler_->stats().tokens_loaded;
}

std::uint64_t sched_harness::blocks_saved() const {
  return saved_before_ + scheduler_->stats().blocks_saved;
}

std::uint64_t sched_harness::tokens_restored() const {
  return restored_before_ + scheduler_->stats().tokens_restored;
}

void sched_harness::add(const protocol::request& request) {
  require_ok(ledger_.accept(request));
  auto& stream = streams_[request.id];
  stream.expected = expected_of(request, config_.max_model_len, config_.vocabulary);
  stream.positions_max =
      std::min(static_cast<std::int32_t>(request.prompt.size()) + request.max_tokens,
               config_.max_model_len)
      - 1;
  ++open_;
  require_ok(scheduler_->add(request));
}

void sched_harness::cancel(request_id id) {
  hand_over_rest();
  auto& stream = streams_.at(id);
  const bool is_known = scheduler_->cancel(id);
  require(is_known == (stream.terminals == 0 && !stream.is_cancelled),
          "S-3: cancel does not know what lives");
  stream.is_cancelled = stream.is_cancelled || is_known;
  scheduler_->flush(events_);
  take_events();
}

void sched_harness::suspect(const std::vector<request_id>& ids) {
  hand_over_rest();
  for (const auto id : ids) {
    auto& stream = streams_.at(id);
    const bool is_known = scheduler_->suspect(id);
    require(is_known == (stream.terminals == 0), "S-10: suspect does not know what lives");
    stream.is_suspect = is_known;
  }
}

std::vector<request_id> sched_harness::open_ids() const {
  std::vector<request_id> ids;
  for (const auto& [id, stream] : streams_) {
    if (stream.terminals == 0) {
      ids.push_back(id);
    }
  }
  return ids;
}

bool sched_harness::submit() {
  if (!scheduler_->plan(step_id(step_ + 1), epoch(epoch_), plan_)) {
    require(plan_.sequences() == 0 && plan_.retired_slots.empty(), "a refused plan is not empty");
    require(worker_.in_flight() > 0 || scheduler_->is_idle() || scheduler_->awaited() > 0
                || has_late_writers_,
            "nothing moves, and requests are left");
    return false;
  }
  ++step_;
  check_plan();
  worker_.submit(plan_);
  note_plan();
  flying_.push_back(plan_);
  check_oldest_moves();
  return true;
}

void sched_harness::check_plan() const {
  require(plan_.step == step_ && plan_.epoch == epoch_, "the plan bears another step or epoch");
  require(plan_.computed_tokens() <= config_.max_batch_tokens, "the token budget is exceeded");
  for (std::size_t i = 0; i < plan_.sequences(); ++i) {
    require(plan_.first_position[i] + plan_.token_counts[i]
                <= streams_.at(request_id(plan_.request_ids[i])).positions_max,
            "S-8: a step computes behind the last token");
  }
  for (const auto id : plan_.request_ids) {
    require(!streams_.at(request_id(id)).is_suspect
                || (plan_.sequences() == 1 && worker_.in_flight() == 0),
            "S-10: a suspect is not alone");
  }
  auto slots = plan_.slots;
  std::sort(slots.begin(), slots.end());
  require(std::adjacent_find(slots.begin(), slots.end()) == slots.end(), "a slot is planned twice");
  if (config_.max_prefill_chunk > 0) {
    for (const auto count : plan_.token_counts) {
      require(count <= config_.max_prefill_chunk, "a chunk is longer than allowed");
    }
  }
}

void sched_harness::check_oldest_moves() {
  const auto first = std::find_if(
      streams_.begin(), streams_.end(), [](const auto& s) { return s.second.terminals == 0; });
  const auto& planned = plan_.request_ids;
  const bool is_planned =
      first == streams_.end() || first->first != oldest_
      || std::find(planned.begin(), planned.end(), oldest_.value) != planned.end();
  oldest_ = first == streams_.end() ? request_id{} : first->first;
  // One that had to give way waits until it fits: those that were in flight then may be younger.
  const bool is_running = worker_.knows(oldest_.value);
  const bool is_alone = streams_.at(request_id(planned.front())).is_suspect;
  if (!is_alone && !has_late_writers_) { // S-10: suspects go first. S-11: it may wait for a block
    plans_without_oldest_ = is_planned || !is_running ? 0 : plans_without_oldest_ + 1;
  }
  require(config_.policy != sched::admission_policy::fcfs
              || plans_without_oldest_ <= 3 * config_.max_steps_in_flight + 2,
          "S-5: the oldest request does not move");
}

bool sched_harness::retire() {
  if (worker_.in_flight() == 0) {
    return false;
  }
  worker_.retire(result_);
  require_ok(scheduler_->commit(result_, events_));
  require(scheduler_->commit(result_, events_).error().code == errc::stale,
          "S-2: a step was committed twice");
  scheduler_->note_saved(step_id(result_.saved_step));
  note_results();
  take_events();
  return true;
}

void sched_harness::take_events() {
  batch_.clear();
  for (const auto& event : events_) {
    batch_.append(event);
  }
  require_ok(ledger_.commit(batch_));
  for (const auto& event : events_) {
    take_event(event);
  }
  events_.clear();
}

void sched_harness::take_event(const protocol::token_event& event) {
  auto& stream = streams_.at(event.id);
  require(stream.terminals == 0, "S-3: an event after the end");
  require(event.position == static_cast<std::int32_t>(stream.tokens.size()),
          "I3: positions are not contiguous");
  if (event.token >= 0) {
    stream.is_suspect = false;
    stream.tokens.push_back(event.token);
    require(event.logprob == -static_cast<float>(event.token) - 0.5F,
            "a log probability got mixed up");
    require(event.top.size() == static_cast<std::size_t>(event.position % 3),
            "alternatives got mixed up");
    for (const auto& alternative : event.top) {
      require(alternative.token == event.token - static_cast<token_id>(alternative.logprob),
              "alternatives got mixed up");
    }
  }
  require(event.reason != protocol::finish_reason::none || event.token >= 0, "an event of nothing");
  if (event.reason != protocol::finish_reason::none) {
    stream.reason = event.reason;
    ++stream.terminals;
    --open_;
    require((event.reason == protocol::finish_reason::stop) == (event.stop_token >= 0),
            "the stop token does not fit the reason");
  }
}

void sched_harness::fence() {
  ++epoch_;
  flying_.clear();
  scheduler_->start_epoch(epoch(epoch_), has_late_writers_);
  worker_.start_epoch(step_);
  scheduler_->flush(events_);
  take_events();
}

void sched_harness::fence_late() {
  const auto writes = worker_.late_writes();
  late_writes_.insert(late_writes_.end(), writes.begin(), writes.end());
  has_late_writers_ = true;
  fence();
}

void sched_harness::write_late(std::uint64_t seed) {
  if (late_writes_.empty()) {
    return;
  }
  const auto chosen =
      late_writes_.begin() + static_cast<std::ptrdiff_t>(seed % late_writes_.size());
  worker_.land(*chosen);
  late_writes_.erase(chosen);
  ++written_late_;
}

void sched_harness::writers_go() {
  late_writes_.clear();
  if (std::exchange(has_late_writers_, false)) {
    scheduler_->lift(epoch(epoch_));
  }
}

void sched_harness::fence_and_lose_kv() {
  fence();
  scheduler_->lose_kv();
  worker_.lose_kv();
  kept_.clear();
  require(table_->read().empty(), "T-6: lost KV stays in the table");
}

/// What a plan says of slots that were given up.
void sched_harness::note_plan() {
  auto victims = scheduler_->stats().preemptions - preemptions_noted_;
  for (const auto slot : plan_.retired_slots) {
    const auto owner = slot_owners_[slot];
    kept_.erase(owner);
    victims -= streams_.at(owner).terminals == 0 ? 1U : 0U;
  }
  has_unseen_victims_ =
      has_unseen_victims_ || victims != 0; // they were not in a plan of this epoch
  for (std::size_t i = 0; i < plan_.sequences(); ++i) {
    slot_owners_[plan_.slots[i]] = request_id(plan_.request_ids[i]);
  }
  preemptions_noted_ = scheduler_->stats().preemptions;
}

void sched_harness::note_results() {
  const auto& done = flying_.front();
  for (std::size_t i = 0; i < done.sequences(); ++i) {
    const request_id id(done.request_ids[i]);
    if (streams_.at(id).terminals == 0) {
      kept_[id] = done.first_position[i] + done.token_counts[i];
    }
  }
  flying_.pop_front();
}

/// As far as the ledger knows the requests and their tokens: the last of these is always computed again.
std::uint64_t sched_harness::tokens_kept() const {
  std::uint64_t sum = 0;
  for (const auto& request : ledger_.unfinished()) {
    const auto kept = kept_.find(request.id);
    const auto known = std::ssize(request.prompt) + std::ssize(request.generated);
    if (kept != kept_.end()) {
      sum += static_cast<std::uint64_t>(std::min<std::ptrdiff_t>(kept->second, known - 1));
    }
  }
  return sum;
}

void sched_harness::take_over(bool late) {
  take_over_from(table_memory_.copy(), {is_exact() ? tokens_kept() : 0, tokens_kept()}, late);
}

/// A victim of a plan that came to nothing is not seen here either.
bool sched_harness::is_exact() const {
  const auto stats = scheduler_->stats();
  return !has_unseen_victims_ && stats.preemptions == preemptions_noted_
         && stats.tokens_computed_again == 0;
}

void sched_harness::die_in_plan(std::uint64_t seed) {
  const auto before = table_memory_.copy();
  kept_bounds bounds{.most = tokens_kept()};
  if (scheduler_->plan(step_id(step_ + 1), epoch(epoch_), plan_)) {
    note_plan();
    bounds.least = is_exact() ? tokens_kept() : 0;
  }
  std::vector<std::uint32_t> slots(static_cast<std::size_t>(config_.max_sequences));
  std::iota(slots.begin(), slots.end(), 0U);
  const auto states =
      states_between(before, table_memory_.copy(), slots, sched::table_config_of(config_));
  take_over_from(states[seed % states.size()], bounds, false);
}

bool sched_harness::die_in_commit(std::uint64_t seed) {
  if (worker_.in_flight() == 0) {
    return false;
  }
  const auto before = table_memory_.copy();
  const auto slots = flying_.front().slots;
  kept_bounds bounds{.least = is_exact() ? tokens_kept() : 0};
  worker_.retire(result_);
  require_ok(scheduler_->commit(result_, events_));
  scheduler_->note_saved(step_id(result_.saved_step));
  note_results();
  events_.clear();
  bounds.most = tokens_kept();
  const auto states =
      states_between(before, table_memory_.copy(), slots, sched::table_config_of(config_));
  take_over_from(states[seed % states.size()], bounds, false);
  return true;
}

void sched_harness::forget_scheduler() {
  ++epoch_;
  worker_.start_epoch(step_);
  preemptions_before_ += scheduler_->stats().preemptions;
  dropped_before_ += scheduler_->stats().tokens_dropped;
  restored_before_ += scheduler_->stats().tokens_restored;
  again_before_ += scheduler_->stats().tokens_computed_again;
  loaded_before_ += scheduler_->stats().tokens_loaded;
  saved_before_ += scheduler_->stats().blocks_saved;
  scheduler_.reset();
  flying_.clear();
  late_.clear();
  preemptions_noted_ = 0;
  has_unseen_victims_ = false;
}

/// S-9, T-1 to T-4. The worker notices KV that is not what the table says.
void sched_harness::take_over_from(const table_bytes& bytes, const kept_bounds& bounds, bool late) {
  forget_scheduler();
  table_memory_.assign(bytes);
  table_.emplace(table_memory_.span(), sched::table_config_of(config_));
  make_scheduler();
  auto records = table_->read();
  std::erase_if(records, [this](const sched::kept_kv& record) {
    const auto known = ledger_.state(record.id);
    return !known || known->reason != protocol::finish_reason::none;
  });
  scheduler_->keep(std::move(records));
  check_integrity();
  scheduler_->start_epoch(epoch(epoch_), has_late_writers_);
  bool is_late = late;
  for (auto& request : ledger_.unfinished()) {
    is_late = late && !is_late;
    if (is_late) {
      late_.push_back(request.id);
    } else {
      hand_over(std::move(request));
    }
  }
  kept_.clear();
  for (const auto& record : table_->read()) {
    kept_[record.id] = record.computed;
  }
  if (late) {
    return;
  }
  const auto stats = scheduler_->stats();
  require(stats.tokens_restored >= bounds.least && stats.tokens_restored <= bounds.most,
          fmt::format("S-9: KV is lost or invented (restored={} expected={}..{})",
                      stats.tokens_restored,
                      bounds.least,
                      bounds.most));
  require(stats.tokens_computed_again == 0, "S-9: tokens are computed again");
  require(scheduler_->awaited() == 0, "S-9: KV is kept for nobody");
}

void sched_harness::hand_over_rest() {
  for (auto& request : ledger_.unfinished()) {
    if (std::find(late_.begin(), late_.end(), request.id) != late_.end()) {
      hand_over(std::move(request));
    }
  }
  late_.clear();
  scheduler_->give_up_kept();
}

void sched_harness::hand_over(protocol::request request) {
  const auto id = request.id;
  require_ok(scheduler_->add(std::move(request)));
  if (streams_.at(id).is_suspect) {
    require(scheduler_->suspect(id), "S-3: a request is lost");
  }
  if (streams_.at(id).is_cancelled) {
    require(scheduler_->cancel(id), "S-3: a request is lost");
  }
  scheduler_->flush(events_);
  take_events();
}

void sched_harness::restart_scheduler() {
  forget_scheduler();
  worker_.lose_kv();
  kept_.clear();
  make_scheduler();
  scheduler_->keep({});
  scheduler_->start_epoch(epoch(epoch_), has_late_writers_);
  for (auto& request : ledger_.unfinished()) {
    hand_over(std::move(request));
  }
}

void sched_harness::drain(std::uint64_t steps_max) {
  for (const auto last = step_ + steps_max; open_ > 0;) {
    require(step_ < last, "requests do not end");
    const bool moved = submit();
    if (!retire() && !moved) {
      require(has_late_writers_, "nothing moves, and requests are left");
      writers_go();
    }
    check_integrity();
  }
  while (retire()) {
  }
}

void sched_harness::check_integrity() const {
  const auto outcome = scheduler_->check_integrity();
  require(outcome.has_value(), outcome ? "" : outcome.error().context);
}

void sched_harness::check_end() {
  for (const auto& [id, stream] : streams_) {
    require(stream.terminals == 1, "S-3: a request has no end");
    const auto& all = stream.expected.tokens;
    if (has_ties_) {
      require(stream.reason != protocol::finish_reason::cancelled || stream.is_cancelled,
              "S-3: nobody has cancelled it");
    } else if (stream.reason == protocol::finish_reason::cancelled) {
      require(stream.is_cancelled && stream.tokens.size() <= all.size()
                  && std::equal(stream.tokens.begin(), stream.tokens.end(), all.begin()),
              "S-4: a cancelled stream is not a prefix");
    } else {
      require(stream.tokens == all, fmt::format("S-4: tokens differ (request={})", id.value));
      require(stream.reason == stream.expected.reason, "S-4: the reason differs");
    }
    const auto kept = ledger_.tokens(id);
    require(!kept || *kept == stream.tokens, "I2: ledger and stream differ");
  }
  const auto stats = scheduler_->stats();
  require(stats.running == 0 && stats.waiting == 0 && stats.blocks_owned == 0,
          "something is left over");
  require(scheduler_->is_idle() && ledger_.stats().unfinished == 0, "somebody is not idle");
}

} // namespace vdist::testing
